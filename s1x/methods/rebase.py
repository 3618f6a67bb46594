"""Reward balanced search (Wu et al. 2024, arXiv 2408.00724): every depth has a number of chains, shared out by reward."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..streams.types import Method
from .base import Ask, method
from .search import Node, Policy, Vote, check_search, chosen, grown, ranked


def _check(s, checks) -> None:
    check_search(s, checks, "n")
    checks.number("temperature")
    if s.temperature <= 0:
        raise ValueError(f"{checks.at}.temperature={s.temperature}: must be more than 0 (REBASE uses 0.2)")


@method(
    needs_sampling=lambda s: "all chains would be the same" if s.n > 1 else None,
    columns=lambda s: ("depth", "leaves"),
    needs_scorer=True,
    words={"n": "{} chains"},
    check=_check,
)
def rebase(ask: Ask, *, n: int, temperature: float = 0.2, policy: Policy = Policy(), vote: Vote = "weighted") -> Method:  # noqa: B008
    """`n` chains in all: those of a depth get children by the softmax of their rewards at `temperature`, the best first.

    Chains that end are leaves, and later depths are as much narrower. vote: as in best_of_n, over all leaves.
    """
    nodes, leaves, depth = (yield grown([(policy.root(ask), n)])), [], 1
    while True:
        leaves += [node for node in nodes if node.ended]
        living = ranked([node for node in nodes if not node.ended])
        if not living or len(leaves) >= n:
            return (yield from chosen(ask, leaves, vote, depth=depth))
        nodes, depth = (yield grown(_shares(living, n - len(leaves), temperature))), depth + 1


def _shares(nodes: Sequence[Node], width: int, temperature: float) -> list[tuple[Node, int]]:
    """How many children each gets: the reference's loop (rebase.py), in which the best takes its share, rounded up, of what is
    left, and the others share the rest."""
    top = nodes[0].worth
    weights = [math.exp((node.worth - top) / temperature) for node in nodes]
    left, shares = sum(weights), []
    for node, weight in zip(nodes, weights, strict=True):
        number = min(width, math.ceil(width * weight / left - 1e-9)) if left > 0 else 0
        shares.append((node, number))
        width, left = width - number, left - weight
    return [(node, number) for node, number in shares if number]
