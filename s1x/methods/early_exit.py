"""Early exit: stop thinking when forced answers at checkpoints agree (the idea of Dynasor-CoT, Fu et al. 2025)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from ..streams.types import First, Ids, Method, Span
from .base import BUDGET, Ask, End, method
from .checks import Checks


class Probe(NamedTuple):
    """A checkpoint: the thinking so far, and the answer forced there (None where the thinking was over anyway)."""

    thinking: Span
    answer: Ids | None


def _check(s, checks: Checks) -> None:
    checks.budget("max_thinking_tokens", words=("auto",))
    checks.budget("every")
    checks.whole("probe_tokens", "ahead")
    checks.whole("agree", least=2)


@method(
    limits=lambda s: (None, s.max_thinking_tokens if isinstance(s.max_thinking_tokens, int) else None),
    curve=("max_thinking_tokens",),
    words={**BUDGET, "every": "every {}", "agree": "{} agree"},
    check=_check,
)
def early_exit(
    ask: Ask,
    *,
    every: int,
    agree: int = 3,
    max_thinking_tokens: int | str = "auto",
    probe_tokens: int = 32,
    probe_until: Sequence[str] = ("\n",),
    ahead: int = 2,
) -> Method:
    """After every `every` tokens of thinking an answer is forced; thinking ends when `agree` in a row have the same ids.

    A probe is the answer that budget forcing would give there, cut after `probe_tokens` or at one of `probe_until`; an empty
    one agrees with nothing. max_thinking_tokens: as in budget forcing. ahead: checkpoints worked on at once; 1 holds the
    thinking while a probe is read, 2 lets it go on to the next checkpoint meanwhile.
    """
    limit = ask.room if max_thinking_tokens == "auto" else min(int(max_thinking_tokens), ask.room)
    if limit < 1:
        return ask.unfinished()

    def probe(at: int) -> Generator[Any, Any, Probe]:
        span = yield ask.think(min(at, limit))
        if span.reason != "limit" or at >= limit:
            return Probe(span, None)
        prefix = ask.head + span.ids + ask.closing(span.ids, forced=True)
        answer = yield ask.answer(prefix, role="probe", limit=probe_tokens, until=probe_until)
        return Probe(span, answer.ids)

    def agreed(probes: list[Probe]) -> bool:
        last = [p.answer for p in probes[-agree:]]
        return len(last) == agree and bool(last[-1]) and len(set(last)) == 1

    probes = yield First(
        lambda done: done[-1].answer is None or agreed(done),
        (probe(at) for at in range(every, limit + every, every)),
        ahead=ahead,
    )
    span = probes[-1].thinking
    answers = [p.answer for p in probes if p.answer is not None]
    info = {"probes": len(answers), "probe_tokens": sum(map(len, answers)), "agreed": agreed(probes)}
    if span.reason == "stop":
        end: End = "natural"
    else:
        end = "forced" if agreed(probes) or max_thinking_tokens in (limit, "auto") else "context"
    return (yield from ask.close([ask.thinking(span)], span, end=end, forced=end != "natural", info=info))
