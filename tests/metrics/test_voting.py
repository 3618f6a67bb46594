import math
import time
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1x.metrics import voting


@st.composite
def pools(draw):
    """Answers with gaps, several of them possibly correct (equivalent groups that grading did not merge)."""
    answers = draw(st.lists(st.sampled_from([None, "a", "b", "c", "d", "e"]), min_size=1, max_size=12))
    right = draw(st.sets(st.sampled_from("abcde"), max_size=2))
    return answers, [a in right for a in answers]


def subset_mean(pool, k, value):
    answers, correct = pool
    subsets = list(combinations(range(len(answers)), k))
    return math.fsum(value([answers[i] for i in s], [correct[i] for i in s], s) for s in subsets) / len(subsets)


def majority(answers, correct, _):
    counts = Counter(a for a in answers if a is not None)
    top = [a for a, c in counts.items() if c == max(counts.values())]
    return sum(correct[answers.index(a)] for a in top) / len(top) if top else 0.0


@settings(max_examples=80, deadline=None)
@given(pools(), st.data())
def test_expectations_equal_the_average_over_all_subsets(pool, data):
    answers, correct = pool
    k = data.draw(st.integers(1, len(answers)))
    assert voting.expected_maj_at_k(answers, correct, k) == pytest.approx(subset_mean(pool, k, majority), abs=1e-12)
    assert voting.expected_pass_at_k(correct, k) == pytest.approx(subset_mean(pool, k, lambda a, c, s: any(c)), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(pools(), st.data())
def test_best_of_k_equals_the_average_over_all_subsets(pool, data):
    answers, correct = pool
    n = len(answers)
    k = data.draw(st.integers(1, n))
    scores = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=n, max_size=n))

    def best(_, right, subset):
        top = max(scores[i] for i in subset)
        return np.mean([correct[i] for i in range(n) if scores[i] == top]) if top in scores else 0.0

    # equal scores share out over the whole pool's members of that score: exchangeable, so the expectation is the same
    assert voting.expected_best_of_k(scores, correct, k) == pytest.approx(subset_mean(pool, k, best), abs=1e-12)


def test_hand_values():
    answers, correct = ["a", "a", "b"], [True, True, False]
    assert voting.expected_maj(answers, correct) == pytest.approx((2 / 3, 2 / 3, 1.0))  # k=2: aa wins, two ties of a and b
    assert voting.expected_maj([None, None], [False, False]) == (0.0, 0.0)
    assert voting.expected_maj_at_k(["a", None, None], [True, False, False], 2) == pytest.approx(2 / 3)
    assert voting.subset_sizes(12) == [1, 2, 4, 8, 12] and voting.subset_sizes(1) == [1]


def test_first_k_is_s1s_variant():
    answers, correct = ["b", "a", "a", None], [False, True, True, False]
    assert [voting.first_k_majority(answers, correct, k) for k in (1, 2, 3, 4)] == [0, 0, 1, 1]
    assert [voting.first_k_pass(correct, k) for k in (1, 2)] == [0, 1]
    assert voting.first_k_majority([None], [False], 1) == 0


def test_weighted_and_shortest_votes():
    answers, correct = ["a", "b", "b"], [True, False, False]
    assert voting.weighted_majority(answers, correct, [3, 1, 1]) == 1
    assert voting.weighted_majority(answers, correct, [2, 1, 1]) == 0.5
    assert voting.shortest_majority(["a", "b"], [True, False], [10, 1000]) == 1
    assert voting.shortest_majority(answers, correct, [100, 120, 120]) == 0  # two votes outweigh a little length
    assert voting.shortest_majority(answers, correct, [3, 10**6, 10**6]) == 1
    with pytest.raises(ValueError, match="weights must be 0 or more"):
        voting.weighted_majority(answers, correct, [-1, 0, 0])


def test_pools_of_64_are_fast_and_agree_with_sampling():
    rng = np.random.default_rng(0)
    answers = [f"x{i}" if i < 40 else f"y{rng.integers(24)}" for i in rng.permutation(64)]
    answers = ["right" if i % 4 == 0 else a for i, a in enumerate(answers)]
    correct = [a == "right" for a in answers]
    start = time.perf_counter()
    exact = voting.expected_maj(answers, correct)
    assert time.perf_counter() - start < 1.0
    for k in (2, 5, 16):
        draws = [rng.choice(64, k, replace=False) for _ in range(4000)]
        sampled = np.mean([majority([answers[i] for i in d], [correct[i] for i in d], d) for d in draws])
        assert exact[k - 1] == pytest.approx(sampled, abs=0.03)
    assert exact[63] == 1.0


@pytest.mark.parametrize("k", [0, 4])
def test_k_outside_the_pool_is_a_sentence(k):
    for estimate in (voting.expected_maj_at_k, voting.first_k_majority):
        with pytest.raises(ValueError, match=f"k={k} with a pool of 3 samples; k must be 1 to 3"):
            estimate(["a", "b", "c"], [True, False, False], k)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=9), st.sampled_from([0.25, 0.5, 0.6, 0.75, 1.0]), st.data())
def test_gpass_equals_the_average_over_all_subsets(correct, share, data):
    n, k = len(correct), data.draw(st.integers(1, len(correct)))
    subsets = list(combinations(correct, k))
    expected = sum(sum(s) >= share * k - 1e-9 for s in subsets) / len(subsets)
    assert voting.expected_gpass_at_k(n, sum(correct), k, share) == pytest.approx(expected)
    assert voting.expected_gpass_at_k(n, sum(correct), k, 1e-6) == pytest.approx(voting.expected_pass_at_k(correct, k))
    area = np.mean([voting.expected_gpass_at_k(n, sum(correct), k, 0.5 + (i + 0.5) / 2000) for i in range(1000)])
    assert voting.expected_mgpass_at_k(n, sum(correct), k) == pytest.approx(area, abs=2e-3)


def test_mgpass_of_an_even_k_is_the_papers_sum():
    """2 / k sum over i from k / 2 + 1 to k of G-Pass@k at i / k."""
    for right in (0, 3, 9, 16):
        expected = 2 / 8 * sum(voting.expected_gpass_at_k(16, right, 8, i / 8) for i in range(5, 9))
        assert voting.expected_mgpass_at_k(16, right, 8) == pytest.approx(expected)
    assert voting.expected_mgpass_at_k(4, 3, 1) == pytest.approx(0.75)  # of one sample it is the accuracy


def test_bayes_at_n_is_the_mean_of_beta_posteriors():
    found = voting.bayes_at_n([0, 3, 4], 4)
    posteriors = [(1, 5), (4, 2), (5, 1)]
    assert found["value"] == pytest.approx(np.mean([a / (a + b) for a, b in posteriors]))
    deviation = math.sqrt(sum(a * b / ((a + b) ** 2 * (a + b + 1)) for a, b in posteriors)) / 3
    assert found["ci95"] == pytest.approx([found["value"] - 1.96 * deviation, found["value"] + 1.96 * deviation], abs=1e-4)


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_a_share_that_is_none_is_a_sentence(share):
    with pytest.raises(ValueError, match="it must be above 0 and at most 1"):
        voting.expected_gpass_at_k(4, 2, 2, share)
