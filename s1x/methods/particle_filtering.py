"""Particle filtering (Puri et al. 2025, arXiv 2502.01618): chains are drawn again by reward after each step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..streams.types import Method, digest
from .base import Ask, method
from .search import Policy, Vote, check_search, chosen, grown


@method(
    needs_sampling=lambda s: "all particles would be the same" if s.n > 1 else None,
    columns=lambda s: ("depth",),
    needs_scorer=True,
    words={"n": "{} chains"},
    check=lambda s, checks: check_search(s, checks, "n"),
)
def particle_filtering(ask: Ask, *, n: int, policy: Policy = Policy(), vote: Vote = "best") -> Method:  # noqa: B008
    """`n` particles. After each step as many are drawn among them, those that have ended included, with the probability of
    their reward (which is the softmax of its logarithm); copies grow apart. It ends when all of them have ended.

    The draw is systematic resampling: one uniform number, from the question's noise, moves n evenly spaced pointers.
    """
    nodes, depth = (yield grown([(policy.root(ask), n)])), 1
    while not all(node.ended for node in nodes):
        shift = int.from_bytes(digest("resample", ask.sampling.noise, depth)[:6], "little") / (1 << 48)
        counts = _drawn([node.worth for node in nodes], n, shift)
        copies = [[(node, 1)] * k if node.ended else [(node, k)] for node, k in zip(nodes, counts, strict=True) if k]
        nodes, depth = (yield grown([copy for each in copies for copy in each])), depth + 1
    return (yield from chosen(ask, nodes, vote, depth=depth))


def _drawn(weights: Sequence[float], n: int, shift: float) -> list[int]:
    """How many of the n pointers (0 + shift) / n, (1 + shift) / n, ... point at each weight's share of their sum."""
    if not sum(weights) > 0:
        weights = [1.0] * len(weights)
    total, passed, ends = sum(weights), 0.0, [0]
    for weight in weights:
        passed += weight
        ends.append(min(n, max(0, math.ceil(n * passed / total - shift))))
    ends[-1] = n
    return [after - before for before, after in zip(ends, ends[1:], strict=False)]
