"""The best of several cells, chosen on one half of the questions and measured on the other."""

import numpy as np
import pytest

from s1x.metrics.crossfit import CrossFit, halves


def test_a_question_is_always_in_the_same_half():
    half = halves(range(2000))
    assert 0.45 < half.mean() < 0.55 and halves([7, "7", 1234]).tolist() == [half[7], half[7], half[1234]]
    assert halves([5, 3]).tolist() == [half[5], half[3]]


HALF = np.array([True, True, False, False])


def test_by_hand():
    """Cell 0 is best on the first half and is measured on the second (0 of 2), cell 1 the other way round (1 of 2)."""
    fit = CrossFit(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 1, 0]]), HALF, resamples=50)
    best = fit.best([0, 1, 2])
    assert (best[0][0], best[1][0]) == (0, 1)
    assert fit.value(best)[0] == pytest.approx((0 + 0 + 1 + 0) / 4)
    assert fit.by_question(best).tolist() == [1, 0, 0, 0]
    assert fit.own(1)[0] == pytest.approx(3 / 4) and len(fit.own(1)) == 51
    barred = (np.tile([True, False, False], (51, 1)), np.tile([False, True, False], (51, 1)))
    assert [side[0] for side in fit.best([0, 1, 2], other_than=barred)] == [1, 2]
    assert [side[0] for side in fit.best([1, 2])] == [1, 1] and [side[0] for side in fit.best([2])] == [2, 2]


def test_of_equals_the_first():
    fit = CrossFit(np.ones((4, 3)), HALF, resamples=5)
    assert [side.tolist() for side in fit.best([1, 2])] == [[1] * 6] * 2


@pytest.mark.parametrize("half", [np.ones(4, dtype=bool), np.zeros(4, dtype=bool)])
def test_an_empty_half_is_a_sentence(half):
    with pytest.raises(ValueError, match="one half of the questions is empty"):
        CrossFit(np.ones((4, 2)), half)


def test_replicates_are_what_choosing_in_each_resample_gives():
    rng = np.random.default_rng(0)
    scores, half = (rng.random((40, 5)) < 0.5).astype(float), halves(range(40))
    fit = CrossFit(scores, half, resamples=30, seed=3)
    draws = np.random.default_rng(3).integers(0, 40, size=(30, 40))
    for row, rows in enumerate(draws, 1):
        s, h = scores[rows], half[rows]
        first, second = s[h].sum(0).argmax(), s[~h].sum(0).argmax()
        expected = (s[~h][:, first].sum() + s[h][:, second].sum()) / 40
        assert fit.value(fit.best([0, 1, 2, 3, 4]))[row] == pytest.approx(expected)


def test_the_more_careful_p_value_counts():
    rng = np.random.default_rng(2)
    scores = np.hstack([(rng.random((30, 1)) < 0.4), (rng.random((30, 1)) < 0.8)]).astype(float)
    fit = CrossFit(scores, halves(range(30)))
    best = fit.best([0])
    row = fit.compared(fit.own(1) - fit.value(best), scores[:, 1] - fit.by_question(best))
    assert row["difference"] == pytest.approx(scores[:, 1].mean() - scores[:, 0].mean())
    assert row["p"] == max(row["p_mcnemar"], row["p_bootstrap"]) and row["n_questions"] == 30
