"""The same budget sweep three ways on one engine: what shared streams save.

    python run.py +experiment=bench_sweep [engine=vllm]

- s1: each cell alone, on an engine of its own; all questions finish a phase (thinking, "Wait", answer) before any starts the
  next. This is how s1's harness runs: a command for every cell, each of which starts vLLM;
- alone: each cell alone, without such barriers, on one engine whose reusable prefixes are dropped between cells;
- shared: all cells in one scheduler, on one engine.

Seconds of starting (loading included, imports not: they are paid before) and of generating are told apart. Nothing is stored
and nothing is graded. Writes bench_sweep.json.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ..engines.base import Open
from ..engines.build import build
from ..streams.memory import MemoryStore
from ..streams.scheduler import Job, Scheduler
from ..streams.types import Sampling, Trace
from ..tasks import load_task
from .evaluate import chat_of, load_tokenizer

log = logging.getLogger(__name__)

COUNTS = ("decoded", "prefill", "prefill_cached", "starts")
SECONDS = ("start_s", "generate_s", "wall_s")


def run(cfg: DictConfig) -> None:
    """Run the sweep of `scale.budgets` and `scale.waits` three ways; print a table and write bench_sweep.json."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    tokenizer = load_tokenizer(cfg)
    engine = build(plain["engine"], plain["model"], tuple(tokenizer.convert_tokens_to_ids(t) for t in cfg.chat.thinking_stop))
    try:
        restart(engine)  # imports
        sweep = Sweep(cfg, plain, tokenizer, engine)
        ways = {name: sweep.measure(way) for name, way in (("s1", s1), ("alone", alone), ("shared", shared))}
    finally:
        engine.close()
    figures = summarise(ways, len(sweep.methods))
    path = Path(HydraConfig.get().runtime.output_dir) / "bench_sweep.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures)
    print(f"written to {path}")


class Sweep:
    """The cells (a method each) and questions, and how a way of running them is measured."""

    def __init__(self, cfg: DictConfig, plain: dict[str, Any], tokenizer: Any, engine: Any) -> None:
        settings = [{"max_thinking_tokens": n} for n in plain["scale"]["budgets"]]
        settings += [{"ignore_end": n} for n in plain["scale"]["waits"]]
        self.methods = [instantiate(plain["method"] | chosen) for chosen in settings]
        self.chat = chat_of(cfg, tokenizer, engine.context_length)
        self.prompts = [self.chat.prompt(question.text) for question in load_task(plain["task"]).questions]
        self.sampling = plain["sampling"] | {"seed": plain["seed"]}
        self.engine = engine

    def jobs(self, cells: list[int], traces: dict[tuple[int, int], Trace]) -> Iterator[Job]:
        """Question by question, as an evaluation admits them."""
        for q, prompt in enumerate(self.prompts):
            sampling = Sampling.of(prompt.ids, **self.sampling)
            for cell in cells:
                yield Job(
                    (q, cell), self.methods[cell](prompt, self.chat, sampling), lambda t, at=(cell, q): traces.update({at: t})
                )

    def scheduler(self) -> Scheduler:
        return Scheduler(self.engine, MemoryStore(), decode=self.chat.decode)

    def measure(self, way: Callable[[Sweep, dict], float]) -> dict[str, Any]:
        """Tokens, seconds and traces of one way."""
        traces: dict[tuple[int, int], Trace] = {}
        before, began = counts(self.engine), time.monotonic()
        start_s = way(self, traces)
        seconds, after = time.monotonic() - began, counts(self.engine)
        assert len(traces) == len(self.methods) * len(self.prompts)
        log.info(f"{way.__name__}: {seconds:.1f} s")
        used = {key: n - before.get(key, 0) for key, n in after.items()}
        return used | {"start_s": start_s, "generate_s": seconds - start_s, "wall_s": seconds, "traces": traces}


# Each way returns the seconds it took to start engines.


def shared(sweep: Sweep, traces: dict) -> float:
    start_s = restart(sweep.engine)
    sweep.scheduler().run(sweep.jobs(list(range(len(sweep.methods))), traces))
    return start_s


