"""The best of several cells, chosen on one half of the questions and measured on the other, and the other way round.

Two-fold cross-fitting (Chernozhukov et al. 2018, section 3): no question helps to choose the cell it is then counted for, so
the luck that makes a cell look best is not counted as its merit. The halves are fixed: a question is always in the same one.
Intervals are by a bootstrap over questions in which every resample chooses anew, as in `scaling.split_half_performance`: with
the choice held fixed they would miss the best cell where half of the questions do not find it.

How it fails: half of the questions find the best cell less often than all, so what is measured lies below it, by a few points
at 30 questions and by up to two at 200 (docs/statistics.md), and what is compared with it looks better by as much.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np

from .intervals import RESAMPLES, percentile_interval, resampled_means, verdict
from .significance import smallest_difference


def halves(questions: Iterable[Any]) -> np.ndarray:
    """Whether each question is in the first half, by a hash of its id. The halves need not be of the same size."""
    return np.array([blake2b(str(q).encode(), digest_size=1).digest()[0] % 2 == 0 for q in questions], dtype=bool)


class CrossFit:
    """Scores of cells, (questions, cells), with their halves and what the bootstrap makes of them.

    Raises ValueError when a half is empty.
    """

    def __init__(self, scores: np.ndarray, half: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        if not half.any() or half.all():
            raise ValueError("cross-fitting: one half of the questions is empty; more questions are needed")
        self.scores, self.half = np.asarray(scores, dtype=float), half
        parts = np.hstack([self.scores * half[:, None], self.scores * ~half[:, None]])
        self.means = np.vstack([parts.mean(0), resampled_means(parts, resamples=resamples, seed=seed)])  # the data's own first

    def best(self, among: list[int], other_than: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The cells of `among` that are best on the first and on the second half, of equals the first: (1 + resamples,) each.

        other_than: per half and cell of `among` whether it may not be chosen, (1 + resamples, cells).
        """
        barred = other_than or (np.zeros((1, 1), dtype=bool),) * 2
        first, second = (
            np.asarray(among)[np.where(bar, -np.inf, half[:, among]).argmax(-1)]
            for half, bar in zip(np.split(self.means, 2, axis=1), barred, strict=True)
        )
        return first, second

    def value(self, best: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """The accuracy of a choice, each half's measured on the other: (1 + resamples,)."""
        first, second = np.split(self.means, 2, axis=1)
        rows = np.arange(len(self.means))
        return second[rows, best[0]] + first[rows, best[1]]

    def own(self, cell: int) -> np.ndarray:
        """The accuracy of a cell: (1 + resamples,)."""
        first, second = np.split(self.means, 2, axis=1)
        return first[:, cell] + second[:, cell]

    def by_question(self, best: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Of the data's own choice, per question the score of the cell that was chosen on the half it is not in."""
        return np.where(self.half, self.scores[:, best[1][0]], self.scores[:, best[0][0]])

    def compared(self, values: np.ndarray, differences: np.ndarray) -> dict[str, Any]:
        """The record of a difference of two such accuracies, as of `intervals.paired_differences`: its own value and
        replicates, and the questions' differences. Where McNemar's test is called for, the larger of both p values
        counts."""
        found = verdict(values[1:], differences)
        least = smallest_difference(float(np.var(values[1:])), 1)
        return {
            "difference": float(values[0]),
            "ci95": percentile_interval(values[1:]),
            "n_questions": len(differences),
            **found,
            "p": max(found["p"], found["p_bootstrap"]),
            "smallest_difference": max(least, found["smallest_difference"]),
        }


def against_best(scores: np.ndarray, half: np.ndarray, cell: int) -> dict[str, Any] | None:
    """How far a cell lies from the best of all of them, itself included: the record of `CrossFit.compared`, None where a half
    is empty. scores: (questions, cells). The best is measured a little too low (see above), so a cell does not seem worse."""
    if half.all() or not half.any():
        return None
    fit = CrossFit(scores, half)
    best = fit.best(list(range(scores.shape[1])))
    return fit.compared(fit.own(cell) - fit.value(best), scores[:, cell] - fit.by_question(best))
