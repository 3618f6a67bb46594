"""Intervals: Wilson for one accuracy, the bootstrap over questions for everything else.

The question is the resampling unit: several samples of one question are averaged first, because they are not independent. Two
cells on the same questions are compared by their per-question differences (paired bootstrap, 10,000 resamples, as in the
paper's Table 2), which also removes the noise that cells share when they read the same token streams.

How they fail: a percentile bootstrap cannot look beyond the questions it has. What counts is how many of them differ: right
answers among wrong ones for an accuracy, questions that two cells answer differently for a difference. With fewer than
about five such questions the interval is too narrow, with none it is a single point. At n = 30 (AIME) it therefore covers a
true accuracy of 0.05 in 78% of cases and of 0.02 in 45%, instead of 95% (Wilson: 94% and 98%), and a true difference of one
question in 30 in about 64%; in between, 0.1 to 0.9, it covers 93 to 96% but is so wide (18 points to either side at 0.5)
that it decides little, and coverage jumps by points from one accuracy to the next. From 200 questions on and accuracies
between 0.1 and 0.9 both cover 93 to 97%, which a test holds. Neither knows of training seeds, prompts or hardware.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from .significance import DIFFERING, FEW, bootstrap_p, mcnemar, smallest_difference, smallest_exact

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 2_000_000  # resampled indices held at once


def wilson(p: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a proportion `p` seen on `n` trials; `n` may be an effective number."""
    if n <= 0:
        return (0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return (max(0.0, centre - half), min(1.0, centre + half))


def question_means(questions: Iterable[Any], values: Sequence[float]) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Average values by question: distinct questions in order of first appearance, their means, their sample counts."""
    index: dict[Any, int] = {}
    rows = np.array([index.setdefault(q, len(index)) for q in questions], dtype=int)
    counts = np.bincount(rows, minlength=len(index))
    sums = np.bincount(rows, weights=np.asarray(values, dtype=float), minlength=len(index))
    return list(index), sums / np.maximum(counts, 1), counts


def accuracy_interval(means: np.ndarray, samples: float = 1) -> tuple[float, float]:
    """Wilson's interval of an accuracy from per-question `means` of `samples` samples each.

    With several samples the number of trials is the one that explains the spread between questions, p(1-p) / Var(mean): the
    number of questions when a question always gets the same score, the number of samples when all are independent.
    """
    n = len(means)
    if n == 0:
        return (0.0, 1.0)
    p = float(np.mean(means))
    variance = float(np.var(means, ddof=1)) / n if n > 1 else 0.0
    effective = p * (1 - p) / variance if variance > 0 else n
    return wilson(p, float(np.clip(effective, n, n * samples)))


def resampled_means(values: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Column means under resampling of rows: (questions, columns) -> (resamples, columns).

    All columns see the same resampled questions, so any function of several columns is resampled jointly. The draws depend on
    `seed`, the number of rows and `resamples` alone.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n == 0:
        raise ValueError("bootstrap: there are no questions to resample; it needs at least one")
    rng = np.random.default_rng(seed)
    out = np.empty((resamples, values.shape[1]))
    step = max(1, _CHUNK // n)
    for first in range(0, resamples, step):
        rows = min(step, resamples - first)
        draws = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n)
        out[first : first + rows] = counts.astype(float) @ values / n
    return out


def percentile_interval(replicates: np.ndarray, level: float = LEVEL) -> list[float] | None:
    """[lo, hi] of the replicates of one figure; undefined (nan) replicates are left out, None when all are."""
    replicates = replicates[np.isfinite(replicates)]
    if replicates.size == 0:
        return None
    lo, hi = np.quantile(replicates, [0.5 - level / 2, 0.5 + level / 2])
    return [float(lo), float(hi)]


def bootstrap_mean(means: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> list[float] | None:
    """Percentile interval of the mean of per-question values."""
    return percentile_interval(resampled_means(np.asarray(means)[:, None], resamples=resamples, seed=seed)[:, 0])


def paired_differences(a: np.ndarray, b: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> list[dict[str, Any]]:
    """Compare cells on the same questions: `{difference, ci95, n_questions}` of mean(b) - mean(a) for each column, and
    `verdict`.

    `a` and `b` are per-question means, shape (questions,) or (questions, pairs); row i of both must be the same question.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"paired comparison: the cells have {a.shape} and {b.shape} values; pair them by question first")
    differences = (b - a).reshape(len(a), -1)
    replicates = resampled_means(differences, resamples=resamples, seed=seed)
    return [
        {"difference": float(column.mean()), "ci95": percentile_interval(draws), "n_questions": len(a)} | verdict(draws, column)
        for column, draws in zip(differences.T, replicates.T, strict=True)
    ]


def verdict(draws: np.ndarray, differences: np.ndarray | None = None) -> dict[str, Any]:
    """`{p, p_bootstrap, p_mcnemar, smallest_difference}` of a paired difference.

    draws: its bootstrap replicates; differences: of the questions, None where they alone do not decide (several trainings).
    `p` is the one that counts, `p_mcnemar` None where McNemar's test is not called for or not possible.
    """
    found = {"p": bootstrap_p(draws), "p_bootstrap": bootstrap_p(draws), "p_mcnemar": None}
    if differences is None:
        return found | {"smallest_difference": smallest_difference(float(np.var(draws)), 1)}
    n, spread = len(differences), float(np.var(differences, ddof=1)) if len(differences) > 1 else 0.0
    if not np.isin(differences, (-1, 0, 1)).all():
        return found | {"smallest_difference": smallest_difference(spread, n)}
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    if n < FEW or gained + lost < DIFFERING:
        found["p"] = found["p_mcnemar"] = mcnemar(gained, lost)
    exact = smallest_exact((gained + lost) / n, n) if n < FEW else smallest_difference(spread, n, whole=True)
    return found | {"smallest_difference": exact}
