"""Any method under words of one's own: behind the question, at the beginning of the thinking, or instead of it.

NoThinking (Ma et al. 2025, arXiv 2504.09858) and Chain of Draft (Xu et al. 2025, arXiv 2502.18600) are such words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..streams.types import Ids, Method, Segment, Trace
from .base import Ask, method
from .checks import Checks


def _check(s, checks: Checks) -> None:
    for key in ("label", "instruction", "opening", "thinking"):
        checks.text(key)
    if s.opening and s.thinking:
        raise ValueError(
            f"{checks.at}.opening={s.opening!r}: must be null where {checks.at}.thinking is given, which leaves nothing open"
        )


@method(
    free=lambda s: False,
    columns=lambda s: (),
    curve=("instruction", "opening", "thinking"),  # `label` names the curve
    check=_check,
)
def prompted(
    ask: Ask,
    *,
    inner: Callable[..., Method],
    label: str | None = None,
    instruction: str | None = None,
    opening: str | None = None,
    thinking: str | None = None,
) -> Method:
    """`inner` under an instruction, and with thinking that is begun or written for the model.

    instruction: follows the question after a blank line. opening: follows the thinking start, as part of it: `inner` thinks on
    from there. thinking: is the whole thinking (injected), closed as the chat format does it; `inner` is then a method that
    reads an answer and no thinking, such as plain generation. label: what the curve is called.
    """
    if instruction:
        ask = ask.saying(instruction)
    if not (given := thinking or opening):
        return (yield from inner(ask))
    plain, start, text = ask.prompt, ask.prompt.thinking_start, ask.encode(given)
    segments, written = [Segment("delimiter", start + text)], start + text
    if thinking:
        end = ask.closing(text, forced=True, words=False)
        segments, written = [Segment("delimiter", start), Segment("injected", text), Segment("delimiter", end)], written + end
    trace = yield from inner(replace(ask, prompt=replace(plain, written=written, whole=bool(thinking))))
    for one in (trace, *trace.samples):
        _told(one, plain.ids, written, segments)
    return trace


def _told(trace: Trace, prompt: Ids, written: Ids, segments: list[Segment]) -> None:
    """Let the trace say what was written for the model: it is no part of the question."""
    if trace.prompt == prompt + written:
        trace.prompt = prompt
        trace.segments = [*segments, *(s for s in trace.segments if s.ids or s.kind != "delimiter")]
