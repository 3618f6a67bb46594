"""What happens when a run or a sweep has ended: aggregate its results, print them, send them to W&B.

Hydra turns exceptions of callbacks into warnings, so failures are collected in `failures`; run.py prints them and ends with
exit status 1.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from . import tracking
from .stages import together

log = logging.getLogger(__name__)

failures: list[str] = []


class Aggregate(Callback):
    """Makes summary, tables, figures and report of everything below the run's directory (s1x.report.aggregate)."""

    def on_run_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if job_return.status == JobStatus.COMPLETED and evaluates(config):
            aggregate(Path(config.hydra.runtime.output_dir), config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        directory = Path(config.hydra.sweep.dir)
        if evaluates(config) and (summary := aggregate(directory, config)):
            tracking.finish_sweep(config, summary, directory)


def evaluates(config: DictConfig) -> bool:
    return bool(together(config)) and not config.plan


def aggregate(directory: Path, config: DictConfig) -> dict[str, Any] | None:
    """Aggregate `directory` and show its table; a failure is kept in `failures`, never raised."""
    try:
        from rich.console import Console

        from .report import made
        from .report.aggregate import aggregate as make
        from .report.render import show

        paper, report = made.published(config.name), config.report
        summary = make(directory, paper=paper, x=report.x or made.X[0], compat=report.compat)
        show(summary, paper, directory, Console())
        return summary
    except Exception as error:
        log.debug("aggregate", exc_info=True)
        failures.append(f"{directory}: the results could not be put together: {error} ({type(error).__name__})")
        return None
