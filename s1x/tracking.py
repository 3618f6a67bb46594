"""Weights & Biases: one run per cell and one for the whole sweep, grouped by the sweep's directory.

All of it happens on one thread beside the evaluation, and what goes wrong becomes a warning, never an error. Nothing is sent
anywhere without a login: `tracking.mode=auto` then writes offline files, which `wandb sync <sweep>/wandb/offline-run-*` sends
later. wandb is imported at the first call.

    start_sweep(cfg, directory)             the sweep's own run opens
    progress(done=3, cells=12, ...)         live numbers in it
    log_cell(cell, record)                  a finished cell's run: config and summary
    finish_sweep(cfg, summary, directory)   points, figure and metrics go to the sweep's run, and all is written
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from .cell import Cell

log = logging.getLogger(__name__)

CELL_COLUMNS = ("cell_id", "series", "model", "task", "method", "seed", "temperature", "budget", "accuracy")
_sweeps: dict[Path, Any] = {}  # sweep directory -> its open W&B run


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="wandb")


def _beside(function: Callable[..., None]) -> Callable[..., None]:
    """Run on the tracking thread, in call order; errors become warnings."""

    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:
            log.warning(f"W&B: {type(error).__name__}: {error} (the evaluation goes on; tracking=none turns W&B off)")

    @wraps(function)
    def submit(*args: Any, **kwargs: Any) -> None:
        _thread().submit(guarded, *args, **kwargs)

    return submit


def start_sweep(cfg: DictConfig, directory: Path) -> None:
    """Open the run of the sweep in `directory` (job_type aggregate).

    Only where one process runs the whole sweep: with other launchers it opens at the end, and a single job needs none.
    """
    if not HydraConfig.initialized() or cfg.tracking.mode == "disabled":
        return
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN and hydra.launcher._target_.endswith(".S1xLauncher"):
        _open_sweep(cfg, directory.absolute())


@_beside
def _open_sweep(cfg: DictConfig, directory: Path) -> None:
    run = _init(cfg, directory, job_type="aggregate", name=directory.name, config=_plain(cfg))
    _sweeps[directory] = run


@_beside
def progress(**numbers: float) -> None:
    """Numbers to show live in the open sweep's run, such as `cells_done` or `decode_tokens`."""
    for run in _sweeps.values():
        run.log(numbers)


def log_cell(cell: Cell, record: dict[str, Any]) -> None:
    """One run for a finished cell (job_type eval); `record` is its cell.json."""
    if cell.cfg.tracking.mode != "disabled":
        _log_cell(cell, record)


@_beside
def _log_cell(cell: Cell, record: dict[str, Any]) -> None:
    config = _plain(cell.cfg) | {"overrides": cell.overrides}
    model = Path(cell.cfg.model.path)
    if (model / "training.json").is_file():  # of ours: the folder is named as the training's run, whose id that is
        config["training"] = model.name
    run = _init(cell.cfg, cell.sweep, job_type="eval", name=str(record["cell_id"]), config=config)
    run.define_metric("accuracy", step_metric="thinking_tokens")
    run.log({"accuracy": record["accuracy"], "thinking_tokens": record["thinking_tokens"]["mean"]})
    run.summary.update(_flat({key: value for key, value in record.items() if key != "settings"}))  # the config has them
    run.finish()


def finish_sweep(cfg: DictConfig, summary: dict[str, Any], directory: Path) -> None:
    """Log a sweep's `summary.json` to its run (opened here when it is not yet), and wait until everything is written."""
    if cfg.tracking.mode != "disabled":
        _finish_sweep(cfg, summary, directory.absolute())
        _thread().submit(lambda: None).result()


@_beside
def _finish_sweep(cfg: DictConfig, summary: dict[str, Any], directory: Path) -> None:
    wandb = _wandb()
    run = _sweeps.pop(directory, None) or _init(cfg, directory, job_type="aggregate", name=directory.name, config=_plain(cfg))
    points = wandb.Table(columns=[*CELL_COLUMNS, "thinking_tokens"], allow_mixed_types=True)
    run.define_metric("accuracy", step_metric="thinking_tokens")
    for cell in summary["cells"]:
        tokens = cell["thinking_tokens"]["mean"]
        points.add_data(*(cell[column] for column in CELL_COLUMNS), tokens)
        run.log({"accuracy": cell["accuracy"], "thinking_tokens": tokens})
    run.log({"points": points})
    if (directory / "scaling.png").is_file():
        run.log({"scaling": wandb.Image(str(directory / "scaling.png"))})
    run.summary.update(_flat({"cost": summary["cost"]} | {_label(metric): metric for metric in summary["metrics"]}))
    run.finish()


def _label(metric: dict[str, Any]) -> str:
    return f"{metric['model']}/{metric['task']}/{metric['series']}"


@cache
def _wandb() -> Any:
    """The wandb module, without its error reports: they are sent (to a host of their own) even when a run is offline."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def _init(cfg: DictConfig, sweep: Path, **identity: Any) -> Any:
    """A W&B run of its own beside others; its files are under `sweep`/wandb."""
    wandb = _wandb()
    quiet = wandb.Settings(
        silent=True, console="off", disable_code=True, disable_git=True, x_disable_stats=identity["job_type"] == "eval"
    )
    return wandb.init(
        project=cfg.tracking.project,
        entity=cfg.tracking.entity,
        tags=list(cfg.tracking.tags) or None,
        group=f"{cfg.name}-{sweep.name}",
        dir=str(sweep),
        mode=_mode(cfg.tracking.mode),
        reinit="create_new",
        settings=quiet,
        **identity,
    )


@cache
def _mode(mode: str) -> str:
    """What `auto` means here: online when there is a login (an environment's or `wandb login`'s), else offline."""
    if mode != "auto":
        return mode
    wandb = _wandb()
    own = wandb.setup().settings.mode  # what the user has set for all of W&B
    if own != "online":
        return own
    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def _plain(cfg: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(cfg, resolve=True)


def _flat(node: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Nested numbers as `a.b` keys, the way W&B shows summaries."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{path}{key}.")
        else:
            flat[path + key] = value
    return flat


class Training:
    """The W&B run of one training (job_type train); evaluations of its model have its id in their config (`training`)."""

    def __init__(self, cfg: DictConfig, directory: Path, name: str, content: dict[str, Any]):
        self.run: Any = None
        self.on = cfg.tracking.mode != "disabled"
        if self.on:
            self._open(cfg, directory, name, content)

    @_beside
    def _open(self, cfg: DictConfig, directory: Path, name: str, content: dict[str, Any]) -> None:
        config = _plain(cfg) | {"content": content}
        self.run = _init(cfg, directory, job_type="train", name=name, id=name, resume="allow", config=config)

    def log(self, row: dict[str, Any]) -> None:
        """Numbers of one step; those of a step that was logged before a crash are left out by W&B."""
        if self.on:
            self._log(row)

    @_beside
    def _log(self, row: dict[str, Any]) -> None:
        if self.run is not None:
            numbers = {f"train/{key}": value for key, value in row.items() if key not in ("step", "steps")}
            self.run.log(numbers, step=row["step"])

    def finish(self) -> None:
        if self.on:
            self._finish()

    @_beside
    def _finish(self) -> None:
        if self.run is not None:
            self.run.finish()
