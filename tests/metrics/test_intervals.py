import math

import numpy as np
import pytest

from s1x.metrics.intervals import (
    accuracy_interval,
    bootstrap_mean,
    paired_differences,
    percentile_interval,
    question_means,
    resampled_means,
    wilson,
)


def coverage(intervals, truth):
    low, high = np.array(intervals).T
    return np.mean((low <= truth + 1e-9) & (truth - 1e-9 <= high))  # ends are often multiples of 1/n


def bootstrap_intervals(data, seed=0, resamples=1000):
    """Many data sets at once: each column is one, all share the resampled questions."""
    return [percentile_interval(column) for column in resampled_means(data, resamples=resamples, seed=seed).T]


def test_wilson_values():
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0.0, 30) == pytest.approx((0.0, 0.1135), abs=1e-4)
    assert wilson(1.0, 30)[1] == 1.0


def exact_coverage(n, p, interval):
    """Coverage of a true accuracy p with n questions, summed over all numbers of right answers: no sampling noise."""
    chance = np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
    low, high = np.array(interval).T
    return float(chance @ ((low <= p + 1e-9) & (p - 1e-9 <= high)))


def every_outcome(n):
    """(questions, n + 1): column k has k right answers."""
    return (np.arange(n)[:, None] < np.arange(n + 1)).astype(float)


def wilson_intervals(n):
    return [wilson(k / n, n) for k in range(n + 1)]


@pytest.mark.parametrize("n", [200, 500])
def test_coverage_of_one_sample_per_question(n):
    bootstrap = bootstrap_intervals(every_outcome(n))
    for p in (0.1, 0.15, 0.25, 0.3, 0.5, 0.7, 0.9):
        assert 0.93 <= exact_coverage(n, p, wilson_intervals(n)) <= 0.97
        assert 0.93 <= exact_coverage(n, p, bootstrap) <= 0.97


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_coverage_of_several_samples_per_question(p):
    """Questions differ in difficulty (beta), four samples each: the question is the unit that is drawn."""
    rng = np.random.default_rng(1)
    n, k, sets = 200, 4, 1000
    data = rng.binomial(k, rng.beta(2 * p, 2 * (1 - p), size=(n, sets))) / k
    assert 0.93 <= coverage([accuracy_interval(column, k) for column in data.T], p) <= 0.97
    assert 0.93 <= coverage(bootstrap_intervals(data), p) <= 0.97


def test_coverage_of_paired_differences():
    """Two cells with shared noise: one latent number per question decides both."""
    rng = np.random.default_rng(2)
    n, sets = 200, 1000
    noise = rng.random((n, sets))
    a, b = noise < 0.4, (noise + 0.1 * rng.standard_normal((n, sets))) < 0.55
    truth = np.mean((rng.random(2_000_000) + 0.1 * rng.standard_normal(2_000_000)) < 0.55) - 0.4
    assert 0.93 <= coverage(bootstrap_intervals(b.astype(float) - a), truth) <= 0.97


def test_how_intervals_fail_at_thirty_questions():
    """What the module's docstring says: few questions that differ, too narrow a bootstrap interval."""
    bootstrap = bootstrap_intervals(every_outcome(30))
    for p, expected, by_wilson in [(0.02, 0.45, 0.98), (0.05, 0.78, 0.94), (0.5, 0.95, 0.95)]:
        assert exact_coverage(30, p, bootstrap) == pytest.approx(expected, abs=0.02)
        assert exact_coverage(30, p, wilson_intervals(30)) == pytest.approx(by_wilson, abs=0.01)
    assert bootstrap_mean(np.ones(30)) == [1.0, 1.0]


def test_a_difference_of_one_question_in_thirty_is_missed():
    gained = np.random.default_rng(4).random((30, 2000)) < 1 / 30
    assert coverage(bootstrap_intervals(gained.astype(float)), 1 / 30) == pytest.approx(0.64, abs=0.04)


def test_question_means_average_repeats_first():
    questions, means, counts = question_means(["b", "a", "b", "b"], [1, 0, 0, 1])
    assert questions == ["b", "a"] and means == pytest.approx([2 / 3, 0]) and list(counts) == [3, 1]


def test_interval_of_samples_lies_between_questions_and_samples():
    constant = np.array([0.0, 1.0] * 50)  # samples of a question always agree: 100 trials, however many samples
    width = np.diff(accuracy_interval(constant, 8))[0]
    assert width == pytest.approx(np.diff(wilson(0.5, 100))[0], rel=0.02)
    independent = np.random.default_rng(0).binomial(8, 0.5, 100) / 8
    assert np.diff(accuracy_interval(independent, 8))[0] < 0.5 * width


def test_paired_difference_uses_the_pairing():
    rng = np.random.default_rng(0)
    a = (rng.random(200) < 0.5).astype(float)
    b = a.copy()
    b[:6] = 1  # a few questions gained, none lost
    paired = paired_differences(a, b)[0]
    shuffled = paired_differences(a, rng.permutation(b))[0]
    assert paired["difference"] == pytest.approx(shuffled["difference"])
    assert paired["ci95"][0] >= 0 and np.diff(paired["ci95"]) < 0.3 * np.diff(shuffled["ci95"])


def test_columns_are_resampled_together_and_seeded():
    x = np.random.default_rng(0).random((50, 1))
    draws = resampled_means(np.hstack([x, 2 * x]), resamples=100, seed=7)
    assert np.allclose(draws[:, 1], 2 * draws[:, 0]) and draws[:, 0].std() > 0
    assert np.array_equal(draws, resampled_means(np.hstack([x, 2 * x]), resamples=100, seed=7))
    assert not np.array_equal(draws, resampled_means(np.hstack([x, 2 * x]), resamples=100, seed=8))


def test_chunks_do_not_repeat_draws(monkeypatch):
    monkeypatch.setattr("s1x.metrics.intervals._CHUNK", 100)
    draws = resampled_means(np.random.default_rng(0).random((20, 1)), resamples=50)[:, 0]
    assert len(set(np.round(draws, 9))) > 45


def test_errors():
    with pytest.raises(ValueError, match="no questions"):
        resampled_means(np.empty((0, 1)))
    with pytest.raises(ValueError, match="pair them by question"):
        paired_differences(np.ones(3), np.ones(4))
