"""Budget reminders (BudgetThinker, arXiv 2508.17196; Seed-OSS's reflections): the thinking is told how many tokens are left."""

from __future__ import annotations

from ..streams.types import Ids, Method, Segment
from .base import BUDGET, Ask, End, method
from .checks import Checks


def _check(s, checks: Checks) -> None:
    checks.budget("max_thinking_tokens")
    checks.whole("every", null=True)
    checks.wording("text")
    checks.text("instruction")


@method(
    limits=lambda s: (0, s.max_thinking_tokens),
    instructed=lambda s: s.max_thinking_tokens if s.instruction else None,
    free=lambda s: False,
    columns=lambda s: ("reminders",),
    words=BUDGET,
    check=_check,
)
def budget_reminder(
    ask: Ask,
    *,
    max_thinking_tokens: int,
    every: int | None = None,
    text: str = "\n({left} tokens left)\n",
    instruction: str | None = "Think for up to {budget} tokens.",
) -> Method:
    """Thinking of at most `max_thinking_tokens` tokens, into which `text` is put at each multiple of `every` tokens.

    Reminders count as thinking, and one is left out where no token would fit behind it. every: null is an eighth of the budget,
    as in BudgetThinker. text: {left}, {used} and {budget} in it are tokens, at the point where it stands. instruction: follows
    the question (null: nothing does). A number above `ask.room` is lowered to it, and the end is then one of the context.
    """
    every = every or max(1, max_thinking_tokens // 8)
    if instruction:
        ask = ask.saying(instruction.replace("{budget}", str(max_thinking_tokens)))
    limit = min(max_thinking_tokens, ask.room)
    if limit < 1:
        return ask.unfinished()

    def reminder(used: int) -> Ids:
        numbers = {"left": max_thinking_tokens - used, "used": used, "budget": max_thinking_tokens}
        words = text
        for name, number in numbers.items():
            words = words.replace(f"{{{name}}}", str(number))
        return ask.encode(words)

    segments: list[Segment] = []
    thought: Ids = ()
    while True:
        point = (len(thought) // every + 1) * every
        words = reminder(point)
        last = point + len(words) >= limit
        read = ask.think((limit if last else point) - len(thought), after=thought, role="resumed" if segments else "thinking")
        span = yield read
        segments.append(ask.thinking(span))
        if last or span.reason != "limit":
            break
        segments.append(Segment("injected", words))
        thought += span.ids + words
    fits = limit == max_thinking_tokens
    end: End = "natural" if span.reason == "stop" else "forced" if fits else "context"
    return (yield from ask.close(segments, span, end=end, info={"reminders": len(segments) // 2}))
