"""What happens before a run begins (it is checked, and takes its directory), and when a run or a sweep has ended: aggregate its
results, print them, send them to W&B.

Hydra turns exceptions of callbacks into warnings. So what goes wrong at the end is collected in `failures`, which run.py prints
before it ends with exit status 1, and what goes wrong before the beginning passes through as `Passed`.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from . import claims, tracking
from .config import check_typed, validate
from .errors import SettingError
from .files import check_path, check_text
from .stages import STAGES, stages, together
from .submit.settings import makes_results
from .submit.submission import check_free

log = logging.getLogger(__name__)

failures: list[str] = []


class Passed(BaseException):
    """Carries an exception past Hydra to run.py."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Claim(Callback):
    """Checks a single job, and takes its directory before Hydra writes to it. (Sweeps: plugins' sweeper.)"""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        try:
            HydraConfig.instance().set_config(config)
            task = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
            OmegaConf.set_struct(task, True)
            check_typed(config.hydra)
            if task.plan != "doctor":  # which says all that is wrong
                validate(task)
            if together(task):
                from .evaluation.naming import check_baseline

                check_baseline([task])
            if writes(task):
                take(config, "hydra.run.dir", [task])
        except Exception as error:
            raise Passed(error) from error


def problems(task: DictConfig) -> list[str]:
    """What `validate` finds wrong, as sentences."""
    try:
        validate(task)
    except SettingError as error:
        return [str(error)]
    return []


def writes(task: DictConfig) -> bool:
    """Whether a job has an output directory of its own: not where it only plans, or reads one directory, and not on the further
    nodes of a training, which share that of the first."""
    alone = "report" not in stages(task) or isinstance(task.report.of, str)
    if task.plan or all(STAGES[name].reads for name in stages(task)) and alone:
        return False
    if "train" in stages(task) and task.distributed and "recipe" not in task.train:
        from .training.ranks import Ranks

        return Ranks.of(OmegaConf.to_container(task.distributed, resolve=True)).node_rank == 0
    return True


def take(config: DictConfig, setting: str, jobs: Iterable[DictConfig]) -> Path:
    """Claim the directory that `setting` of `config` names for the results of `jobs` (claims.py). Where that gets another name
    than it was to have, `config` says so, and so will the jobs that are composed from it.

    Raises SettingError when it is another command's, in use, or of a submission that is under way.
    """
    from .evaluation.naming import results_key

    node, _, name = setting.rpartition(".")
    named = str(OmegaConf.select(config, setting))
    check_text(setting, named)
    check_path(setting, named)
    fresh = "${now:" in str(OmegaConf.to_container(OmegaConf.select(config, node), resolve=False)[name])
    command = shlex.join(["python", *sys.argv])
    if not fresh:
        check_free(Path(named).expanduser(), setting)
    directory = claims.claim(setting, Path(named).expanduser(), results_key(jobs), command, fresh=fresh)
    if str(directory) != named:
        rename(config, setting, directory)
    return directory


def rename(config: DictConfig, setting: str, directory: Path) -> None:
    with read_write(config), open_dict(config), read_write(config.hydra), open_dict(config.hydra):
        OmegaConf.update(config, setting, str(directory))
        quoted = QuotedString(text=str(directory), quote=Quote.single).with_quotes()
        config.hydra.overrides.hydra.append(f"{setting}={quoted}")


class Aggregate(Callback):
    """Makes summary, tables, figures and report of everything below the run's directory (s1x.report.aggregate)."""

    def on_job_end(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN and not tracking.together(config.hydra):  # its process may end with it
            tracking.settle(config.tracking.patience)

    def on_run_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        directory = Path(config.hydra.runtime.output_dir)
        if job_return.status == JobStatus.COMPLETED and evaluates(config):
            aggregate(directory, config)
        tracking.end(config, directory)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        directory = Path(config.hydra.sweep.dir)
        if evaluates(config) and (summary := aggregate(directory, config)):
            tracking.finish_sweep(config, summary, directory)
        tracking.end(config, directory)


def evaluates(config: DictConfig) -> bool:
    """Whether a run leaves cells to put together."""
    return bool(together(config) or "import" in stages(config)) and not config.plan and makes_results(config)


def aggregate(directory: Path, config: DictConfig) -> dict[str, Any] | None:
    """Aggregate `directory` and show its table; a failure is kept in `failures`, never raised."""
    try:
        from rich.console import Console

        from .report import made
        from .report.aggregate import aggregate as make
        from .report.equal_cost import UnknownSeries
        from .report.render import show

        paper, report = made.published(config.name), config.report
        asked = {"paper": paper, "x": report.x or made.X[0], "compat": report.compat, "target": report.target}
        try:
            summary = make(directory, **asked, baseline=report.baseline)
        except UnknownSeries as error:  # it was to be there, but its jobs have not finished
            failures.append(f"{error}; the report is without it")
            summary = make(directory, **asked)
        show(summary, paper, directory, Console())
        return summary
    except Exception as error:
        log.debug("aggregate", exc_info=True)
        failures.append(f"{directory}: the results could not be put together: {error} ({type(error).__name__})")
        return None
