"""`plan=true` for trainings: steps, batch, memory per device, the exact command of the ranks; no model is loaded or fetched."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ..errors import SettingError, sentences
from ..files import is_local
from ..models.device import cuda_devices
from ..models.facts import model_facts
from ..models.known import KNOWN
from . import job, memory
from .ranks import Ranks
from .settings import Settings

H100 = 80.0  # GB: what a plan for GPUs is held against where there is none; and a node has 8 of them
SIZES = {"s1k": 1000, "s1k_1_1": 1000, "s1k_tokenized": 1000, "full_59k": 58_986}  # records of published data sets
PARTS = ("weights", "gradients", "optimizer", "activations", "workspace", "total")


def show(configs: Sequence[DictConfig]) -> None:
    """Print the plan of each training, and what any of them needs per device on this and other numbers of devices."""
    shown = []
    for cfg in configs:
        if "recipe" in cfg.train:
            print(f"{cfg.train.name}: {instantiate(cfg.train.recipe).plan}")
            continue
        settings, ranks = _for_gpus(cfg)
        settings.accumulation(ranks.devices)
        print(_steps(cfg, settings))
        like = (cfg.model.path, ranks, replace(settings, name=""))
        if like not in shown:
            shown.append(like)
            print("\n".join(_needs(cfg, settings, ranks)))


def _for_gpus(cfg: DictConfig) -> tuple[Settings, Ranks]:
    """Settings and ranks; a plan for many devices is one for GPUs, also where there is none."""
    plain = OmegaConf.to_container(cfg.distributed, resolve=True)
    if plain["deepspeed"] and not plain["processes"] and not cuda_devices():
        plain["processes"] = 8
    settings = Settings.of(OmegaConf.to_container(cfg.train, resolve=True), on_gpu=bool(plain["deepspeed"] or cuda_devices()))
    return settings, Ranks.of(plain)


def _steps(cfg: DictConfig, settings: Settings) -> str:
    examples, known = _examples(cfg)
    steps, warm = settings.steps(examples), settings.warmup_steps(examples)
    return (
        f"{settings.name}: {examples:,} examples{'' if known else ' (assumed)'}, {settings.epochs} epochs, {steps:,} steps "
        f"of {settings.global_batch_size}, {warm:,} of them warm-up, then a cosine over {steps - warm:,}"
    )


def _examples(cfg: DictConfig) -> tuple[int, bool]:
    """(how many examples, whether that is known): a plan reads local data and fetches none."""
    if wanted := (cfg.data.get("select") or {}).get("n"):
        return wanted, True
    paths = [source.get("path") for source in cfg.data.sources.values() if source is not None]
    if any(path and not is_local(path) for path in paths):
        return SIZES.get(cfg.data.name, 1000), cfg.data.name in SIZES
    from ..data.build import build

    return len(build(cfg).table), True


def _needs(cfg: DictConfig, settings: Settings, ranks: Ranks) -> list[str]:
    """Lines: memory on this and other numbers of devices, and the command of the ranks."""
    facts = _facts(cfg)
    longest = job.max_length(settings, facts, cfg.model.name)
    capacity = cfg.distributed.device_memory or (H100 if ranks.deepspeed and not cuda_devices() else None)
    lines = [
        f"  {facts['parameters']:,} parameters, examples of {longest:,} tokens, {settings.precision}, gradient checkpointing "
        f"{'on' if settings.gradient_checkpointing else 'off'}, distributed={cfg.distributed.name}; GB per device:",
        f"  {'devices x at a time x passes':>30}" + "".join(f"{part:>13}" for part in PARTS),
    ]
    for devices in sorted({ranks.devices, *((8, 16) if ranks.deepspeed else ())}):
        lines.append("  " + _row(settings, ranks, facts, longest, devices, capacity))
    if ranks.offload:
        lines.append(f"  and on all hosts together: {memory.HOST_BYTES * facts['parameters'] / memory.GB:>8,.0f}")
    if ranks.deepspeed:
        file = Path(settings.dir) / f"{settings.name}-HASH" / f"ranks-{ranks.node_rank}" / "job.json"
        words = ["python" if word == sys.executable else word for word in ranks.command(file)]
        lines.append(f"  the ranks of this node: {shlex.join(words)}")
    return lines


def _row(settings: Settings, ranks: Ranks, facts: dict[str, Any], length: int, devices: int, capacity: float | None) -> str:
    try:
        passes = settings.accumulation(devices)
    except SettingError:
        return f"{devices:>30}  no whole number of passes"
    needed = memory.of(settings, replace(ranks, processes=devices, nodes=1), facts, length)
    batch = f"{devices} x {settings.device_batch_size} x {passes} = {settings.global_batch_size}"
    parts = "".join(f"{getattr(needed, part) / memory.GB:>13,.1f}" for part in PARTS)
    verdict = "does not fit" if memory.warning(needed, capacity) else "fits"
    return f"{batch:>30}{parts}  {verdict} {f'{capacity:,.0f} GB' if capacity else 'here'}"


def _facts(cfg: DictConfig) -> dict[str, Any]:
    """The model's sizes, from the table of known ones where its files are not here."""
    if cfg.model.path in KNOWN:
        return dict(KNOWN[cfg.model.path])
    with sentences():
        return model_facts(cfg.model.path, cfg.model.revision)
