"""Rejection sampling (paper section 3.2, Figure 6): sample until the thinking happens to fit the limit."""

from __future__ import annotations

from collections.abc import Sequence

from ..streams.types import First, Method, Read, Sampling, Segment, Trace
from . import checks, phases


def rejection_sampling(
    prompt,
    chat,
    sampling: Sampling,
    *,
    limit: int,
    max_answer_tokens: int | None,
    max_tries: int = 1000,
    ahead: int = 1,
    until: Sequence[str] = (),
) -> Method:
    """The first sample whose thinking, its stop token included, is at most `limit` tokens long, and its answer.

    Try i reads pool member i, whatever the limit: all limits share one pool, and a try is never read past its limit.
    max_tries: s1 has no bound (655 tries per question at its lowest limit). When none fits the trace holds the last try, cut
    at the limit ("forced"), no answer, and `exhausted` in its info. ahead: tries run at the same time; more is faster and
    wastes the tries after the accepted one.
    """
    head, stops = prompt.ids + chat.thinking_start, chat.thinking_stops
    tries = yield First(
        lambda spans: spans[-1].reason == "stop",
        (Read(head, sampling.sample(i), stops, limit) for i in range(max_tries)),
        ahead=ahead,
    )
    last, member = tries[-1], sampling.sample(len(tries) - 1)
    fits = last.reason == "stop"
    info = {"limit": limit, "tries": len(tries), "exhausted": not fits, "tried_tokens": sum(s.end for s in tries)}
    segments = [Segment("delimiter", chat.thinking_start), Segment("thinking", last.ids, last.logprobs)]
    if not fits:
        return Trace(prompt.ids, segments, end="context" if last.reason == "context" else "forced", info=info)
    closing = phases.closing(chat, last.ids, forced=False)
    answer = yield from phases.answer(head + last.ids + closing, chat, member, limit=max_answer_tokens, until=until)
    return Trace(prompt.ids, [*segments, Segment("delimiter", closing), answer], end="natural", info=info)


def check(cfg, *, context_length: int | None, temperature: float, chat, at: str = "method") -> None:
    """ValueError when a setting makes no sense."""
    checks.answer_settings(cfg, context_length=context_length, chat=chat, at=at)
    checks.budget(cfg, "limit", context_length=context_length, chat=chat, at=at)
    checks.whole(cfg, "max_tries", at=at)
    checks.whole(cfg, "ahead", at=at)
    checks.sampled("every try would be the same", temperature=temperature, at=at)


def limits(cfg) -> tuple[int, int]:
    """(least, most) thinking tokens asked for."""
    return 0, cfg["limit"]
