"""Budget forcing (paper section 3.1): end the thinking at a maximum, or go on with "Wait" when the model wants to end it."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ..streams.types import Forbid, Ids, Method, Read, Sampling, Segment, Trace
from . import checks, phases


def budget_forcing(
    prompt,
    chat,
    sampling: Sampling,
    *,
    max_answer_tokens: int | None,
    max_thinking_tokens: int | str | None = None,
    min_thinking_tokens: int = 0,
    ignore_end: int = 0,
    string: str | None = "Wait",
    answer_reserve: int = 100,
    compat: str | None = None,
    until: Sequence[str] = (),
) -> Method:
    """Thinking of at least `min_thinking_tokens` and at most `max_thinking_tokens` tokens, `ignore_end` ends ignored.

    max_thinking_tokens: tokens of thinking, injected ones included, shared by all rounds. "auto" is what fits into the context
    with this question and an answer (`phases.room`), a number larger than that is lowered to it; null reads on until the
    context is full, and then there is no answer. A stop token counts, as in s1: with a maximum of 500 the 500th token may be
    the stop.
    string: put in place of an ignored end (null: nothing). An end is ignored only while `string` and one more token fit.
    compat: "s1" does what the reference harness does (vllm_causallms.py): every round gets the full maximum, a cut follows,
    stop tokens are masked at the start of the first round too, and the minimum is a mask without effect beside `ignore_end`.
    """
    head = prompt.ids + chat.thinking_start
    room = phases.room(head, chat, answer_reserve)
    fits = max_thinking_tokens is None or max_thinking_tokens == "auto" or max_thinking_tokens <= room or compat == "s1"
    limit = room if max_thinking_tokens == "auto" or not fits else max_thinking_tokens
    trace = Trace(prompt.ids, [Segment("delimiter", chat.thinking_start)], end="context")
    if limit is not None and limit < 1:
        return trace

    rounds = _rounds_of_s1 if compat == "s1" else _rounds
    inject = chat.encode(string) if string else ()
    thinking, trace.waits, last = yield from rounds(head, chat, sampling, limit, min_thinking_tokens, ignore_end, inject)
    too_long = limit is not None and _length(thinking) > limit  # only under compat
    if too_long:
        thinking = _cut(thinking, limit)
    if last.reason != "stop" or too_long:
        trace.end = "forced" if fits and last.reason != "context" else "context"
    else:
        trace.end = "natural"

    # s1 decides by how its last round ended, so a chain that only its sum made too long gets the plain end (T9)
    closing = phases.closing(chat, last.ids, forced=last.reason != "stop")
    prefix = head + _ids(thinking) + closing
    trace.segments += thinking
    if len(prefix) < chat.context_length:
        answer = yield from phases.answer(prefix, chat, sampling, limit=max_answer_tokens, until=until)
        trace.segments += [Segment("delimiter", closing), answer]
    return trace


def _rounds(
    head: Ids, chat, sampling: Sampling, limit: int | None, min_thinking_tokens: int, ignore_end: int, inject: Ids
) -> Generator:
    """Returns (segments, ends ignored, last span). The first read is never masked, so that all settings share it."""
    stops, segments, waits, forbid = chat.thinking_stops, [], 0, None
    while True:
        left = None if limit is None else limit - _length(segments)
        span = yield Read(head + _ids(segments), sampling, stops, left, forbid=forbid)
        segments.append(Segment("thinking", span.ids, span.logprobs))
        length = _length(segments)
        if span.reason != "stop":
            return segments, waits, span
        if length < min_thinking_tokens:  # not an end yet: go on where the stop was, without it
            forbid = Forbid(stops.ids, min_thinking_tokens - length)
        elif waits < ignore_end and (limit is None or length + len(inject) < limit):
            waits += 1
            forbid = Forbid(stops.ids, 1)
            if inject:
                segments.append(Segment("injected", inject))
        else:
            return segments, waits, span


def _rounds_of_s1(
    head: Ids, chat, sampling: Sampling, limit: int | None, min_thinking_tokens: int, ignore_end: int, inject: Ids
) -> Generator:
    """The same by the reference code: no round knows what earlier ones used."""
    stops, segments = chat.thinking_stops, []
    forbid = Forbid(stops.ids, 1 if ignore_end else min_thinking_tokens)
    for waits in range(ignore_end + 1):
        span = yield Read(head + _ids(segments), sampling, stops, limit, forbid=forbid)
        segments.append(Segment("thinking", span.ids, span.logprobs))
        if span.reason != "stop" or waits == ignore_end:
            return segments, waits, span
        if inject:
            segments.append(Segment("injected", inject))


def _ids(segments: list[Segment]) -> Ids:
    return tuple(i for s in segments for i in s.ids)


def _length(segments: list[Segment]) -> int:
    return sum(len(s.ids) for s in segments)


def _cut(segments: list[Segment], limit: int) -> list[Segment]:
    """The first `limit` ids."""
    kept = []
    for s in segments:
        n = limit - _length(kept)
        if n > 0:
            kept.append(Segment(s.kind, s.ids[:n], s.logprobs and s.logprobs[:n]))
    return kept


def check(cfg, *, context_length: int | None, temperature: float, chat, at: str = "method") -> None:
    """ValueError when a setting makes no sense."""
    checks.answer_settings(cfg, context_length=context_length, chat=chat, at=at)
    checks.budget(cfg, "max_thinking_tokens", context_length=context_length, chat=chat, at=at, null=True, words=("auto",))
    checks.budget(cfg, "min_thinking_tokens", context_length=context_length, chat=chat, at=at, least=0)
    if isinstance(cfg.get("max_thinking_tokens"), int) and cfg.get("min_thinking_tokens", 0) > cfg["max_thinking_tokens"]:
        raise ValueError(
            f"{at}.min_thinking_tokens={cfg['min_thinking_tokens']}: must be at most "
            f"{at}.max_thinking_tokens={cfg['max_thinking_tokens']}"
        )
    checks.whole(cfg, "ignore_end", at=at, least=0)
    checks.whole(cfg, "answer_reserve", at=at, least=0, most=context_length, why="the model's context")
    checks.text(cfg, "string", chat=chat, at=at)
    checks.one_of(cfg, "compat", (None, "s1"), at=at)


def limits(cfg) -> tuple[int, int | None]:
    """(least, most) thinking tokens asked for."""
    most = cfg.get("max_thinking_tokens")
    return cfg.get("min_thinking_tokens", 0), most if isinstance(most, int) else None
