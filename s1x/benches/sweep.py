"""The same budget sweep three ways on the same engine: what shared streams save.

    python run.py +experiment=bench_sweep [engine=vllm]

- s1: a command for every cell, as s1's harness is used: a Python process that imports, loads tasks and starts an engine, in
  which all questions finish a phase (thinking, "Wait", answer) before any starts the next;
- alone: one command; each cell alone, without such barriers, on one engine whose reusable prefixes are dropped between cells;
- shared: one command; all cells in one scheduler.

A command is a process of its own here too. Seconds of preparing (Python, imports, tokenizer, questions), starting the engine,
generating and closing the engine are told apart. The shared way is run first and last, and its seconds are the mean, since a
machine's speed drifts. Nothing is stored and nothing is graded. Without a GPU two threads compute, unless engine.threads says
otherwise: the machine should do nothing else. Writes bench_sweep.json.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ..engines.build import build
from ..errors import SettingError
from ..evaluation.cells import chat_of
from ..methods.base import Ask
from ..models.tokenizer import load_tokenizer
from ..streams.engine import Open
from ..streams.memory import MemoryStore
from ..streams.scheduler import Job, Scheduler
from ..streams.types import Sampling, Trace
from ..tasks import load_task

log = logging.getLogger(__name__)

COUNTS = ("decoded", "prefill", "prefill_cached")
THREADS = 2
SECONDS = ("prepare_s", "start_s", "generate_s", "close_s")

Traces = dict[tuple[int, int], Trace]  # by cell and question


def run(cfg: DictConfig) -> None:
    """Run the sweep of `scale.budgets` and `scale.waits` three ways; print a table and write bench_sweep.json."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    if "threads" in plain["engine"]:
        plain["engine"]["threads"] = plain["engine"]["threads"] or THREADS
    usable(plain)
    cells = list(range(len(settings(plain))))
    command(plain, "shared", cells, limit=1)  # files are in the page cache afterwards, for all ways alike
    commands = {"shared": [cells], "alone": [cells], "s1": [[cell] for cell in cells]}
    ways = {way: measure(plain, way, commands[way]) for way in commands}
    again = measure(plain, "shared", commands["shared"])
    ways["shared"] |= {key: (ways["shared"][key] + again[key]) / 2 for key in (*SECONDS, "wall_s")}
    figures = summarise(ways, len(cells))
    path = Path(HydraConfig.get().runtime.output_dir) / "bench_sweep.json"
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    show(figures)
    print(f"written to {path}")


def usable(plain: dict[str, Any]) -> Any:
    """The engine, of which nothing is loaded yet. Raises SettingError for settings or a machine that will not do."""
    try:
        return build(plain["engine"], plain["model"])
    except (ValueError, FileNotFoundError) as error:
        raise SettingError(str(error)) from None


def settings(plain: dict[str, Any]) -> list[dict[str, int]]:
    """The method's settings of each cell."""
    scale = plain["scale"]
    return [{"max_thinking_tokens": n} for n in scale["budgets"]] + [{"ignore_end": n} for n in scale["waits"]]


def measure(plain: dict[str, Any], way: str, commands: list[list[int]]) -> dict[str, Any]:
    """Sums of tokens and seconds over the commands of a way, and all its traces."""
    total: dict[str, Any] = {"commands": len(commands), "traces": {}}
    for cells in commands:
        figures = command(plain, way, cells)
        total["traces"] |= figures.pop("traces")
        for key, n in figures.items():
            total[key] = total.get(key, 0) + n
        log.info(f"{way}, {len(cells)} of its cells: {sum(figures[key] for key in SECONDS):.1f} s")
    return total | {"wall_s": sum(total[key] for key in SECONDS)}


