"""What s1x costs on top of its engine: against a bare vLLM loop, and the scheduler alone.

    python run.py +experiment=bench_engine                    both
    python run.py +experiment=bench_engine engine=scripted    the scheduler alone; needs no vLLM

- vLLM: 256 prompts of 32 tokens, 256 new tokens each, on one `LLMEngine`: through s1x (scheduler and engine), by a bare
  add_request/step loop with DELTA outputs (token by token, and several at a time as s1x asks for them), and by the same loop
  with final outputs only, which is what `LLM.generate` does.
  Rounds alternate; the figure is the median of the ratios.
- scheduler: 4,096 streams at once on the hash model. CPU seconds, without those inside the engine.

Writes bench_engine.json.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ..engines.scripted import ScriptedEngine
from ..streams.memory import MemoryStore
from ..streams.scheduler import Job, Scheduler
from ..streams.types import Ids, Read
from .sweep import forget, one, usable, warm

STREAMS, PROMPT, TOKENS, ROUNDS = 256, 32, 256, 5
CONCURRENT, LENGTH = 4096, 512


def run(cfg: DictConfig) -> None:
    """Measure, print tables and write bench_engine.json."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    engine = None
    if plain["engine"]["name"] == "vllm":
        engine = usable(plain | {"engine": plain["engine"] | {"own_process": False}})
    figures: dict[str, Any] = {"scheduler": [scheduler_alone(per_poll) for per_poll in (1, 8)]}
    if engine is not None:
        try:
            figures["vllm"] = against_bare(engine)
        finally:
            engine.close()
    path = Path(HydraConfig.get().runtime.output_dir) / "bench_engine.json"
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    show(figures)
    print(f"written to {path}")


# --- against a bare loop ---


def against_bare(engine: Any) -> dict[str, Any]:
    """Tokens per second of s1x and of bare loops on the same `LLMEngine`."""
    from vllm.sampling_params import RequestOutputKind

    warm(engine)
    rng = random.Random(0)
    prompts = [tuple(rng.randrange(3, 400) for _ in range(PROMPT)) for _ in range(STREAMS)]
    sides: dict[str, Callable[[], int]] = {
        "s1x": lambda: through_s1x(engine, prompts),
        "bare, DELTA": lambda: bare(engine.llm, prompts, RequestOutputKind.DELTA),
        f"bare, DELTA, {engine.stream_interval} at a time": lambda: bare(
            engine.llm, prompts, RequestOutputKind.DELTA, engine.stream_interval
        ),
        "bare, FINAL_ONLY": lambda: bare(engine.llm, prompts, RequestOutputKind.FINAL_ONLY),
    }
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for round in range(-1, ROUNDS):  # the first one warms up
        for side in sides if round % 2 else reversed(sides):
            forget(engine)
            began = time.perf_counter()
            tokens = sides[side]()
            if round >= 0:
                speeds[side].append(tokens / (time.perf_counter() - began))
            assert tokens == STREAMS * TOKENS
    ratios = {side: [a / b for a, b in zip(speeds["s1x"], speeds[side], strict=True)] for side in sides if side != "s1x"}
    return {
        "streams": STREAMS, "tokens": TOKENS, "tokens_per_s": speeds, "ratios": ratios,
        "ratio": {side: statistics.median(r) for side, r in ratios.items()},
    }  # fmt: skip


def through_s1x(engine: Any, prompts: list[Ids]) -> int:
    tokens = 0

    def count(span: Any) -> None:
        nonlocal tokens
        tokens += len(span.ids)

    scheduler = Scheduler(engine, MemoryStore())
    scheduler.run(Job((i,), one(Read(prompt, limit=TOKENS)), count) for i, prompt in enumerate(prompts))
    return tokens


def bare(llm: Any, prompts: list[Ids], kind: Any, interval: int = 1) -> int:
    from vllm import SamplingParams

    for i, prompt in enumerate(prompts):
        params = SamplingParams(
            temperature=0.0,
            max_tokens=TOKENS,
            ignore_eos=True,
            detokenize=False,
            output_kind=kind,
            stream_interval=interval,
        )
        llm.add_request(str(-1 - i), {"prompt_token_ids": list(prompt)}, params)
    tokens = 0
    while llm.has_unfinished_requests():
        for output in llm.step():
            tokens += len(output.outputs[0].token_ids)
    return tokens


# --- the scheduler alone ---


class Timed(ScriptedEngine):
    """The hash model, with a clock (of CPU time) on its own work."""

    seconds = 0.0

    def poll(self, wait=1.0):
        began = time.process_time()
        chunks = super().poll(wait)
        self.seconds += time.process_time() - began
        return chunks


def scheduler_alone(tokens_per_poll: int) -> dict[str, Any]:
    """Tokens per CPU second of the scheduler (one thread), and bytes of memory per stored token."""
    engine = Timed(capacity=CONCURRENT, tokens_per_poll=tokens_per_poll)
    scheduler = Scheduler(engine, MemoryStore())
    memory: list[tuple[int, int]] = []

    def watch(progress: Any) -> None:
        if progress.generated >= (len(memory) + 1) * CONCURRENT * LENGTH // 8:
            memory.append((progress.generated, resident()))

    scheduler.on_progress = watch
    began = time.process_time()
    scheduler.run(Job((i,), one(Read((i, i + 1), limit=LENGTH)), lambda _: None) for i in range(CONCURRENT))
    seconds = time.process_time() - began - engine.seconds
    tokens = scheduler.progress.generated
    (first, low), (last, high) = memory[1], memory[-2]  # at the very end, results are being handed over
    return {
        "streams": CONCURRENT, "tokens": tokens, "tokens_per_poll": tokens_per_poll, "seconds": seconds,
        "tokens_per_s": tokens / seconds, "engine_seconds": engine.seconds, "memory": memory,
        "bytes_per_token": (high - low) / (last - first),
    }  # fmt: skip


def resident() -> int:
    """Bytes of memory this process has now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def show(figures: dict[str, Any]) -> None:
    from rich.console import Console

    from ..report import listings
    from ..report.render import terminal

    console = Console()
    rows = [
        [str(r["tokens_per_poll"]), f"{r['streams']:,}", f"{r['tokens_per_s']:,.0f}", f"{r['bytes_per_token']:.1f}"]
        for r in figures["scheduler"]
    ]
    heads = ("tokens per poll", "streams", "tokens/CPU s", "bytes per token")
    terminal(listings.plain(heads, rows, "The scheduler alone."), console)
    if "vllm" in figures:
        rows = []
        for side, speeds in figures["vllm"]["tokens_per_s"].items():
            ratio = figures["vllm"]["ratio"].get(side)
            rows.append([side, f"{statistics.median(speeds):,.0f}", "" if ratio is None else f"{ratio:.3f}"])
        terminal(listings.plain(("by", "tokens/s (median)", "s1x's share of it (median)"), rows, "s1x and bare vLLM."), console)
