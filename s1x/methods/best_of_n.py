"""Best of n (verifier-guided selection; Cobbe et al. 2021, arXiv 2110.14168): samples of any method, scored by a reward model."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import All, Method, Trace
from .base import Ask, method
from .search import AGGREGATES, VOTES


def _check(s, checks) -> None:
    checks.whole("n")
    checks.one_of("by", tuple(AGGREGATES))
    checks.one_of("vote", VOTES)


@method(
    needs_sampling=lambda s: "all samples would be the same" if s.n > 1 else None,
    free=lambda s: False,
    columns=lambda s: (),
    needs_scorer=True,
    check=_check,
)
def best_of_n(ask: Ask, *, n: int, inner: Callable[..., Method], by: str = "last", vote: str = "best") -> Method:
    """The pool: `n` traces of `inner`, each with what its whole chain is worth (`reward` in its info).

    by: what a chain is worth by the values of its steps (last, min, mean, product). vote: whose answer counts: best, weighted
    (the answer with the largest sum of rewards) or majority. Member i is that of majority_voting, so both share one pool.
    """

    def scored(i: int) -> Method:
        trace = yield inner(ask.sample(i))
        steps = ask.scorer.solution(ask.decode(trace.ids("thinking", "injected")), ask.decode(trace.ids("answer")))
        values = yield from ask.judged(steps)
        trace.info["reward"] = AGGREGATES[by](values) if values else 0.0
        return trace

    samples = yield All([scored(i) for i in range(n)])
    return Trace(ask.prompt.ids, samples=samples, vote=vote, info={"n": n})
