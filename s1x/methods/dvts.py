"""Diverse verifier tree search (Beeching, Tunstall, Rush 2024, "Scaling test-time compute with open models")."""

from __future__ import annotations

from ..streams.types import All, Method
from .base import Ask, method
from .beam_search import beam_search
from .search import Policy, Vote, check_search, joined


def _check(s, checks) -> None:
    check_search(s, checks, "n", "width")
    if s.n % s.width:
        raise ValueError(f"{checks.at}.width={s.width}: must divide {checks.at}.n={s.n}, into as many trees as that gives")


@method(
    needs_sampling=lambda s: "all chains would be the same" if s.n > 1 else None,
    columns=lambda s: (),
    needs_scorer=True,
    words={"n": "{} chains"},
    check=_check,
)
def dvts(ask: Ask, *, n: int, width: int = 4, policy: Policy = Policy(), vote: Vote = "best") -> Method:  # noqa: B008
    """n/width trees that do not know of one another; in each, the best of `width` continuations goes on after each step.

    Tree i is over pool member i. vote: as in best_of_n, over the chains that the trees end with.
    """
    trees = [beam_search(ask.sample(i), n=width, width=width, policy=policy) for i in range(n // width)]
    return joined(ask, (yield All(trees)), vote)
