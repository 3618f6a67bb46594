"""Adaptive consistency (Aggarwal et al. 2023, arXiv 2305.11860): sample until the most frequent answer will hardly change."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from ..streams.types import Method
from .base import Ask, method
from .pools import Answers, drawn


def _check(s, checks) -> None:
    checks.whole("n", "window")
    checks.number("threshold", least=0, most=1)
    checks.one_of("rule", tuple(RULES))


@method(
    needs_sampling=lambda s: "all votes would be the same" if s.n > 1 else None,
    free=lambda s: False,
    columns=lambda s: ("samples", "decided"),
    words={"n": "at most {} votes"},
    check=_check,
)
def adaptive_consistency(
    ask: Ask, *, n: int, inner: Callable[..., Method], threshold: float = 0.95, rule: str = "beta", window: int = 1
) -> Method:
    """A pool of at most `n` samples of `inner`, which ends once its majority is sure: with a probability of `threshold`.

    rule: "beta", the paper's default: the most frequent answer against the second, under a uniform prior; "dirichlet": against
    all other answers seen, where there are three or more. window: samples drawn at the same time; the paper looks after each.
    A sample without an answer casts no vote. Member i is that of majority_voting. Equal answers are those with equal strings.
    """
    sure = RULES[rule]

    def decided(answers: Answers) -> bool:
        counts = sorted(Counter(a for a in answers if a is not None).values(), reverse=True)
        return bool(counts) and sure(tuple(counts)) >= threshold

    return (yield from drawn(ask, inner, n, window, decided))


def beta(counts: Sequence[int]) -> float:
    """P(p > 1/2) for p from Beta(a + 1, b + 1), a and b the two largest of the falling `counts`.

    With whole a and b that is the chance of at most a heads in a + b + 1 throws of a coin.
    """
    a, b = counts[0], counts[1] if len(counts) > 1 else 0
    return sum(math.comb(a + b + 1, j) for j in range(a + 1)) / 2 ** (a + b + 1)


@lru_cache(maxsize=4096)
def dirichlet(counts: Sequence[int]) -> float:
    """P(the first share is the largest) for shares from Dirichlet(counts + 1), falling; of two answers what `beta` says.

    Shares are independent gamma variables over their sum: the integral over x of the first one's density at x, times the chance
    that each other is less than x (Simpson's rule).
    """
    if len(counts) < 3:
        return beta(counts)
    top, steps = counts[0] + 1, 512
    width = (top + 12 * math.sqrt(top) + 12) / steps

    def at(x: float) -> float:
        terms = [math.exp(-x)]  # of a Poisson distribution with mean x
        for j in range(1, top):
            terms.append(terms[-1] * x / j)
        return terms[-1] * math.prod(1 - math.fsum(terms[: count + 1]) for count in counts[1:])

    return width / 3 * math.fsum((1 if i in (0, steps) else 4 if i % 2 else 2) * at(i * width) for i in range(steps + 1))


RULES: dict[str, Callable[[Sequence[int]], float]] = {"beta": beta, "dirichlet": dirichlet}
