"""p values, their correction and the smallest difference that could have been seen, against published values and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1x.metrics.intervals import paired_differences, percentile_interval, verdict
from s1x.metrics.significance import (
    bootstrap_p,
    corrected,
    exact_power,
    holm,
    mcnemar,
    smallest_difference,
    smallest_exact,
)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (0, 0, 1.0),
        (5, 0, 0.0625),  # 2 / 32: five questions that differ can never be enough
        (6, 0, 0.03125),
        (0, 6, 0.03125),
        (8, 2, 0.109375),  # 2 (1 + 10 + 45) / 1024
        (3, 3, 1.0),
        (1, 7, 0.0703125),  # 2 (1 + 8) / 256
    ],
)
def test_mcnemar_by_hand(gained, lost, p):
    assert mcnemar(gained, lost) == pytest.approx(p, rel=1e-3)


def test_holm_as_r_has_it():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # p.adjust(..., "holm")
    assert holm([0.5, 0.6]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_never_lowers(values):
    adjusted = holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, adjusted, strict=True))
    order = sorted(range(len(values)), key=lambda at: values[at])
    assert [adjusted[at] for at in order] == sorted(adjusted)


def test_rows_without_a_p_value_are_no_comparisons():
    rows = corrected([{"p": None}, {"p": 0.03}, {"p": None}, {"p": 0.02}])
    assert [row["p_holm"] for row in rows] == [None, 0.04, None, 0.04]


@pytest.mark.parametrize("shift", [-0.3, -0.13, 0.0, 0.12, 0.2])
def test_the_bootstraps_p_value_belongs_to_its_interval(shift):
    draws = np.random.default_rng(0).normal(shift, 0.07, 10_000)
    low, high = percentile_interval(draws)
    assert (bootstrap_p(draws) < 0.05) == (low > 0 or high < 0)
    assert bootstrap_p(np.zeros(100)) == 1 and 0 < bootstrap_p(np.ones(100)) < 0.02


def differences(gained, lost, n):
    return np.array([1.0] * gained + [-1.0] * lost + [0.0] * (n - gained - lost))


@pytest.mark.parametrize(
    ("gained", "lost", "n", "exact"),
    [(6, 0, 49, True), (20, 8, 49, True), (20, 8, 50, False), (9, 0, 400, True), (10, 0, 400, False), (0, 0, 400, True)],
)
def test_which_p_value_counts(gained, lost, n, exact):
    (row,) = paired_differences(np.zeros(n), differences(gained, lost, n), resamples=2000)
    assert (row["p_mcnemar"] is not None) == exact
    assert row["p"] == (mcnemar(gained, lost) if exact else row["p_bootstrap"])
    assert row["difference"] == pytest.approx((gained - lost) / n)


def test_samples_that_are_averaged_have_no_mcnemar():
    a = np.array([0.25, 0.5, 1.0, 0.0] * 5)
    (row,) = paired_differences(a, a[::-1], resamples=500)
    assert row["p_mcnemar"] is None and row["p"] == row["p_bootstrap"]
    assert verdict(np.array([0.1, 0.2, 0.3]))["p_mcnemar"] is None


def test_the_smallest_difference_is_millers():
    """His example: omega^2 = 1/9 and a difference of 3 points need 969 questions."""
    assert smallest_difference(1 / 9, 969) == pytest.approx(0.03, abs=1e-5)
    assert smallest_difference(0.2, 200) == pytest.approx(2.8016 * math.sqrt(0.2 / 200), rel=1e-4)
    assert smallest_difference(0.0, 100) == 0 and smallest_difference(1.0, 2) == 1.0
    assert smallest_difference(0.0, 200, whole=True) == pytest.approx(0.0378, abs=1e-4)  # some questions must differ


def test_fewer_than_six_questions_show_nothing():
    assert [smallest_exact(0.5, n) for n in (1, 5)] == [1.0, 1.0]
    assert smallest_exact(0.2, 6) == pytest.approx(0.8 ** (1 / 6), abs=1e-3)  # all six must be gained


@pytest.mark.parametrize(("n", "differing", "true"), [(30, 0.2, 0.15), (30, 0.5, 0.3), (12, 0.6, 0.6), (45, 0.1, 0.2)])
def test_exact_power_is_what_simulation_finds(n, differing, true):
    rng, share = np.random.default_rng(0), max(differing, true)
    luck = rng.random((4000, n))
    gained, lost = (luck < (share + true) / 2).sum(1), (luck > 1 - (share - true) / 2).sum(1)
    found = np.mean([mcnemar(int(b), int(c)) < 0.05 for b, c in zip(gained, lost, strict=True)])
    assert exact_power(true, differing, n) == pytest.approx(found, abs=0.025)


@pytest.mark.parametrize("n", [8, 20, 30, 49])
def test_the_smallest_exact_difference_has_the_power(n):
    for differing in (0.0, 0.1, 0.4, 0.9):
        least = smallest_exact(differing, n)
        assert exact_power(least, differing, n) >= 0.8 > exact_power(least - 0.002, differing, n)
