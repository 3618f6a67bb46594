"""Early exit: stop thinking when forced answers at checkpoints agree (the idea of Dynasor-CoT, Fu et al. 2025)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from ..streams.types import First, Ids, Method, Read, Sampling, Segment, Span, Trace
from . import checks, phases


class Probe(NamedTuple):
    """A checkpoint: the thinking so far, and the answer forced there (None where the thinking was over anyway)."""

    thinking: Span
    answer: Ids | None


def early_exit(
    prompt,
    chat,
    sampling: Sampling,
    *,
    every: int,
    max_answer_tokens: int | None,
    agree: int = 3,
    max_thinking_tokens: int | str = "auto",
    probe_tokens: int = 32,
    probe_until: Sequence[str] = ("\n",),
    ahead: int = 2,
    answer_reserve: int = 100,
    until: Sequence[str] = (),
) -> Method:
    """After every `every` tokens of thinking an answer is forced; thinking ends when `agree` in a row have the same ids.

    A probe is the answer that budget forcing would give there, cut after `probe_tokens` or at one of `probe_until`; an empty
    one agrees with nothing. max_thinking_tokens: as in budget forcing. ahead: checkpoints worked on at once; 1 holds the
    thinking while a probe is read, 2 lets it go on to the next checkpoint meanwhile.
    """
    head = prompt.ids + chat.thinking_start
    room = phases.room(head, chat, answer_reserve)
    limit = room if max_thinking_tokens == "auto" else min(max_thinking_tokens, room)
    trace = Trace(prompt.ids, [Segment("delimiter", chat.thinking_start)], end="context")
    if limit < 1:
        return trace

    def probe(at: int) -> Generator:
        span = yield Read(head, sampling, chat.thinking_stops, min(at, limit))
        if span.reason != "limit" or at >= limit:
            return Probe(span, None)
        prefix = head + span.ids + phases.closing(chat, span.ids, forced=True)
        answer = yield from phases.answer(prefix, chat, sampling, limit=probe_tokens, until=probe_until)
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
    trace.info = {"probes": len(answers), "probe_tokens": sum(map(len, answers)), "agreed": agreed(probes)}
    if span.reason == "stop":
        trace.end = "natural"
    else:
        trace.end = "forced" if agreed(probes) or limit == max_thinking_tokens or max_thinking_tokens == "auto" else "context"
    closing = phases.closing(chat, span.ids, forced=trace.end != "natural")
    answer = yield from phases.answer(head + span.ids + closing, chat, sampling, limit=max_answer_tokens, until=until)
    trace.segments += [Segment("thinking", span.ids, span.logprobs), Segment("delimiter", closing), answer]
    return trace


def check(cfg, *, context_length: int | None, temperature: float, chat, at: str = "method") -> None:
    """ValueError when a setting makes no sense."""
    checks.answer_settings(cfg, context_length=context_length, chat=chat, at=at)
    checks.budget(cfg, "max_thinking_tokens", context_length=context_length, chat=chat, at=at, words=("auto",))
    checks.budget(cfg, "every", context_length=context_length, chat=chat, at=at)
    for key in ("probe_tokens", "ahead"):
        checks.whole(cfg, key, at=at)
    checks.whole(cfg, "agree", at=at, least=2)
    checks.whole(cfg, "answer_reserve", at=at, least=0, most=context_length, why="the model's context")
