"""Beam search over steps (Snell et al. 2024, arXiv 2408.03314, section 5.2): the best partial chains go on several ways."""

from __future__ import annotations

from ..streams.types import Method
from .base import Ask, method
from .search import Policy, Vote, check_search, chosen, grown, ranked


def _check(s, checks) -> None:
    check_search(s, checks, "n", "width")
    if s.n % s.width:
        raise ValueError(f"{checks.at}.width={s.width}: must divide {checks.at}.n={s.n}, so that every chain kept grows alike")


@method(
    needs_sampling=lambda s: "all chains would be the same" if s.n > 1 else None,
    columns=lambda s: ("depth",),
    needs_scorer=True,
    words={"n": "{} chains"},
    check=_check,
)
def beam_search(ask: Ask, *, n: int, width: int = 4, policy: Policy = Policy(), vote: Vote = "best") -> Method:  # noqa: B008
    """Of `n` chains the best n/width are kept after each step, and each grows `width` ways, until all kept ones have ended.

    A chain that has ended keeps its place among the best while it is one of them. vote: as in best_of_n, over the last chains.
    """
    nodes, depth = (yield grown([(policy.root(ask), n)])), 1
    while True:
        kept = ranked(nodes)[: n // width]
        if all(node.ended for node in kept):
            return (yield from chosen(ask, kept, vote, depth=depth))
        nodes, depth = (yield grown([(node, width) for node in kept])), depth + 1