def command(plain: dict[str, Any], way: str, cells: list[int], limit: int | None = None) -> dict[str, Any]:
    """Run cells in a process of their own; its counts, seconds and traces. limit: of questions."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_command, plain, way, cells, limit, time.time()).result()


def _command(plain: dict[str, Any], way: str, cells: list[int], limit: int | None, began: float) -> dict[str, Any]:
    cfg = OmegaConf.create(plain)
    if limit:
        cfg.task.limit = limit
    tokenizer = load_tokenizer(cfg.model)
    engine = build(plain["engine"], plain["model"], tuple(tokenizer.convert_tokens_to_ids(t) for t in cfg.chat.thinking_stop))
    sweep = Sweep(cfg, tokenizer, engine)
    warm(engine)
    ready = time.time() - began
    engine.close()
    start_s = clock(lambda: warm(engine))  # once more, without the imports
    before, traces = counts(engine), {}
    generate_s = clock(lambda: WAYS[way](sweep, cells, traces))
    used = {key: n - before.get(key, 0) for key, n in counts(engine).items()}
    close_s = clock(engine.close)
    assert len(traces) == len(cells) * len(sweep.prompts)
    seconds = dict(zip(SECONDS, (ready - start_s, start_s, generate_s, close_s), strict=True))
    return used | seconds | {"engine_starts": 1, "traces": traces}


class Sweep:
    """The cells (a method each) and questions of a sweep."""

    def __init__(self, cfg: DictConfig, tokenizer: Any, engine: Any) -> None:
        plain = OmegaConf.to_container(cfg, resolve=True)
        self.methods = [instantiate(plain["method"] | chosen) for chosen in settings(plain)]
        self.chat = chat_of(cfg, tokenizer, engine.context_length)
        self.prompts = [self.chat.prompt(question.text) for question in load_task(plain["task"]).questions]
        self.sampling = plain["sampling"] | {"seed": plain["seed"]}
        self.limits = {"max_answer_tokens": cfg.answer.max_tokens, "answer_reserve": cfg.answer.reserve}
        self.engine = engine

    def jobs(self, cells: list[int], traces: Traces) -> Iterator[Job]:
        """Question by question, as an evaluation admits them."""
        for q, prompt in enumerate(self.prompts):
            ask = Ask(prompt, self.chat, Sampling.of(prompt.ids, **self.sampling), **self.limits)
            for cell in cells:
                yield Job((q, cell), self.methods[cell](ask), lambda t, at=(cell, q): traces.update({at: t}))

    def scheduler(self) -> Scheduler:
        return Scheduler(self.engine, MemoryStore(), decode=self.chat.decode)


def shared(sweep: Sweep, cells: list[int], traces: Traces) -> None:
    sweep.scheduler().run(sweep.jobs(cells, traces))


def alone(sweep: Sweep, cells: list[int], traces: Traces) -> None:
    for cell in cells:
        forget(sweep.engine)
        sweep.scheduler().run(sweep.jobs([cell], traces))


def s1(sweep: Sweep, cells: list[int], traces: Traces) -> None:
    waiting: list[tuple[Job, Any]] = [(job, None) for job in sweep.jobs(cells, traces)]
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


WAYS = {"shared": shared, "alone": alone, "s1": s1}


def clock(work: Callable[[], None]) -> float:
    """How many seconds some work takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


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
    times = {"wall": SECONDS, "engine": ("start_s", "generate_s"), "generating": ("generate_s",)}
    figures["faster"] = {
        name: {key: sum(ways[name][k] for k in parts) / sum(s[k] for k in parts) for key, parts in times.items()}
        for name in ("s1", "alone")
    }
    if s.get("followup_prefill"):
        figures["answer_prefix_hits"] = s["followup_prefill_cached"] / s["followup_prefill"]
    return figures


def show(figures: dict[str, Any]) -> None:
    from rich.console import Console

    from ..report import listings
    from ..report.render import say, terminal

    heads = ("way", "commands", "decoded", "prefilled", "cached", "prepare s", "start s", "generate s", "close s", "sum s")
    rows = []
    for name in ("s1", "alone", "shared"):
        way = figures["ways"][name]
        numbers = [f"{way[key]:,}" for key in ("commands", "decoded", "prefill", "prefill_cached")]
        rows.append([name, *numbers, *(f"{way[key]:.1f}" for key in (*SECONDS, "wall_s"))])
    console, note = Console(), f"One sweep of {figures['cells']} cells, {figures['traces']:,} traces, three ways."
    terminal(listings.plain(heads, rows, note), console)
    say(f"shared: decoded {figures['decoded_over_union']:.3f}x the union of token paths", console)
    if "answer_prefix_hits" in figures:
        hits = 100 * figures["answer_prefix_hits"]
        say(f"{hits:.0f}% of the tokens in prefixes of answers and continuations were cached", console)
    for name, faster in figures["faster"].items():
        same = 100 * figures["identical_to_shared"][name]
        say(
            f"{faster['wall']:.1f}x faster than {name} ({faster['engine']:.1f}x starting and generating, "
            f"{faster['generating']:.1f}x generating); {same:.1f}% of its traces are the same",
            console,
        )