def alone(sweep: Sweep, traces: dict) -> float:
    start_s = restart(sweep.engine)
    for cell in range(len(sweep.methods)):
        forget(sweep.engine)
        sweep.scheduler().run(sweep.jobs([cell], traces))
    return start_s


def s1(sweep: Sweep, traces: dict) -> float:
    start_s = 0.0
    for cell in range(len(sweep.methods)):
        start_s += restart(sweep.engine)
        waiting: list[tuple[Job, Any]] = [(job, None) for job in sweep.jobs([cell], traces)]
        while waiting:
            asked: list[tuple[Job, Any]] = []
            for job, value in waiting:
                try:
                    asked.append((job, job.method.send(value)))
                except StopIteration as stop:
                    job.on_done(stop.value)
            spans: dict[int, Any] = {}
            sweep.scheduler().run(
                Job((i,), one(read), lambda span, i=i: spans.update({i: span})) for i, (_, read) in enumerate(asked)
            )
            waiting = [(job, spans[i]) for i, (job, _) in enumerate(asked)]
    return start_s


def counts(engine: Any) -> dict[str, float]:
    """What an engine has counted so far."""
    counted = asdict(engine.counters)
    return {key: counted[key] for key in COUNTS} | counted["extra"]


def one(read: Any) -> Generator:
    return (yield read)


def forget(engine: Any) -> None:
    """Drop reusable prefixes, where an engine can."""
    if hasattr(engine, "forget"):
        engine.forget()


def restart(engine: Any) -> float:
    """Start an engine anew; returns how many seconds that took."""
    engine.close()
    began = time.monotonic()
    warm(engine)
    return time.monotonic() - began


def warm(engine: Any) -> None:
    """Load the model and write a token."""
    engine.open(Open((1, 2, 3), 1))
    while engine.poll():
        pass


def summarise(ways: dict[str, dict[str, Any]], cells: int) -> dict[str, Any]:
    traces = {name: way.pop("traces") for name, way in ways.items()}
    union: dict[bytes, int] = {}
    for trace in traces["shared"].values():
        for key, read in trace.reads.items():
            union[key] = max(read, union.get(key, 0))
    total, s = sum(union.values()), ways["shared"]
    same = {
        name: sum(t.segments == traces["shared"][at].segments for at, t in traces[name].items()) / len(traces[name])
        for name in ("s1", "alone")
    }
    figures = {"cells": cells, "traces": len(traces["shared"]), "ways": ways, "union_tokens": total}
    figures |= {"decoded_over_union": s["decoded"] / total, "identical_to_shared": same}
    figures["faster"] = {name: {key: ways[name][key] / s[key] for key in SECONDS} for name in ("s1", "alone")}
    if s.get("followup_prefill"):
        figures["answer_prefix_hits"] = s["followup_prefill_cached"] / s["followup_prefill"]
    return figures


def show(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = ("", "decoded", "prefilled", "cached", "starts", "start s", "generate s", "sum s")
    table = Table(*columns, title=f"One sweep of {figures['cells']} cells, {figures['traces']:,} traces, three ways")
    for name, way in figures["ways"].items():
        table.add_row(name, *(f"{way[key]:,}" for key in COUNTS), *(f"{way[key]:.1f}" for key in SECONDS))
    console = Console()
    console.print(table)
    faster, hits = figures["faster"], figures.get("answer_prefix_hits")
    console.print(
        f"shared: decoded {figures['decoded_over_union']:.3f}x the union of token paths; "
        + "; ".join(f"{f['wall_s']:.1f}x faster than {name} ({f['generate_s']:.1f}x generating)" for name, f in faster.items())
        + ("" if hits is None else f"; {100 * hits:.0f}% of the tokens in prefixes of answers and continuations were cached")
        + f"; identical traces: {', '.join(f'{100 * n:.1f}% of {name}' for name, n in figures['identical_to_shared'].items())}"
    )
