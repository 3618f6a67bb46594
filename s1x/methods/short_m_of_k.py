"""short-m@k (Hassid et al. 2025, arXiv 2505.17813): of k chains at the same time the m vote that end their thinking first."""

from __future__ import annotations

from dataclasses import replace

from ..streams.types import All, Method, Trace
from .base import BUDGET, Ask, End, method
from .checks import Checks


def _check(s, checks: Checks) -> None:
    checks.whole("k", "every")
    checks.whole("m", most=s.k if isinstance(s.k, int) else None, why=f"{checks.at}.k={s.k}")
    checks.budget("max_thinking_tokens", words=("auto",))
    checks.one_of("which", ("first", "last"))


@method(
    limits=lambda s: (0, s.max_thinking_tokens if isinstance(s.max_thinking_tokens, int) else None),
    needs_sampling=lambda s: "all chains would be the same" if s.k > 1 else None,
    free=lambda s: False,
    columns=lambda s: ("cut_tokens",),
    curve=("max_thinking_tokens",),
    words=BUDGET,
    check=_check,
)
def short_m_of_k(
    ask: Ask, *, k: int, m: int, every: int = 256, max_thinking_tokens: int | str = "auto", which: str = "first"
) -> Method:
    """Majority of the `m` shortest of `k` chains of thinking; all others end where the m-th of them has ended.

    Which ones end first is a matter of positions, never of time: all chains are read to the same position, `every` tokens
    further each round, until m have ended; of equals the earlier member is first. A chain that the limit cuts ends there.
    Votes that are equal go to the shorter chain. m=1 is first-finish search. max_thinking_tokens: of each chain, as in
    budget_forcing. which: "last" takes the m longest, after all have ended (last-finish search, arXiv 2512.02008).
    cut_tokens in the info: what was read of the chains that do not vote.
    """
    limit = ask.room if max_thinking_tokens == "auto" else min(int(max_thinking_tokens), ask.room)
    if limit < 1:
        return ask.unfinished()
    reads = [ask.sample(i).think(limit) for i in range(k)]
    ends: dict[int, int] = {}  # of chains that have ended: tokens read
    at = 0
    while len(ends) < (m if which == "first" else k):
        going = [i for i in range(k) if i not in ends]
        step = min(every, limit - at) if which == "first" else limit
        spans = yield All([replace(reads[i], start=at, limit=step) for i in going])
        at += step
        ends |= {i: s.end for i, s in zip(going, spans, strict=True) if s.reason != "limit" or at >= limit}
    order = sorted(ends, key=lambda i: (ends[i] if which == "first" else -ends[i], i))[:m]

    def finished(i: int) -> Method:
        span = yield reads[i]
        too_long = span.reason == "limit" and max_thinking_tokens not in (limit, "auto")  # longer than what fits
        end: End | None = "context" if too_long else None
        return (yield from ask.sample(i).close([ask.thinking(span)], span, end=end, info={"member": i}))

    samples = yield All([finished(i) for i in order])
    cut = sum(ends.get(i, at) for i in range(k) if i not in order)
    return Trace(ask.prompt.ids, samples=samples, weights=(1.0,) * m, info={"cut_tokens": cut})
