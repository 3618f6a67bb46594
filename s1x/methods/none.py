"""Plain generation: nobody interferes with the model (s1's "without budget forcing")."""

from __future__ import annotations

from dataclasses import replace

from ..streams.types import Ids, Method, Segment, Trace
from .base import Ask, End, method
from .checks import Checks


def _check(s, checks: Checks) -> None:
    checks.switch("thinking")
    checks.context("max_tokens", null=True)


def _thinks(ask: Ask, ids: Ids) -> bool:
    """Whether thinking was opened without being asked for, by the chat template or the model."""
    start = ask.chat.format.thinking_start.strip()
    return bool(ask.own_delimiter) and not ask.prompt.closed and (start in ask.decode(ids) or ask.chat.opened(ask.prompt.ids))


@method(free=lambda s: s.thinking, check=_check)
def none(ask: Ask, *, thinking: bool = True, max_tokens: int | None = None) -> Method:
    """One stream, split where the model itself starts its answer.

    thinking: append the thinking start to the prompt. s1's own command forgets it, and its model often does not open
    thinking by itself (about 20 points on AIME24; simplescaling/s1 PR 100). False is for base models: then, and where the
    chat format has no delimiter, the whole output is the answer.
    max_tokens bounds the whole output, answer.max_tokens what follows the thinking. Where the chat template closes the thinking
    in the prompt, all is the answer.
    """
    if not thinking or not ask.own_delimiter or ask.prompt.closed:
        read = replace(ask.answer(ask.prompt.ids), limit=max_tokens)
        span = yield read
        if ask.until and _thinks(ask, span.ids):  # a stop string within thinking ends nothing; what is graded is cut afterwards
            span = yield replace(read, stop=ask.chat.answer_stops)
        return Trace(ask.prompt.ids, [Segment.of("answer", span)], end="none")
    span = yield ask.read(ask.head, ask.own_end, max_tokens)
    left = None if max_tokens is None else max_tokens - span.end
    limit = min((n for n in (ask.max_answer_tokens, left) if n is not None), default=None)
    tail = yield from ask.own_answer(ask.head, span, limit)
    ends: dict[str, End] = {"stop": "natural", "limit": "forced", "context": "context"}
    return ask.unfinished([ask.thinking(span), *tail], end=ends[span.reason])
