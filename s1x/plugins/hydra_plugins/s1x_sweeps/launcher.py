"""The launcher of s1x: all cells of a sweep are evaluated together, and each still ends as an ordinary Hydra job.

Trainings (and other stages that come before evaluation) run first, one by one; then all cells share one scheduler and their
token streams. Any other Hydra launcher works too (`hydra/launcher=basic`, `joblib`, `submitit_slurm`): there each job runs the
task function, and cells share what is in the store.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from s1x import interrupts
from s1x.callbacks import problems
from s1x.cell import Cell
from s1x.evaluation import plan
from s1x.stages import STAGES, stages, together
from s1x.submit.settings import check_here

from ._jobs import Composer, Job, check

log = logging.getLogger(__name__)


@dataclass
class S1xLauncherConf:
    _target_: str = "hydra_plugins.s1x_sweeps.launcher.S1xLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="s1x", node=S1xLauncherConf, provider="s1x")


class S1xLauncher(Launcher):
    """Runs the jobs of a sweep in this process (see the module).

    `composed` holds the jobs that the sweeper has composed and checked already, by their overrides.
    """

    def __init__(self) -> None:
        self.composed: dict[tuple[str, ...], Job] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        setup_globals()
        sweep = Path(self.config.hydra.sweep.dir).absolute()
        jobs = self.compose_all(job_overrides, initial_job_idx)
        if self.config.plan == "doctor":
            cells = [Cell(job.enter().task, sweep, sweep, n, job.overrides) for n, job in jobs.items()]
            wrong = dict.fromkeys(sentence for job in jobs.values() for sentence in problems(job.enter().task))
            STAGES["doctor"].load().examine(cells, list(wrong))
            return []
        if self.config.plan:
            plan.show([Cell(job.enter().task, sweep, sweep, n, job.overrides) for n, job in jobs.items()])
            return []
        check_here(self.config)
        interrupts.begin()
        sweep.mkdir(parents=True, exist_ok=True)
        self.log_to(sweep)

        cells = {number: cell_of(job, sweep) for number, job in jobs.items()}
        returns: dict[int, JobReturn] = {}

        def finish(cell: Cell, outcome: Any) -> None:
            """End a job the way Hydra does: `outcome` is its cell record, or the exception that ended it."""
            returns[cell.job] = self.end_job(jobs[cell.job].config, outcome)

        joint = {number: cell for number, cell in cells.items() if together(cell.cfg)}
        for number, job in jobs.items():
            if number not in joint:
                returns[number] = self.run(job.config, self.task_function)
        ready = [cell for cell in joint.values() if self.prepare(cell, jobs[cell.job], finish)]
        if ready:
            log.info(f"{len(ready)} cell{'s' * (len(ready) > 1)} -> {sweep}")
            (name,) = {name for cell in ready for name in together(cell.cfg)}  # a grid does not mix them
            STAGES[name].load().evaluate(ready, sweep, finish)
        return [returns[number] for number in jobs]

    def compose_all(self, job_overrides: Sequence[Sequence[str]], first: int) -> dict[int, Job]:
        """All jobs by their numbers, checked (by the sweeper, or else here)."""
        jobs, unchecked, composer = {}, [], Composer(self.hydra_context, self.config)
        for number, overrides in enumerate(job_overrides, first):
            job = self.composed.pop(tuple(overrides), None)
            if job is None:
                job = composer.compose(overrides, number)
                unchecked.append(job)
            jobs[number] = job
        if self.config.plan != "doctor":
            check(unchecked)
        return jobs

    def prepare(self, cell: Cell, job: Job, finish: Any) -> bool:
        """Run the stages of a job that come before its evaluation; False when one failed (and ended the job)."""
        job.enter()
        for name in stages(cell.cfg):
            if STAGES[name].together:
                return True
            try:
                STAGES[name].load().run(cell.cfg)
            except Exception as error:
                finish(cell, error)
                return False
        return True

    def end_job(self, config: DictConfig, outcome: Any) -> JobReturn:
        """Write the job's `.hydra` files, call the callbacks, and return its accuracy (what an optimizing sweeper reads)."""

        def result(_: DictConfig) -> float:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome["accuracy"]

        return self.run(config, result)

    def run(self, config: DictConfig, task: TaskFunction) -> JobReturn:
        return run_job(
            hydra_context=self.hydra_context,
            task_function=task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            configure_logging=False,
        )

    def log_to(self, sweep: Path) -> None:
        """One log for the whole sweep, in its directory: its jobs run interleaved."""
        set_output_dir(self.config, sweep)
        HydraConfig.instance().set_config(self.config)
        configure_log(self.config.hydra.job_logging, self.config.hydra.verbose)


def cell_of(job: Job, sweep: Path) -> Cell:
    """The cell of a job, which learns its output directory."""
    job.enter()
    directory = sweep / str(OmegaConf.select(job.config, "hydra.sweep.subdir"))
    set_output_dir(job.config, directory)
    job.enter()
    cell = Cell(job.task, directory, sweep, job.config.hydra.job.num, job.overrides)
    (directory / ".hydra").mkdir(parents=True, exist_ok=True)  # a job that never ends is seen as such by the report
    OmegaConf.save(cell.cfg, directory / ".hydra" / "config.yaml")
    OmegaConf.save(job.config.hydra.overrides.task, directory / ".hydra" / "overrides.yaml")
    return cell


def set_output_dir(config: DictConfig, directory: Path) -> None:
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = str(directory)
