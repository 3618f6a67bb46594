"""Where the uncertainty of an accuracy comes from: from the questions that were asked, or from the samples of each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

HELPS = 0.1  # of the interval's width; what endlessly many samples would take off must be more, or "more samples will not help"


def variance_split(means: np.ndarray, samples: np.ndarray, within: np.ndarray) -> dict[str, Any] | None:
    """`{n_questions, samples, between, within, share_between, narrower, narrowest}`, or None where no split can be told.

    means, samples, within: per question the mean of its samples' scores, their number, and their variance (with n - 1
    below). Questions of one sample are left out. The usual unbiased split of a one-way layout with random questions (Searle,
    Casella and McCulloch 1992, chapter 3; of evaluations: Miller 2024, arXiv 2411.00640, section 3): `within` is the mean
    variance of a question's samples, `between` the variance of the means less what their samples account for, which can come
    out below zero. Of the accuracy's variance, (between + within / samples) / n, `share_between` is the part that more
    samples do not touch; `narrower` is by how much of its width the interval would shrink with twice as many samples,
    `narrowest` with endlessly many.
    """
    several = samples > 1
    means, samples, within = means[several], samples[several], within[several]
    if len(means) < 2:
        return None
    inner = float(within.mean())
    between = float(np.var(means, ddof=1) - np.mean(within / samples))
    k = 1 / float(np.mean(1 / samples))
    outer = max(between, 0.0)
    if outer + inner <= 0:
        return None
    share = outer / (outer + inner / k)
    return {
        "n_questions": len(means),
        "samples": round(k, 3),
        "between": between,
        "within": inner,
        "share_between": share,
        "narrower": 1 - math.sqrt((outer + inner / (2 * k)) / (outer + inner / k)),
        "narrowest": 1 - math.sqrt(share),
    }


def of_right(right: np.ndarray, samples: int | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `variance_split` takes, of questions with `right` right ones among `samples` samples (of each, or of all)."""
    means = right / samples
    return means, np.full(len(means), samples), means * (1 - means) * samples / np.maximum(samples - 1, 1)
