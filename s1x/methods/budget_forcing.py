"""Budget forcing (paper section 3.1): end the thinking at a maximum, or go on with "Wait" when the model wants to end it."""

from __future__ import annotations

from collections.abc import Generator
from itertools import chain
from typing import Any

from ..streams.types import Forbid, Ids, Method, Segment, Span
from .base import BUDGET, Ask, End, method
from .checks import Checks


def _check(s, checks: Checks) -> None:
    checks.budget("max_thinking_tokens", null=True, words=("auto",))
    checks.budget("min_thinking_tokens", least=0)
    if isinstance(s.max_thinking_tokens, int) and s.min_thinking_tokens > s.max_thinking_tokens:
        raise ValueError(
            f"{checks.at}.min_thinking_tokens={s.min_thinking_tokens}: must be at most "
            f"{checks.at}.max_thinking_tokens={s.max_thinking_tokens}"
        )
    checks.whole("ignore_end", least=0)
    checks.text("string")
    checks.one_of("compat", (None, "s1"))


def _most(s) -> int | None:
    return s.max_thinking_tokens if isinstance(s.max_thinking_tokens, int) else None


@method(
    limits=lambda s: (s.min_thinking_tokens, _most(s)),
    ignored_ends=lambda s: s.ignore_end,
    free=lambda s: _most(s) is None and not s.min_thinking_tokens and not s.ignore_end,
    curve=("max_thinking_tokens",),
    words={**BUDGET, "string": "", "string=null": "no Wait"},
    check=_check,
)
def budget_forcing(
    ask: Ask,
    *,
    max_thinking_tokens: int | str | None = "auto",
    min_thinking_tokens: int = 0,
    ignore_end: int = 0,
    string: str | None = "Wait",
    compat: str | None = None,
) -> Method:
    """Thinking of at least `min_thinking_tokens` and at most `max_thinking_tokens` tokens, `ignore_end` ends ignored.

    max_thinking_tokens: tokens of thinking, injected ones included, shared by all rounds. "auto" is what fits into the context
    with this question and an answer (`ask.room`), a number larger than that is lowered to it; null reads on until the
    context is full, and then there is no answer. A stop token counts, as in s1: with a maximum of 500 the 500th token may be
    the stop.
    string: put in place of an ignored end (null: nothing). An end is ignored only while `string` and one more token fit.
    compat: "s1" does what the reference harness does (vllm_causallms.py): every round gets the full maximum, a cut follows,
    stop tokens are masked at the start of the first round too, the minimum is a mask without effect beside `ignore_end`, and
    "auto" is what fits with the longest question of the task.
    """
    room = ask.room_of_batch if compat == "s1" else ask.room
    number = max_thinking_tokens if isinstance(max_thinking_tokens, int) else None
    fits = number is None or number <= room or compat == "s1"
    limit = room if max_thinking_tokens == "auto" or not fits else number
    if limit is not None and limit < 1:
        return ask.unfinished()

    rounds = _rounds_of_s1 if compat == "s1" else _rounds
    inject = ask.encode(string) if string else ()
    thinking, waits, last = yield from rounds(ask, limit, min_thinking_tokens, ignore_end, inject)
    too_long = limit is not None and len(_ids(thinking)) > limit  # only under compat
    if limit is not None and too_long:
        thinking = _cut(thinking, limit)
    if last.reason != "stop" or too_long:
        end: End = "forced" if fits and last.reason != "context" else "context"
    else:
        end = "natural"
    # s1 decides by how its last round ended, so a chain that only its sum made too long gets the plain end (T9)
    return (yield from ask.close(thinking, last, end=end, waits=waits))


Rounds = Generator[Any, Any, tuple[list[Segment], int, Span]]
"""Segments, ends ignored, the last span."""


def _rounds(ask: Ask, limit: int | None, least: int, ignore_end: int, inject: Ids) -> Rounds:
    """The first read is never masked, so that all settings share it."""
    stops, waits, forbid = ask.chat.thinking_stops, 0, None
    segments: list[Segment] = []
    while True:
        so_far = _ids(segments)
        left = None if limit is None else limit - len(so_far)
        span = yield ask.think(left, after=so_far, forbid=forbid, role="wait" if segments else "thinking")
        segments.append(ask.thinking(span))
        length = len(so_far) + len(span.ids)
        if span.reason != "stop":
            return segments, waits, span
        if length < least:  # not an end yet: go on where the stop was, without it
            forbid = Forbid(stops.ids, least - length)
        elif waits < ignore_end and (limit is None or length + len(inject) < limit):
            waits += 1
            forbid = Forbid(stops.ids, 1)
            if inject:
                segments.append(Segment("injected", inject))
        else:
            return segments, waits, span


def _rounds_of_s1(ask: Ask, limit: int | None, least: int, ignore_end: int, inject: Ids) -> Rounds:
    """The same by the reference code: no round knows what earlier ones used."""
    segments: list[Segment] = []
    forbid = Forbid(ask.chat.thinking_stops.ids, 1 if ignore_end else least)
    waits = 0
    while True:
        span = yield ask.think(limit, after=_ids(segments), forbid=forbid, role="wait" if segments else "thinking")
        segments.append(ask.thinking(span))
        if span.reason != "stop" or waits == ignore_end:
            return segments, waits, span
        waits += 1
        if inject:
            segments.append(Segment("injected", inject))


def _ids(segments: list[Segment]) -> Ids:
    return tuple(chain.from_iterable(s.ids for s in segments))


def _cut(segments: list[Segment], limit: int) -> list[Segment]:
    """The first `limit` ids."""
    kept: list[Segment] = []
    for s in segments:
        n = limit - len(_ids(kept))
        if n > 0:
            kept.append(s.first(n))
    return kept
