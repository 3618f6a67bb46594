"""What is seen of a training while it runs: a bar or a line now and then, and a W&B run of job_type train."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from .. import tracking
from .trained import Training

log = logging.getLogger(__name__)

LOG_SECONDS = 15.0
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "H800": 989e12, "A100": 312e12, "A800": 312e12, "L40S": 362e12, "B200": 2250e12}
"""Dense bf16 operations per second, from the vendor's data sheets (SXM boards)."""


class Watch:
    """Called with the trainer's numbers of every step; adds tokens/s and, on GPUs, model FLOPs utilization (MFU).

    `directory` is that of the job or sweep that trains: W&B groups the training with the evaluations of the same directory.
    """

    def __init__(self, cfg: DictConfig, directory: Path, training: Training, facts: Mapping[str, Any], devices: int):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.name, self.folder, self.devices, self.peak = training.id, training.folder, devices, peak_flops()
        # 2 per weight forward, 2 for the gradient of its input, 2 for its own, which frozen weights (LoRA) have not; attention
        # adds a few percent, which are left out
        self.flops_per_token = (4 if cfg.train.lora else 6) * multiplied(facts)
        self.track = tracking.Training(cfg, directory, training.id, training.content)
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._row = self._bar.add_task(f"training {self.name}", total=None, rate="")
        self._logged = time.time()
        self._before: tuple[float, float] | None = None  # time and tokens at the step before

    def __enter__(self) -> Watch:
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()
        self.track.finish(self.folder)

    def __call__(self, row: dict[str, Any]) -> None:
        now = row["time"]
        row = {key: value for key, value in row.items() if key != "time"} | self._speed(now, row["num_tokens"])
        self.track.log(row)
        rate = f"loss {row['loss']:.4f}" + (f"  {row['tokens_per_second']:,.0f} tokens/s" if "tokens_per_second" in row else "")
        self._bar.update(self._row, completed=row["step"], total=row["steps"], rate=rate)
        if self._bar.disable and (now - self._logged >= LOG_SECONDS or row["step"] == row["steps"]):
            self._logged = now
            log.info(f"{row['step']}/{row['steps']} steps  {rate}")

    def _speed(self, now: float, tokens: float) -> dict[str, float]:
        before, self._before = self._before, (now, tokens)
        if before is None or tokens <= before[1]:
            return {}
        rate = (tokens - before[1]) / max(now - before[0], 1e-9)
        if self.peak is None:
            return {"tokens_per_second": rate}
        return {"tokens_per_second": rate, "mfu": rate * self.flops_per_token / (self.devices * self.peak)}


def multiplied(facts: Mapping[str, Any]) -> int:
    """Weights that take part in a multiplication: an input embedding is looked up, unless it is the output's as well."""
    return facts["parameters"] - (0 if facts["tied_embeddings"] else facts["vocab_size"] * facts["hidden_size"])


def peak_flops() -> float | None:
    """Operations per second of the first GPU in bf16; None without one, or for one that is not in the table."""
    from ..models.device import cuda_devices

    if not cuda_devices():
        return None
    import torch

    name = torch.cuda.get_device_name(0)
    return next((peak for key, peak in PEAK_FLOPS.items() if key in name), None)
