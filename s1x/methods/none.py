"""Plain generation: nobody interferes with the model (s1's "without budget forcing")."""

from __future__ import annotations

from collections.abc import Sequence

from ..streams.types import Method, Read, Sampling, Segment, Stops, Trace
from . import checks, phases


def none(
    prompt,
    chat,
    sampling: Sampling,
    *,
    max_answer_tokens: int | None,
    thinking: bool = True,
    max_tokens: int | None = None,
    until: Sequence[str] = (),
) -> Method:
    """One stream, split where the model itself starts its answer.

    thinking: append the thinking start to the prompt. s1's own command forgets it, and its model often does not open
    thinking by itself (about 20 points on AIME24; simplescaling/s1 PR 100). False is for base models: then, and where the
    chat format has no delimiter, the whole output is the answer.
    max_tokens bounds the whole output, max_answer_tokens what follows the thinking.
    """
    if not thinking or not phases.own_delimiter(chat):
        span = yield Read(prompt.ids, sampling, chat.answer_stops | Stops(strings=tuple(until)), max_tokens)
        return Trace(prompt.ids, [Segment("answer", span.ids, span.logprobs)], end="none")
    head = prompt.ids + chat.thinking_start
    span = yield Read(head, sampling, phases.own_end(chat), max_tokens)
    left = None if max_tokens is None else max_tokens - span.end
    limit = min((n for n in (max_answer_tokens, left) if n is not None), default=None)
    tail = yield from phases.own_answer(head, span, chat, sampling, limit=limit, until=until)
    end = {"stop": "natural", "limit": "forced", "context": "context"}[span.reason]
    segments = [Segment("delimiter", chat.thinking_start), Segment("thinking", span.ids, span.logprobs), *tail]
    return Trace(prompt.ids, segments, end=end)


def check(cfg, *, context_length: int | None, temperature: float, chat, at: str = "method") -> None:
    """ValueError when a setting makes no sense."""
    checks.answer_settings(cfg, context_length=context_length, chat=chat, at=at)
    checks.one_of(cfg, "thinking", (True, False), at=at)
    checks.whole(cfg, "max_tokens", at=at, null=True, most=context_length, why="the model's context")
