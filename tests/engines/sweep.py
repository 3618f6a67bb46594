"""A small budget sweep to put engines through: budgets, "Wait" and forced ends over many questions at once."""

from __future__ import annotations

from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.types import Sampling, Trace

SETTINGS = [
    {"max_thinking_tokens": 8},
    {"max_thinking_tokens": 40},
    {"max_thinking_tokens": 120},
    {"max_thinking_tokens": 120, "min_thinking_tokens": 30},
    {"max_thinking_tokens": 120, "ignore_end": 1},
    {"max_thinking_tokens": 120, "ignore_end": 2},
]


def write(engine, requests) -> list[list[int]]:
    """The ids of each request, opened all together."""
    handles = [engine.open(r) for r in requests]
    out = {h: [] for h in handles}
    while chunks := engine.poll():
        for chunk in chunks:
            out[chunk.handle] += chunk.ids
    return [out[h] for h in handles]


def methods(chat, texts: list[str], *, temperature: float = 0.0, max_answer_tokens: int = 12, settings=SETTINGS):
    """(order, method) for every question and setting."""
    for number, text in enumerate(texts):
        prompt = chat.prompt(text)
        sampling = Sampling.of(prompt.ids, seed=0, temperature=temperature)
        ask = Ask(prompt, chat, sampling, max_answer_tokens=max_answer_tokens)
        for cell, chosen in enumerate(settings):
            yield (number, cell), budget_forcing(ask, **chosen)


def run(engine, chat, texts: list[str], **settings) -> list[Trace]:
    """The traces in order of question and setting; fails unless all of them are there."""
    traces: dict[tuple[int, ...], Trace] = {}
    scheduler = Scheduler(engine, MemoryStore(), decode=chat.decode)
    jobs = methods(chat, texts, **settings)
    scheduler.run(Job(order, method, lambda t, order=order: traces.update({order: t})) for order, method in jobs)
    wanted = settings.get("settings", SETTINGS)
    assert len(traces) == len(texts) * len(wanted)
    return [traces[order] for order in sorted(traces)]


def same(one: list[Trace], other: list[Trace]) -> int:
    """How many traces agree token for token."""
    return sum(a.segments == b.segments for a, b in zip(one, other, strict=True))
