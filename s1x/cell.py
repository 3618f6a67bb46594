"""A cell: one point of a sweep, which is one resolved configuration and one Hydra job."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from .files import beside, write_text

SUBMITTED = "submit"  # beside the jobs of a directory: the tasks that were submitted for them, which are no jobs of it


def stage_names(cfg: Mapping[str, Any]) -> list[str]:
    """What `cfg.stage` names, one or several (stages/__init__.py has the table)."""
    stage = cfg["stage"]
    return [stage] if isinstance(stage, str) or stage is None else list(stage)


def telling(overrides: Sequence[str]) -> list[str]:
    """What was typed for a job, without who does the work (`submit`), which is no part of what it is."""
    return [override for override in overrides if not re.match(r"[+~]*submit[.=]", override)]


@dataclass
class Cell:
    """One configuration to evaluate and where its results go.

    `directory` is the job's own directory (cell.json, samples, results and Hydra's `.hydra` live there), `sweep` the directory
    of the whole sweep (the same one for a job that runs alone), `job` its number in the sweep, `overrides` what made it differ
    from the defaults.
    """

    cfg: DictConfig
    directory: Path
    sweep: Path
    job: int = 0
    overrides: list[str] = field(default_factory=list)

    @classmethod
    def of_job(cls, cfg: DictConfig) -> Cell:
        """The cell of the Hydra job that is running now (single runs, and launchers that run one job at a time)."""
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        hydra = HydraConfig.get()
        directory = Path(hydra.runtime.output_dir)
        multirun = hydra.mode == RunMode.MULTIRUN
        return cls(
            cfg=cfg,
            directory=directory,
            sweep=Path(hydra.sweep.dir).resolve() if multirun else directory,
            job=int(hydra.job.num) if multirun else 0,
            overrides=telling(hydra.overrides.task),
        )


def write_files(
    directory: Path, task: str, lines: Sequence[Mapping[str, Any]], results: Mapping[str, Any], record: Mapping[str, Any]
) -> None:
    """The files of a complete cell: samples, results, and cell.json last, which says that all is there."""
    with beside(directory / f"samples_{task}.jsonl") as part, part.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, default=str) + "\n")
    write_text(directory / "results.json", json.dumps(results, indent=1, default=str) + "\n")
    write_text(directory / "cell.json", json.dumps(record, indent=1, default=str) + "\n")
