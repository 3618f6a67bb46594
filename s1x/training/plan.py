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
from ..report.labels import duration
from ..report.listings import PARTS
from . import job, memory
from .ranks import Ranks
from .settings import Settings

H100 = 80.0  # GB: what a plan for GPUs is held against where there is none; and a node has 8 of them
SIZES = {"s1k": 1000, "s1k_1_1": 1000, "s1k_tokenized": 1000, "full_59k": 58_986}  # records of published data sets
SHORTER = 1024  # tokens: by how much examples are cut at a time where they do not fit


def show(configs: Sequence[DictConfig]) -> None:
    """Print the plan of each training, and what any of them needs per device on this and other numbers of devices."""
    from rich.console import Console

    from ..report import listings
    from ..report.render import say, terminal

    console, shown = Console(), []
    for cfg in configs:
        if "recipe" in cfg.train:
            say(f"{cfg.train.name}: {instantiate(cfg.train.recipe).plan}", console)
            continue
        settings, ranks = _for_gpus(cfg)
        settings.accumulation(ranks.devices)
        facts = _facts(cfg)
        say(_steps(cfg, settings, ranks, facts), console)
        like = (cfg.model.path, ranks, replace(settings, name=""))
        if like in shown:
            continue
        shown.append(like)
        longest = job.max_length(settings, facts, cfg.model.name)
        rows = [_row(settings, ranks, facts, longest, n, _capacity(cfg, ranks)) for n in _numbers(ranks)]
        about = (
            f"{facts['parameters']:,} parameters, examples of {longest:,} tokens, {settings.precision}, gradient checkpointing "
            f"{'on' if settings.gradient_checkpointing else 'off'}, distributed={cfg.distributed.name}."
        )
        terminal(listings.trainings(rows, about), console)
        for line in _besides(cfg, settings, ranks, facts, longest):
            say(line, console)
        if ranks.deepspeed:  # whole, to be copied
            console.print(f"The ranks of this node: {_command(settings, ranks)}", markup=False, highlight=False, soft_wrap=True)


def verdict(cfg: DictConfig) -> tuple[str, str]:
    """("ok" or "problem", a sentence): whether a training fits on the devices of this machine."""
    if "recipe" in cfg.train:
        return "ok", f"{cfg.train.name}: {instantiate(cfg.train.recipe).plan}"
    plain = OmegaConf.to_container(cfg.distributed, resolve=True)
    if plain["deepspeed"] and not cuda_devices():
        return "problem", f"{cfg.train.name}: distributed={cfg.distributed.name} is for GPUs, and there is none here"
    settings, ranks = job.settings_of(cfg), Ranks.of(plain)
    settings.accumulation(ranks.devices)
    facts = _facts(cfg)
    needed = memory.of(settings, ranks, facts, job.max_length(settings, facts, cfg.model.name))
    if warning := memory.warning(needed, cfg.distributed.device_memory):
        return "problem", f"{settings.name}: {warning}"
    return "ok", f"{settings.name}: about {needed} on each of {ranks.devices} devices"


def _for_gpus(cfg: DictConfig) -> tuple[Settings, Ranks]:
    """Settings and ranks; a plan for many devices is one for GPUs, also where there is none."""
    plain = OmegaConf.to_container(cfg.distributed, resolve=True)
    if plain["deepspeed"] and not plain["processes"] and not cuda_devices():
        plain["processes"] = 8
    settings = Settings.of(OmegaConf.to_container(cfg.train, resolve=True), on_gpu=bool(plain["deepspeed"] or cuda_devices()))
    return settings, Ranks.of(plain)


def _steps(cfg: DictConfig, settings: Settings, ranks: Ranks, facts: dict[str, Any]) -> str:
    examples, known = _examples(cfg)
    steps, warm = settings.steps(examples), settings.warmup_steps(examples)
    return (
        f"{settings.name}: {examples:,} examples{'' if known else ' (assumed)'}, {settings.epochs} epochs, {steps:,} steps "
        f"of {settings.global_batch_size}, {warm:,} of them warm-up, then a cosine over {steps - warm:,}"
        f"{_hours(cfg, settings, ranks, facts, examples)}"
    )


