"""DeepConf online (Fu et al. 2025, arXiv 2508.15260, algorithm 2): chains that become unsure are cut, and sampling ends when
the votes agree."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from typing import Any, NamedTuple

from ..streams.types import All, Method, Read, Span, Trace, Until
from .base import BUDGET, Ask, method
from .checks import Checks
from .pools import answer, confidences, groups, percentile


class Chain(NamedTuple):
    """A finished chain and its confidence, or no trace where it was cut; and how far its thinking was read."""

    trace: Trace | None
    confidence: float
    read: int


def _check(s, checks: Checks) -> None:
    checks.whole("n", "warmup", "window", "batch")
    checks.number("keep", "consensus", least=0, most=1)
    checks.budget("max_thinking_tokens", words=("auto",))


@method(
    limits=lambda s: (0, s.max_thinking_tokens if isinstance(s.max_thinking_tokens, int) else None),
    needs_sampling=lambda s: "all votes would be the same" if s.n > 1 else None,
    free=lambda s: False,
    columns=lambda s: ("chains", "cut", "cut_tokens", "agreed"),
    confidence="top20",
    curve=("max_thinking_tokens",),
    words={**BUDGET, "n": "at most {} chains"},
    check=_check,
)
def deepconf_online(
    ask: Ask,
    *,
    n: int,
    warmup: int = 16,
    keep: float = 0.1,
    consensus: float = 0.95,
    window: int = 2048,
    batch: int = 1,
    max_thinking_tokens: int | str = "auto",
) -> Method:
    """Votes of at most `n` chains, weighted by their lowest group confidence, of those that never fall below a bar.

    The confidence of a token is the mean of -log p over the 20 likeliest ones there, that of a group its mean over `window`
    tokens in a row. The bar is what the share `keep` of the first `warmup` chains reaches. Later chains are cut behind the
    first token at which the last group is below it, `batch` of them at a time, until the leading answer has the share
    `consensus` of all weights. A cut chain has no answer and no vote; cut_tokens counts it up to where it was cut.
    """
    ask = ask.measuring("top20")
    limit = ask.room if max_thinking_tokens == "auto" else min(int(max_thinking_tokens), ask.room)
    if limit < 1:
        return ask.unfinished()

    def chain(i: int, bar: float) -> Generator[Any, Any, Chain]:
        member = ask.sample(i)
        span: Span = yield watched(member.think(limit), window, bar)
        if span.reason == "until":
            return Chain(None, bar, span.end)
        trace = yield from member.close([member.thinking(span)], span, info={"member": i})
        trace.info["confidence"] = min(groups(confidences(trace), window))
        return Chain(trace, trace.info["confidence"], span.end)

    chains: list[Chain] = yield All([chain(i, -math.inf) for i in range(min(warmup, n))])
    bar = percentile([c.confidence for c in chains], 1 - keep)
    while len(chains) < n and agreement(ask, chains, bar) < consensus:
        chains += yield All([chain(i, bar) for i in range(len(chains), min(n, len(chains) + batch))])
    traces = [c.trace for c in chains if c.trace is not None]
    weights = tuple(c.confidence if c.confidence >= bar else 0.0 for c in chains if c.trace is not None)
    cut = [c.read for c in chains if c.trace is None]
    agreed = agreement(ask, chains, bar) >= consensus
    info = {"chains": len(chains), "cut": len(cut), "cut_tokens": sum(cut), "agreed": agreed, "bar": bar}
    return Trace(ask.prompt.ids, samples=traces, weights=weights, info=info)


def watched(read: Read, window: int, bar: float) -> Read | Until:
    """The read, ended behind the first token at which the confidences of the last `window` ones have a mean below `bar`."""

    def unsure(state: tuple[deque, float] | None, token: int, confidence: float) -> tuple[tuple[deque, float], bool]:
        last, total = (deque(), 0.0) if state is None else state
        last.append(confidence)
        total += confidence - (last.popleft() if len(last) > window else 0.0)
        return (last, total), len(last) == window and total / window < bar

    return read if bar == -math.inf else Until(read, unsure, of="top20")


def agreement(ask: Ask, chains: list[Chain], bar: float) -> float:
    """The share of all weights that the leading answer has (0 where there is none)."""
    votes: dict[str, float] = {}
    for c in chains:
        if c.trace is not None and c.confidence >= bar and (said := answer(ask, c.trace)) is not None:
            votes[said] = votes.get(said, 0.0) + c.confidence
    return max(votes.values()) / sum(votes.values()) if votes else 0.0
