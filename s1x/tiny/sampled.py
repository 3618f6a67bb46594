"""Traces of the tiny model itself, sampled through the engine and kept in a store, so that a killed run goes on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from ..chat import Chat, ChatFormat
from ..engines.transformers import TransformersEngine
from ..methods.base import Ask
from ..models.files import end_ids
from ..models.tokenizer import load_tokenizer
from ..streams.scheduler import Job, Scheduler
from ..streams.store import Store
from ..streams.types import All, Sampling, Trace
from . import problems
from .problems import DOMAINS, Problem

MODEL = Path(__file__).parent / "models" / "tiny-s1"


def drawn(seed: int, n: int, exclude: frozenset) -> list[Problem]:
    """`n` distinct problems as those of the benchmarks (one to eight steps in turn), none of which is in `exclude`."""
    rng, domains = random.Random(f"drawn-{seed}"), tuple(d for d in DOMAINS if d not in problems.ADDITIVE)
    found: dict[tuple, Problem] = {}
    while len(found) < n:
        problem = problems.sample(rng, 1 + len(found) % problems.MAX_STEPS, domains)
        if problem.key not in exclude and any(step.op == "*" for step in problem.steps):
            found.setdefault(problem.key, problem)
    return list(found.values())


def traces(
    asked: Sequence[Problem], samples: int, store: Path, *, seed: int = 0, threads: int | None = None,
    log: Callable[[str], None] = print,
) -> list[list[str]]:  # fmt: skip
    """The thinking of `samples` traces of each problem, at temperature 1 and to its own end."""
    model = {"path": str(MODEL), "revision": None, "tokenizer": None}
    engine = TransformersEngine(str(MODEL), threads=threads)
    chat = Chat(ChatFormat(), load_tokenizer(model), engine.context_length, end_ids(str(MODEL), None))
    done: dict[int, list[str]] = {}

    def pool(problem: Problem):
        prompt = chat.prompt(problem.question)
        ask = Ask(prompt, chat, Sampling.of(prompt.ids, seed=seed, temperature=1.0))
        spans = yield All([ask.sample(i).think(ask.room) for i in range(samples)])
        return Trace(prompt.ids, [ask.thinking(span) for span in spans])

    def take(number: int) -> Callable[[Trace], None]:
        def keep(trace: Trace) -> None:
            done[number] = [chat.decode(one.ids).strip("\n") for one in trace.segments]
            if len(done) % 50 == 0:
                log(f"{len(done) * samples:,} of {len(asked) * samples:,} traces")

        return keep

    with Store(store, engine.fingerprint) as kept:
        try:
            jobs = (Job((i,), pool(problem), take(i)) for i, problem in enumerate(asked))
            Scheduler(engine, kept, decode=chat.decode).run(jobs)
        finally:
            engine.close()
    return [done[i] for i in range(len(asked))]
