"""A sweep is a union of grids: `hydra.sweeper.grids: [{key: values, ...}, {...}]`.

Values are a list, or Hydra's sweep syntax in a string ("1,2,4", "range(0,9)"); `${scale.budgets}` works, and where only this
experiment needs a value by scale, `{laptop: "32,64", paper: "250,500"}`. What `hydra.sweeper.params` sets is set in every grid.
A value on the command line replaces that key in every grid (several values, `task=a,b`, are crossed with it); a grid it does
not fit is left out with a sentence; identical cells run once. Without grids it is Hydra's basic sweeper: `python run.py -m
seed=0,1`.
"""

import itertools
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from s1x.callbacks import failures, rename, take
from s1x.config import check_experiment
from s1x.errors import SettingError, explain
from s1x.evaluation.naming import check_baseline
from s1x.files import check_writable, python_path
from s1x.stages import together
from s1x.submit.settings import submits
from s1x.submit.submission import submit

from ._jobs import Composer, Job, check, check_whole

log = logging.getLogger(__name__)

Choices = dict[str, list[str]]  # key -> the overrides it is swept over, e.g. {"seed": ["seed=0", "seed=1"]}


@dataclass
class GridSweeperConf:
    _target_: str = "hydra_plugins.s1x_sweeps.sweeper.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, Any] | None = None
    grids: list[dict[str, Any]] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="s1x", node=GridSweeperConf, provider="s1x")


class GridSweeper(BasicSweeper):
    """Hydra's basic sweeper over a union of grids (see the module)."""

    def __init__(self, max_batch_size: int | None, params: dict[str, Any] | None, grids: Sequence[Mapping[str, Any]] | None):
        super().__init__(max_batch_size, params)
        self.grids = grids

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        check_writable("hydra.sweep.dir", self.config.hydra.sweep.dir)
        cells = self.cells(arguments)
        check_whole(cells.values())
        if self.config.plan != "doctor":  # which says all that is wrong
            check(cells.values())
        check_baseline(task for job in cells.values() if together(task := job.enter().task))
        if hasattr(self.launcher, "composed"):
            self.launcher.composed.update(cells)
        else:
            os.environ["PYTHONPATH"] = python_path()  # its jobs may be processes elsewhere

        if not self.config.plan:
            check_subdirs(cells.values())
            directory = take(self.config, "hydra.sweep.dir", [job.task for job in cells.values()])
            for job in cells.values():
                if str(directory) != job.config.hydra.sweep.dir:
                    rename(job.config, "hydra.sweep.dir", directory)
            OmegaConf.save(self.config, directory / "multirun.yaml")
            if submits(self.config):
                check_launcher(self.config.submit.name, self.launcher)
                submit([(job.task, job.overrides) for job in cells.values()], directory, "hydra.sweep.dir")
                return []

        returns = []
        for batch in self.split_overrides_to_chunks([list(cell) for cell in cells], self.max_batch_size):
            returns.append(self.launcher.launch(batch, initial_job_idx=sum(map(len, returns))))
        for job in itertools.chain.from_iterable(returns):
            if job.status == JobStatus.FAILED:
                failures.append(f"job {job.hydra_cfg.hydra.job.num} failed: {explain(job._return_value)}")
        return returns

    def cells(self, arguments: list[str]) -> dict[tuple[str, ...], Job]:
        """The distinct cells: the overrides of each and its job, numbered from 0.

        Raises SettingError when no grid fits the command line.
        """
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(arguments)
        check_experiment(overrides)
        typed = {o.key_or_group: expand(o) for o in overrides}
        params = self.choices(parser, self.params)
        if self.grids and len(typed.get("scale", ())) > 1:
            raise SettingError("scale: the grids of an experiment take their values from one scale; run once for each")

        composer = Composer(self.hydra_context, self.config)
        cells: dict[tuple[str, ...], Job] = {}
        seen: set[str] = set()
        left_out, reasons = [], {}
        for grid in self.grids or [{}]:
            own = params | self.choices(parser, grid)
            try:
                found = compose_grid(composer, own | typed, first=len(cells), seen=seen)
            except (SettingError, HydraException, OmegaConfBaseException) as error:
                if not self.grids or not composes(composer, own):
                    raise
                reasons.setdefault(explain(error).partition(":")[0], explain(error))  # by setting
                left_out.append(f"Left out, since the command line does not fit it: {describe(own)} ({explain(error)})")
                continue
            cells |= found
        if not cells:
            raise SettingError("\n".join(reasons.values() if len(reasons) == 1 else left_out))
        for sentence in left_out:
            log.warning(sentence)
        return cells

    def choices(self, parser: OverridesParser, grid: Mapping[str, Any]) -> Choices:
        """A grid of values as overrides; of a value for each scale, those of the scale that is chosen.

        Raises SettingError when a value has none for it.
        """
        scale = self.config.scale.name
        scales = {scale, *self.hydra_context.config_loader.get_group_options("scale")}
        found = {}
        for key, value in grid.items():
            if OmegaConf.is_dict(value) and value and scales.issuperset(value):
                if scale not in value:
                    raise SettingError(f"scale={scale}: {self.config.name} has values of {key} for {', '.join(value)} only")
                value = value[scale]
            found[key.lstrip("+~")] = choices(parser, key, value)  # as what is typed is called
        return found


