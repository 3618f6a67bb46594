"""The variance of an accuracy, split between questions and samples."""

import numpy as np
import pytest

from s1x.metrics.variance import of_right, variance_split


def test_by_hand():
    """Two questions of four samples: 1 of 4 and 3 of 4 right. Within: 4/3 x 3/16 = 1/4; between: 1/8 - 1/16."""
    split = variance_split(*of_right(np.array([1, 3]), 4))
    assert (split["within"], split["between"]) == pytest.approx((0.25, 0.0625))
    assert split["share_between"] == pytest.approx(0.5) and split["samples"] == 4
    assert split["narrower"] == pytest.approx(1 - np.sqrt(0.75)) and split["narrowest"] == pytest.approx(1 - np.sqrt(0.5))


def test_samples_that_always_agree_help_nothing():
    split = variance_split(*of_right(np.array([0, 8, 8, 0, 8]), 8))
    assert (split["share_between"], split["narrowest"], split["within"]) == (1.0, 0.0, 0.0)


def test_questions_that_are_all_alike_leave_everything_to_the_samples():
    right = np.random.default_rng(0).binomial(4, 0.5, 2000)
    split = variance_split(*of_right(right, 4))
    assert split["share_between"] < 0.1 and split["narrower"] == pytest.approx(1 - np.sqrt(0.5), abs=0.05)


def test_where_nothing_varies_or_nothing_repeats_there_is_no_split():
    assert variance_split(*of_right(np.array([4, 4, 4]), 4)) is None
    assert variance_split(*of_right(np.array([1, 0, 1]), 1)) is None
    assert variance_split(*of_right(np.array([1]), 4)) is None
    assert variance_split(*of_right(np.array([2, 2, 2]), 4))["between"] < 0  # unbiased: it may come out below zero


def test_scores_that_are_no_shares_and_questions_of_different_numbers_of_samples():
    rng = np.random.default_rng(1)
    scores = [rng.normal(mean, 0.3, n) for mean, n in zip(rng.normal(0, 0.5, 3000), rng.integers(1, 6, 3000), strict=True)]
    several = [s for s in scores if len(s) > 1]
    means, counts = np.array([s.mean() for s in scores]), np.array([len(s) for s in scores])
    split = variance_split(means, counts, np.array([s.var(ddof=1) if len(s) > 1 else 0 for s in scores]))
    assert split["n_questions"] == len(several)
    assert (split["between"], split["within"]) == pytest.approx((0.25, 0.09), rel=0.1)
