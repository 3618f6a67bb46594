"""Best of n (Cobbe et al. 2021, arXiv 2110.14168): samples of any method, of which a reward model chooses."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import All, Method, Trace
from .base import Ask, method
from .search import AGGREGATES, VOTES, Vote


def _check(s, checks) -> None:
    checks.whole("n")
    checks.one_of("by", tuple(AGGREGATES))
    checks.one_of("vote", VOTES)


@method(
    needs_sampling=lambda s: "all samples would be the same" if s.n > 1 else None,
    free=lambda s: False,
    columns=lambda s: (),
    needs_scorer=True,
    words={"n": "{} samples"},
    check=_check,
)
def best_of_n(ask: Ask, *, n: int, inner: Callable[..., Method], by: str = "last", vote: Vote = "best") -> Method:
    """The pool: `n` traces of `inner`, each with what its whole chain is worth (`reward` in its info).

    by: what a chain is worth by the values of its steps (last, min, mean, product). vote: whose answer counts: best, weighted
    (the answer with the largest sum of rewards) or majority. Member i is that of majority_voting, so both share one pool.
    """

    def scored(i: int) -> Method:
        trace = yield inner(ask.sample(i))
        steps = ask.reader.solution(ask.decode(trace.ids("thinking", "injected")), ask.decode(trace.ids("answer")))
        values = yield from ask.judged(steps)
        trace.info["reward"] = AGGREGATES[by](values) if values else 0.0
        return trace

    samples = yield All([scored(i) for i in range(n)])
    return Trace(ask.prompt.ids, samples=samples, vote=vote, info={"n": n})