def _hours(cfg: DictConfig, settings: Settings, ranks: Ranks, facts: dict[str, Any], examples: int) -> str:
    """How long it takes: 6 operations per parameter and token (8 where activations are computed again), of `scale.plan`."""
    plan = cfg.scale.plan
    if not plan.get("tflops") or not plan.get("example"):
        return ""
    length = min(plan.example, job.max_length(settings, facts, cfg.model.name))
    operations = (8 if settings.gradient_checkpointing else 6) * facts["parameters"] * examples * settings.epochs * length
    hours = operations / (plan.tflops * 1e12) / 3600
    price = f", {plan.price_per_hour * hours:,.2f} at {plan.price_per_hour:,g} an hour" if plan.get("price_per_hour") else ""
    return (
        f"; about {duration(3600 * hours / ranks.devices)} on {ranks.devices} device{'s' * (ranks.devices > 1)} "
        f"({hours:,.{0 if hours > 10 else 2}f} device hours{price}) with examples of {length:,} tokens on average"
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


def _capacity(cfg: DictConfig, ranks: Ranks) -> float | None:
    """GB of a device; None to ask the device."""
    return cfg.distributed.device_memory or (H100 if ranks.deepspeed and not cuda_devices() else None)


def _numbers(ranks: Ranks) -> list[int]:
    """Of devices that are planned for."""
    return sorted({ranks.devices, *((8, 16) if ranks.deepspeed else ())})


def _row(
    settings: Settings, ranks: Ranks, facts: dict[str, Any], length: int, devices: int, capacity: float | None
) -> list[Any]:  # fmt: skip
    try:
        passes = settings.accumulation(devices)
    except SettingError:
        return [devices, settings.device_batch_size, None, *[None] * len(PARTS), "no whole number of passes"]
    needed = _of(settings, ranks, facts, length, devices)
    fits = "does not fit" if memory.warning(needed, capacity) else "fits"
    parts = [getattr(needed, part) / memory.GB for part in PARTS]
    return [devices, settings.device_batch_size, passes, *parts, f"{fits} {f'{capacity:,.0f} GB' if capacity else 'here'}"]


def _of(settings: Settings, ranks: Ranks, facts: dict[str, Any], length: int, devices: int) -> memory.Estimate:
    return memory.of(settings, replace(ranks, processes=devices, nodes=1), facts, length)


def _besides(cfg: DictConfig, settings: Settings, ranks: Ranks, facts: dict[str, Any], longest: int) -> list[str]:
    """What the hosts hold with offload, and what would fit where this does not."""
    lines, capacity = [], _capacity(cfg, ranks)
    if ranks.offload:
        lines.append(f"On all hosts together: {memory.HOST_BYTES * facts['parameters'] / memory.GB:,.0f} GB.")
    if memory.warning(_of(settings, ranks, facts, longest, ranks.devices), capacity):
        ways = would_fit(settings, ranks, facts, longest, capacity)
        lines.append(f"Would fit: {'; '.join(ways) if ways else 'nothing that is known here; use a smaller model'}.")
    return lines


def would_fit(
    settings: Settings, ranks: Ranks, facts: dict[str, Any], longest: int, capacity: float | None
) -> list[str]:  # fmt: skip
    """Single changes to a training that does not fit after which it does, by memory.of."""

    def fits(own: Settings, on: Ranks, length: int, devices: int) -> bool:
        return not memory.warning(_of(own, on, facts, length, devices), capacity)

    ways = []
    for devices in (ranks.devices * factor for factor in (2, 4, 8, 16) if ranks.deepspeed):
        if settings.global_batch_size % (devices * settings.device_batch_size) == 0 and fits(settings, ranks, longest, devices):
            ways.append(f"{devices} devices")
            break
    if ranks.deepspeed and not ranks.offload:
        zero = ranks.deepspeed["zero_optimization"] | {"stage": 3, "offload_optimizer": {"device": "cpu"}}
        if fits(settings, replace(ranks, deepspeed=ranks.deepspeed | {"zero_optimization": zero}), longest, ranks.devices):
            ways.append(
                f"distributed=zero3_offload ({memory.HOST_BYTES * facts['parameters'] / memory.GB:,.0f} GB on the hosts)"
            )
    if settings.device_batch_size > 1 and fits(replace(settings, device_batch_size=1), ranks, longest, ranks.devices):
        ways.append("train.device_batch_size=1")
    shorter = range(longest // SHORTER * SHORTER, 0, -SHORTER)
    if length := next((n for n in shorter if n < longest and fits(settings, ranks, n, ranks.devices)), None):
        ways.append(f"train.max_length={length}")
    if not settings.lora:
        lora = replace(settings, lora={"r": 16, "alpha": 32, "dropout": 0.0})
        if fits(lora, ranks, longest, ranks.devices):
            ways.append("train.lora={r: 16, alpha: 32, dropout: 0.0}")
    return ways


def _command(settings: Settings, ranks: Ranks) -> str:
    file = Path(settings.dir) / f"{settings.name}-HASH" / f"ranks-{ranks.node_rank}" / "job.json"
    return shlex.join(["python" if word == sys.executable else word for word in ranks.command(file)])


def _facts(cfg: DictConfig) -> dict[str, Any]:
    """The model's sizes, from the table of known ones where its files are not here."""
    if cfg.model.path in KNOWN:
        return dict(KNOWN[cfg.model.path])
    with sentences():
        return model_facts(cfg.model.path, cfg.model.revision)
