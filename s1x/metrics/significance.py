"""What paired differences may be concluded from: p values, their correction where there are many, and the smallest
difference that could have been seen.

The p value of a difference belongs to its interval: it is below 0.05 where the bootstrap's 95% interval leaves zero out. The
bootstrap fails where few questions are answered differently (intervals.py), so there the exact McNemar test counts: below
`FEW` questions, and where fewer than `DIFFERING` of them differ. It needs scores of 0 and 1, that is one sample for each
question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np  # a plan reckons with this module and should not wait for it

ALPHA, POWER = 0.05, 0.8
FEW, DIFFERING = 50, 10  # questions, and questions that are answered differently
FACTOR = NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(POWER)  # 2.80 standard errors


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p value of `gained` against `lost` questions (McNemar 1947, with the binomial distribution instead
    of its limit): twice the chance of so few of the rarer kind where both are equally likely. 1 where no question
    differs."""
    n = gained + lost
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(min(gained, lost) + 1)) / 2**n)


def bootstrap_p(draws: np.ndarray) -> float:
    """The two-sided p value of a difference from its bootstrap replicates: twice the share on the far side of zero, which
    inverts the percentile interval (Efron and Tibshirani 1993, chapter 15); one is added to both counts, so that it is never
    0."""
    below, above = int((draws <= 0).sum()), int((draws >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(draws) + 1))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's correction of p values that are looked at together (Holm 1979): the chance that any true zero among them falls
    below alpha is at most alpha, however they depend on one another. The i-th smallest of m counts m - i + 1 times."""
    adjusted, least = [0.0] * len(values), 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=lambda at: values[at])):
        least = adjusted[at] = min(1.0, max(least, (len(values) - rank) * values[at]))
    return adjusted


def corrected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one table with `p_holm` beside their `p`; a row without a p value is no comparison."""
    adjusted = iter(holm([row["p"] for row in rows if row["p"] is not None]))
    return [row | {"p_holm": None if row["p"] is None else next(adjusted)} for row in rows]


def smallest_difference(variance: float, questions: int, *, whole: bool = False) -> float:
    """The smallest true difference (a fraction, 1 where there is none) that is found at `ALPHA` with a chance of `POWER`:
    2.80 standard errors (Miller 2024, arXiv 2411.00640, section 5).

    variance: of one question's difference, which is that between questions plus the ones between samples, each over their
    number. whole: scores are 0 or 1, so that a difference d needs questions that differ, and a variance of d - d^2 at least.
    """
    least = FACTOR**2 / (questions + FACTOR**2) if whole else 0.0  # d = FACTOR sqrt((d - d^2) / questions)
    return min(1.0, max(least, FACTOR * math.sqrt(variance / questions)))


@lru_cache
def smallest_exact(differing: float, questions: int) -> float:
    """The same for the exact McNemar test. differing: the share of questions that two cells answer differently; a larger
    difference than that is one in which all that differ are gained."""
    low, high = 0.0, 1.0
    if exact_power(1.0, differing, questions) < POWER:
        return 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if exact_power(middle, differing, questions) >= POWER else (middle, high)
    return high


def exact_power(difference: float, differing: float, questions: int) -> float:
    """The chance that the exact McNemar test finds `difference`, over all numbers of questions that may differ (Duffy 1984,
    Biometrics 40:1005)."""
    differing = max(differing, difference)
    gain = (1 + difference / differing) / 2 if differing else 0.5
    return sum(
        _binomial(questions, n, differing) * sum(_binomial(n, k, gain) for k in range(n + 1) if min(k, n - k) <= _critical(n))
        for n in range(questions + 1)
        if _critical(n) >= 0
    )


@lru_cache
def _critical(n: int) -> int:
    """The most questions of the rarer kind among n with which McNemar's test still says that there is a difference; -1:
    none."""
    return next((k - 1 for k in range(n // 2 + 1) if mcnemar(n - k, k) > ALPHA), n // 2)


def _binomial(n: int, k: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)
