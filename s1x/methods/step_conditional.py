"""Step-conditional control (paper section 3.2, appendix E.1): the prompt says in how many steps to think, the model counts
them down ("<|im_start|>64 steps left" before each step)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..streams.types import Ids, Method, Read, Sampling, Segment, Stops, Trace
from . import checks, phases

_LABEL = re.compile(r"-?\d+ steps? left\s*")
_LONGEST_LABEL = 12  # tokens


def step_conditional(
    prompt,
    chat,
    sampling: Sampling,
    *,
    steps: int,
    max_answer_tokens: int | None,
    forced: bool = False,
    step_start: str = "<|im_start|>",
    answer_reserve: int = 100,
    compat: str | None = None,
    until: Sequence[str] = (),
) -> Method:
    """Thinking under the instruction "Think for up to `steps` steps.", for models trained on it.

    The prompt ends with `step_start`, so that the countdown opens at once. Alone, nobody interferes: one stream to the
    model's own answer (s1's command would stop at the first step here, T7). forced: thinking ends when the countdown reaches
    0, or when no more than the answer fits into the context. Both read the same stream. Thinking tokens do not count the
    countdown lines: these are delimiter segments.
    compat: "s1" looks for the 0 only, so that a forced model which answers earlier is asked for its answer twice, and
    appends `step_start` only when forced.
    """
    prompt = prompt.with_suffix(f"Think for up to {steps} steps.")
    mark = chat.single(step_start)
    zero = (mark, *chat.encode("0"))
    opening = () if compat == "s1" and not forced else (mark,)
    head = prompt.ids + opening
    trace = Trace(prompt.ids, info={"instructed": steps, "unit": "steps"})

    stop, limit = phases.own_end(chat), None
    if forced:
        stop = Stops(chat.answer_stops.ids, (zero,)) if compat == "s1" else stop | Stops(sequences=(zero,))
        limit = max(0, phases.room(head, chat, answer_reserve))
    span = yield Read(head, sampling, stop, limit)
    trace.segments, trace.info["steps"] = _split(opening + span.ids, mark, chat)
    trace.end = "context" if span.reason != "stop" else "forced" if span.stop == zero else "natural"

    if not forced or span.stop == phases.own_delimiter(chat):
        trace.segments += yield from phases.own_answer(head, span, chat, sampling, limit=max_answer_tokens, until=until)
        return trace
    closing = phases.closing(chat, span.ids, forced=span.reason != "stop")
    answer = yield from phases.answer(head + span.ids + closing, chat, sampling, limit=max_answer_tokens, until=until)
    trace.segments += [Segment("delimiter", closing), answer]
    return trace


def _split(ids: Ids, mark: int, chat) -> tuple[list[Segment], int]:
    """Countdown lines as delimiter segments, what stands between them as thinking; and the number of lines."""
    segments, done, steps = [], 0, 0
    for i, token in enumerate(ids):
        if token != mark:
            continue
        label = i + 1
        while label < min(len(ids), i + _LONGEST_LABEL) and not chat.decode(ids[i + 1 : label]).endswith("\n"):
            label += 1
        if _LABEL.fullmatch(chat.decode(ids[i + 1 : label])):
            segments += [Segment("thinking", ids[done:i]), Segment("delimiter", ids[i:label])]
            done, steps = label, steps + 1
    return [s for s in (*segments, Segment("thinking", ids[done:])) if s.ids], steps


def check(cfg, *, context_length: int | None, temperature: float, chat, at: str = "method") -> None:
    """ValueError when a setting makes no sense."""
    checks.answer_settings(cfg, context_length=context_length, chat=chat, at=at)
    checks.whole(cfg, "steps", at=at, most=context_length, why="the model's context in tokens")
    checks.one_of(cfg, "forced", (True, False), at=at)
    checks.whole(cfg, "answer_reserve", at=at, least=0, most=context_length, why="the model's context")
    checks.one_of(cfg, "compat", (None, "s1"), at=at)
    if chat is not None:
        chat.single(cfg.get("step_start", "<|im_start|>"))


def limits(cfg) -> tuple[int, int]:
    """(least, most) thinking tokens asked for: 100 a step stand in for a limit, as in the paper (appendix E.1)."""
    return 0, 100 * cfg["steps"]
