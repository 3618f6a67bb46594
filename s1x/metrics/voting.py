"""What a pool of n samples says about k samples: exact expectations of majority voting, pass@k and G-Pass@k, and picking by
score.

A pool is one question's samples in order. `answers` are hashable group labels (equal when mathematically equivalent; None: no
answer, which casts no vote), `correct` says per sample whether its answer is right, with one verdict per group.

maj@k and pass@k are averages over all k-subsets of the pool, ties between answers shared out evenly. s1's harness instead
takes the first k samples and gives ties to the earliest answer (`first_k_*`): one subset of many, and maj@2 = maj@1 by
construction unless the first sample has no answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

LARGEST_POOL = 1000  # binomials of larger pools do not fit a float

Answers = Sequence[Hashable | None]


def subset_sizes(n: int) -> list[int]:
    """k = 1, 2, 4, ... and n itself."""
    return sorted({2**i for i in range(n.bit_length())} | {n})


def expected_pass_at_k(correct: Sequence[bool], k: int) -> float:
    """Probability that k samples drawn from the pool hold a correct one (Chen et al. 2021, the unbiased estimator)."""
    n, right = len(correct), sum(map(bool, correct))
    _check(n, k)
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def expected_gpass_at_k(n: int, right: int, k: int, share: float) -> float:
    """Probability that at least `share` of k samples drawn from a pool of n with `right` right ones are right: G-Pass@k at
    the threshold `share` (Liu et al. 2024, arXiv 2412.13147). At 1 all of them must be; near 0 it is pass@k."""
    if not 0 < share <= 1:
        raise ValueError(f"voting: a share of {share} of k samples; it must be above 0 and at most 1")
    return _at_least(n, right, k)[max(1, math.ceil(share * k - 1e-9))]


def expected_mgpass_at_k(n: int, right: int, k: int) -> float:
    """mG-Pass@k: twice the area under G-Pass@k over thresholds from one half to 1 (the same paper).

    The area exactly, which for an even k is the paper's sum over (k / 2, k]; for an odd one that leaves out half a step.
    """
    enough = _at_least(n, right, k)
    middle = enough[(k + 1) // 2] if k % 2 else 0.0
    return 2 / k * (middle / 2 + sum(enough[k // 2 + 1 + k % 2 :]))


@lru_cache(maxsize=4096)
def _at_least(n: int, right: int, k: int) -> tuple[float, ...]:
    """Probability of j or more right ones among k drawn samples, for j = 0..k."""
    _check(n, k)
    ways = [math.comb(right, j) * math.comb(n - right, k - j) for j in range(k + 1)]
    return tuple(sum(ways[j:]) / math.comb(n, k) for j in range(k + 1))


def bayes_at_n(right: Sequence[int], n: int) -> dict[str, Any]:
    """Bayes@N of questions with `right` right ones among n samples each: `{value, ci95}` (Hariri et al. 2025, arXiv
    2510.04265, for right and wrong, and a uniform prior).

    The mean over questions of (right + 1) / (n + 2), and 1.96 standard deviations of its posterior to either side. It is
    about these questions, not about others like them, and drawn to one half: by 2 parts in n + 2.
    """
    alpha = np.asarray(right, dtype=float) + 1
    beta = n + 2 - alpha
    value = float(np.mean(alpha / (n + 2)))
    half = NormalDist().inv_cdf(0.975) * float(np.sqrt((alpha * beta).sum() / (n + 3))) / ((n + 2) * len(alpha))
    return {"value": value, "ci95": [max(0.0, value - half), min(1.0, value + half)]}


def expected_maj_at_k(answers: Answers, correct: Sequence[bool], k: int) -> float:
    """Probability that the majority of k samples drawn from the pool is correct, ties shared out."""
    _check(len(answers), k)
    return expected_maj(answers, correct)[k - 1]


def expected_maj(answers: Answers, correct: Sequence[bool]) -> tuple[float, ...]:
    """`expected_maj_at_k` for every k = 1..n at once."""
    n = len(answers)
    _check(n, n)
    counts, verdict = _groups(answers, correct)
    blanks = n - sum(counts.values())
    total = np.zeros(n)
    for group, count in counts.items():
        if verdict[group]:
            others = list(counts.values())
            others.remove(count)
            total += _win_probabilities(count, tuple(sorted(others)), blanks)
    return tuple(float(p) for p in total)


@lru_cache(maxsize=4096)
def _win_probabilities(count: int, others: tuple[int, ...], blanks: int) -> np.ndarray:
    """Probability that a group of `count` wins among k drawn samples, for k = 1..n (index k - 1).

    For each number m of its samples drawn, the other groups must have m at most, and t of them exactly m for a tie of t +
    1. ways[t, d] counts how d samples of the others and the blanks can be drawn so, group by group (a product of
    polynomials in d).
    """
    n = count + sum(others) + blanks
    wins = np.zeros(n + 1)
    for m in range(1, count + 1):
        free = blanks + sum(c for c in others if c < m)  # these cannot reach m: any number of them may be drawn
        ways = np.zeros((1, n + 1))
        ways[0, : free + 1] = _choose(free)
        for c in (c for c in others if c >= m):
            below = np.zeros((len(ways) + 1, n + 1))
            for drawn in range(m):
                below[:-1, drawn:] += math.comb(c, drawn) * ways[:, : n + 1 - drawn]
            below[1:, m:] += math.comb(c, m) * ways[:, : n + 1 - m]
            ways = below
        share = (ways / np.arange(1, len(ways) + 1)[:, None]).sum(0)
        wins[m:] += math.comb(count, m) * share[: n + 1 - m]
    return wins[1:] / _choose(n)[1:]


def _choose(n: int) -> np.ndarray:
    return np.array([math.comb(n, j) for j in range(n + 1)], dtype=float)


def first_k_majority(answers: Answers, correct: Sequence[bool], k: int) -> float:
    """s1's variant: the most common answer among the first k samples, of equals the one seen first."""
    _check(len(answers), k)
    counts, verdict = _groups(answers[:k], correct[:k])
    return float(verdict[counts.most_common(1)[0][0]]) if counts else 0.0