def compose_grid(composer: Composer, grid: Choices, first: int, seen: set[str]) -> dict[tuple[str, ...], Job]:
    """The cells of one grid that are not in `seen` (which grows), numbered from `first`."""
    cells: dict[tuple[str, ...], Job] = {}
    identities = set(seen)
    for overrides in itertools.product(*grid.values()):
        job = composer.compose(overrides, first + len(cells))
        identity = json.dumps(job.plain, sort_keys=True)
        if identity not in identities:
            identities.add(identity)
            cells[overrides] = job
    seen |= identities
    return cells


def composes(composer: Composer, grid: Choices) -> bool:
    """Whether the first cell of a grid is sound without the command line."""
    try:
        composer.compose([values[0] for values in grid.values()], 0)
    except (SettingError, HydraException, OmegaConfBaseException):
        return False
    return True


def check_subdirs(jobs: Iterable[Job]) -> None:
    """Raises SettingError where two jobs would write into one directory."""
    taken: dict[str, Job] = {}
    for job in jobs:
        subdir = os.path.normpath(str(OmegaConf.select(job.enter().config, "hydra.sweep.subdir")))
        if (other := taken.setdefault(subdir, job)) is not job:
            numbers = f"{other.config.hydra.job.num} and {job.config.hydra.job.num}"
            raise SettingError(f"hydra.sweep.subdir={subdir}: jobs {numbers} would share it; put ${{hydra.job.num}} into it")


def check_launcher(submit: str, launcher: Any) -> None:
    """Raises SettingError where jobs would be submitted twice."""
    if not hasattr(launcher, "composed"):
        raise SettingError(f"submit={submit}: each task runs its cells itself; leave out hydra/launcher, or leave out submit")


def choices(parser: OverridesParser, key: str, value: Any) -> list[str]:
    """The overrides a grid's value stands for: every element of a list, or what Hydra's sweep syntax says."""
    if OmegaConf.is_list(value):
        return [f"{key}={literal(element)}" for element in value] or nothing(f"{key}=[]")
    if isinstance(value, str):
        return expand(parser.parse_overrides([f"{key}={value}"])[0])  # the plural one knows the groups that glob(...) is of
    return [f"{key}={literal(value)}"]


def expand(override: Override) -> list[str]:
    """The single-valued overrides of one that may sweep.

    Raises SettingError for a sweep over a continuous range, and for one over nothing.
    """
    if not override.is_sweep_override():
        return [override.input_line]
    if not override.is_discrete_sweep():
        raise SettingError(f"{override.input_line}: a grid needs single values; list them, or choose another hydra/sweeper")
    key = override.get_key_element()
    found = [f"{key}={value}" for value in override.sweep_string_iterator()]
    return found or nothing(override.input_line)


def nothing(typed: str) -> NoReturn:
    raise SettingError(f"{typed}: stands for no value at all; name one or several, or leave it out")


def literal(value: Any) -> str:
    """A value in Hydra's override grammar, quoted where it would mean something else without."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][\w./:-]*", value) and value.lower() not in ("null", "true", "false", "nan", "inf")
        return value if plain else QuotedString(text=value, quote=Quote.single).with_quotes()
    if OmegaConf.is_list(value):
        return f"[{','.join(literal(element) for element in value)}]"
    if OmegaConf.is_dict(value):
        return f"{{{','.join(f'{key}:{literal(element)}' for key, element in value.items())}}}"
    return str(value)


def describe(grid: Choices) -> str:
    """A grid in a few words."""
    return ", ".join(values[0] if len(values) == 1 else f"{key} ({len(values)} values)" for key, values in grid.items())
