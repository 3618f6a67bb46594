"""Step-conditional control (paper section 3.2, appendix E.1): the prompt says in how many steps to think, the model counts
them down ("<|im_start|>64 steps left" before each step)."""

from __future__ import annotations

from ..streams.types import Method, Read, Segment, Stops, Trace
from .base import Ask, method
from .checks import Checks
from .search import counted_down


def _check(s, checks: Checks) -> None:
    checks.whole("steps", most=checks.context_length, why="the model's context in tokens")
    checks.whole("tokens_per_step", least=1)
    checks.switch("forced")
    checks.one_of("compat", (None, "s1"))
    if checks.chat is not None:
        checks.chat.single(s.step_start)


@method(
    limits=lambda s: (0, s.tokens_per_step * s.steps),  # what stands in for a limit, as in the paper (appendix E.1)
    columns=lambda s: ("steps",),
    words={"steps": "{} steps"},
    check=_check,
)
def step_conditional(
    ask: Ask,
    *,
    steps: int,
    tokens_per_step: int = 100,
    forced: bool = False,
    step_start: str = "<|im_start|>",
    compat: str | None = None,
) -> Method:
    """Thinking under the instruction "Think for up to `steps` steps.", for models trained on it.

    The prompt ends with `step_start`, so that the countdown opens at once. Alone, nobody interferes: one stream to the
    model's own answer (s1's command would stop at the first step here, T7). forced: thinking ends when the countdown reaches
    0, or when no more than the answer fits into the context. Both read the same stream. Thinking tokens do not count the
    countdown lines: these are delimiter segments. tokens_per_step: only for the limit by which Control judges.
    compat: "s1" looks for the 0 only, so that a forced model which answers earlier is asked for its answer twice, and
    appends `step_start` only when forced.
    """
    ask = ask.saying(f"Think for up to {steps} steps.")
    mark = ask.chat.single(step_start)
    zero = (mark, *ask.encode("0"))
    opening = () if compat == "s1" and not forced else (mark,)
    head = ask.prompt.ids + opening

    stop, limit = ask.own_end, None
    if forced:
        stop = Stops(ask.chat.answer_stops.ids, (zero,)) if compat == "s1" else stop | Stops(sequences=(zero,))
        limit = max(0, ask.room_after(head))
    span = yield Read(head, ask.sampling, stop, limit, role="countdown" if forced else "thinking")
    segments, counted = counted_down(opening + span.ids, mark, ask)
    trace = Trace(ask.prompt.ids, segments, info={"instructed": steps, "unit": "steps", "steps": counted})
    trace.end = "context" if span.reason != "stop" else "forced" if span.stop == zero else "natural"

    if not forced or span.stop == ask.own_delimiter:
        trace.segments += yield from ask.own_answer(head, span, ask.max_answer_tokens)
        return trace
    cut = span.reason != "stop"
    closing = ask.closing(span.ids, forced=cut)
    answer = yield ask.answer(head + span.ids + closing, role="forced_answer" if cut else "answer")
    trace.segments += [Segment("delimiter", closing), Segment.of("answer", answer)]
    return trace
