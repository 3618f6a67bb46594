"""Weights & Biases: one run per cell and one for the whole sweep, grouped by the sweep's directory.

All of it happens on one thread beside the evaluation (thread.py), and what goes wrong becomes a warning, never an error.
Nothing is sent anywhere without a login: `tracking.mode=auto` then writes offline files, which `wandb sync` sends later.

    start_sweep(cfg, directory)             the sweep's own run opens
    progress(done=3, cells=12, ...)         live numbers in it
    log_cell(cell, record)                  a finished cell's run: config, point, samples, files
    finish_sweep(cfg, summary, directory)   points, votes, figure and files go to the sweep's run
    end(cfg, directory)                     all is written, or given up; where it is, is said
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ..cell import Cell
from . import runs
from .runs import Training, end
from .thread import beside, leave, settle

__all__ = ["Training", "end", "finish_sweep", "leave", "log_cell", "progress", "settle", "start_sweep"]

_sweeps: dict[Path, Any] = {}  # sweep directory -> its open W&B run


def start_sweep(cfg: DictConfig, directory: Path) -> None:
    """Open the run of the sweep in `directory` (job_type aggregate).

    Only where one process runs the whole sweep: with other launchers it opens at the end, and a single job needs none.
    """
    if cfg.tracking.mode != "disabled" and HydraConfig.initialized() and together(HydraConfig.get()):
        _open_sweep(cfg, directory.absolute())


def together(hydra: DictConfig) -> bool:
    """Whether one process runs all jobs of a sweep."""
    return hydra.mode == RunMode.MULTIRUN and hydra.launcher._target_.endswith(".S1xLauncher")


@beside
def _open_sweep(cfg: DictConfig, directory: Path) -> None:
    _sweeps[directory] = runs.sweep(cfg, directory)


def progress(**numbers: float) -> None:
    """Numbers to show live in the open sweep's run, such as `cells_done` or `decode_tokens`."""
    if _sweeps:
        _progress(numbers)


@beside
def _progress(numbers: dict[str, float]) -> None:
    for run in _sweeps.values():
        run.log(numbers)


def log_cell(cell: Cell, record: dict[str, Any]) -> None:
    """One run for a finished cell (job_type eval), from its files; `record` is its cell.json."""
    if cell.cfg.tracking.mode != "disabled":
        _log_cell(cell, record)


@beside
def _log_cell(cell: Cell, record: dict[str, Any]) -> None:
    from .logged import cell_run  # numpy and more, which --help does without

    cell_run(cell, record)


def finish_sweep(cfg: DictConfig, summary: dict[str, Any], directory: Path) -> None:
    """Log a sweep's `summary.json` to its run, opened here when it is not yet."""
    if cfg.tracking.mode != "disabled":
        _finish_sweep(cfg, summary, directory.absolute())


@beside
def _finish_sweep(cfg: DictConfig, summary: dict[str, Any], directory: Path) -> None:
    from .logged import sweep_run

    run = _sweeps.pop(directory, None) or runs.sweep(cfg, directory)
    online = not run.offline
    sweep_run(run, cfg, summary, directory)
    if cfg.tracking.dashboard and online:
        from .dashboard import build

        build(cfg, directory)