def first_k_pass(correct: Sequence[bool], k: int) -> float:
    """s1's cov@k: whether one of the first k samples is correct."""
    _check(len(correct), k)
    return float(any(correct[:k]))


def expected_best_of_k(scores: Sequence[float], correct: Sequence[bool], k: int) -> float:
    """Expected correctness of the highest-scored of k samples drawn from the pool; equal scores share out.

    Of k drawn samples the best has rank r (n - r samples scored below it) in C(n - r, k - 1) of C(n, k) subsets.
    """
    n = len(scores)
    _check(n, k)
    values = np.asarray(scores, dtype=float)
    order = np.argsort(-values, kind="stable")
    right = np.asarray(correct, dtype=float)
    for value in np.unique(values):
        right[values == value] = right[values == value].mean()
    return sum(right[i] * math.comb(n - rank, k - 1) for rank, i in enumerate(order, 1)) / math.comb(n, k)


def weighted_majority(answers: Answers, correct: Sequence[bool], weights: Sequence[float]) -> float:
    """Correctness of the answer with the largest sum of weights over the whole pool, ties shared out.

    Weights must not be negative: turn an average log-probability into a weight with exp().
    """
    if any(w < 0 for w in weights):
        raise ValueError(
            f"weighted voting: a weight is {min(weights)}; weights must be 0 or more (take exp of log-probabilities)"
        )
    sums: dict[Hashable, float] = {}
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            sums[answer] = sums.get(answer, 0.0) + weight
    return _winner(sums, _groups(answers, correct)[1])


def shortest_majority(answers: Answers, correct: Sequence[bool], lengths: Sequence[float]) -> float:
    """Shortest Majority Vote (arXiv 2502.12215): the answer with the largest votes / log(mean length), ties shared out.

    lengths: thinking tokens per sample; below 3 they count as 3, so that the logarithm stays positive.
    """
    members: dict[Hashable, list[float]] = {}
    for answer, length in zip(answers, lengths, strict=True):
        if answer is not None:
            members.setdefault(answer, []).append(length)
    merit = {a: len(lens) / math.log(max(sum(lens) / len(lens), 3.0)) for a, lens in members.items()}
    return _winner(merit, _groups(answers, correct)[1])


def _winner(merit: dict[Hashable, float], verdict: dict[Hashable, bool]) -> float:
    best = [a for a, value in merit.items() if math.isclose(value, max(merit.values()), rel_tol=1e-12)]
    return sum(verdict[a] for a in best) / len(best) if best else 0.0


def _groups(answers: Answers, correct: Sequence[bool]) -> tuple[Counter, dict[Hashable, bool]]:
    """Votes per answer in order of first appearance, and each answer's verdict (that of its first sample)."""
    counts: Counter = Counter()
    verdict: dict[Hashable, bool] = {}
    for answer, right in zip(answers, correct, strict=True):
        if answer is not None:
            counts[answer] += 1
            verdict.setdefault(answer, bool(right))
    return counts, verdict


def _check(n: int, k: int) -> None:
    if not 1 <= n <= LARGEST_POOL:
        raise ValueError(f"voting: the pool has {n} samples; it needs 1 to {LARGEST_POOL}")
    if not 1 <= k <= n:
        raise ValueError(f"voting: k={k} with a pool of {n} samples; k must be 1 to {n}")
