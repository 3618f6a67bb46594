"""`plan=true` for a training: steps, batch, memory per device and the exact command of the ranks, without loading anything."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ..config import SettingError
from . import job, memory
from .ranks import Ranks
from .settings import Settings

ASSUMED = 1000  # examples, where the data cannot be read: s1K


def show(cfg: DictConfig, settings: Settings, ranks: Ranks) -> None:
    """Print the plan of one training, and its memory on other numbers of devices."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    settings = replace(settings, precision="bf16") if ranks.deepspeed and cfg.train.precision == "auto" else settings
    facts = _facts(cfg)
    examples, about = _examples(cfg, settings)
    longest = settings.max_length or facts["context_length"]
    warm = settings.warmup_steps(examples)
    steps = settings.steps(examples)
    console.print(f"{settings.name}: {examples:,} examples{about}, {settings.epochs} epochs, {steps} steps of "
                  f"{settings.global_batch_size} examples, {warm} of them warm-up, then a cosine over {steps - warm}")
    table = Table(title=f"{facts['parameters'] / 1e9:,.2f} billion parameters, examples of {longest:,} tokens, "
                        f"{settings.precision}, distributed={cfg.distributed.name}; GB per device", title_justify="left")
    for column in ("devices", "batch", "weights", "gradients", "optimizer", "activations", "workspace", "total", ""):
        table.add_column(column, justify="left" if not column else "right")
    for devices in sorted({ranks.devices, *((8, 16) if ranks.deepspeed else ())}):
        table.add_row(*_row(cfg, settings, ranks, facts, longest, devices))
    console.print(table)
    if ranks.deepspeed:
        job_file = Path(settings.dir) / f"{settings.name}-<hash>" / f"ranks-{ranks.node_rank}" / "job.json"
        words = ranks.command(job_file)
        console.print("The ranks of this node: " + shlex.join(["python" if w == sys.executable else w for w in words]))


def _row(cfg: DictConfig, settings: Settings, ranks: Ranks, facts: dict[str, Any], length: int, devices: int) -> list[str]:
    try:
        passes = settings.accumulation(devices)
    except SettingError:
        return [str(devices), "no whole number of passes", *[""] * 7]
    needed = memory.of(settings, replace(ranks, processes=devices, nodes=1), facts, length)
    parts = ("weights", "gradients", "optimizer", "activations", "workspace", "total")
    batch = f"{devices} x {settings.device_batch_size} x {passes} = {devices * settings.device_batch_size * passes}"
    verdict = "" if memory.warning(needed, cfg.distributed.device_memory) is None else "does not fit"
    return [str(devices), batch, *(f"{getattr(needed, part) / memory.GB:,.1f}" for part in parts), verdict]


def _facts(cfg: DictConfig) -> dict[str, Any]:
    """The model's sizes, from the table of known ones where its files are not here."""
    if cfg.model.path in memory.KNOWN:
        return dict(memory.KNOWN[cfg.model.path])
    from ..config import sentences
    from ..engines.fingerprint import model_facts

    with sentences():
        return model_facts(cfg.model.path, cfg.model.revision)


def _examples(cfg: DictConfig, settings: Settings) -> tuple[int, str]:
    """(how many examples, what to say about it)."""
    if cfg.data is None:
        raise SettingError("stage=train: no data is chosen; add data=... (python run.py --help lists them)")
    if wanted := (cfg.data.get("select") or {}).get("n"):
        return wanted, ""
    try:
        return len(job.source(cfg, settings).records), ""
    except SettingError as error:
        return ASSUMED, f" (assumed: {str(error).splitlines()[0]})"
