"""What sweeper and launcher share: jobs, composing them, and checking many of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hydra._internal import config_loader_impl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from s1x.cell import telling
from s1x.config import check_typed, resolved, validate
from s1x.errors import SettingError
from s1x.stages import together


@dataclass
class Job:
    """A job of a sweep: its configuration as Hydra composed it, `hydra` node included."""

    config: DictConfig

    @cached_property
    def task(self) -> DictConfig:
        """The configuration without its `hydra` node. Made once: a copy costs as much as composing it."""
        task = OmegaConf.masked_copy(self.config, [key for key in self.config if key != "hydra"])
        OmegaConf.copy_cache(self.config, task)  # ${now:...} is one moment for a whole sweep
        self.enter()
        for key in _of_the_job(OmegaConf.to_container(task, resolve=False)):
            value = OmegaConf.select(task, key)
            plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            OmegaConf.update(task, key, plain, merge=False, force_add=True)
        OmegaConf.set_struct(task, True)
        return task

    @property
    def overrides(self) -> list[str]:
        return telling(self.config.hydra.overrides.task)

    def enter(self) -> Job:
        """Make this the job that HydraConfig and `${hydra:...}` speak of."""
        HydraConfig.instance().set_config(self.config)
        return self

    @cached_property
    def plain(self) -> dict[str, Any]:
        """All settings, resolved: jobs with the same ones are the same."""
        return resolved(self.enter().task, missing=True)


class Composer:
    """Composes the jobs of a sweep. Loading and merging files is what takes Hydra its time: it is done once for all jobs that
    differ in values alone, as those of most grids do."""

    def __init__(self, context: HydraContext, sweep: DictConfig) -> None:
        self.loader, self.sweep = context.config_loader, sweep
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.without_values: dict[tuple[str, ...], DictConfig] = {}
        plain = OmegaConf.to_container(sweep, resolve=False)
        self.values = {key for key, value in plain.items() if isinstance(value, (bool, int, float, str))}  # seed, name, ...

    def compose(self, overrides: Sequence[str], number: int) -> Job:
        """Job `number`. Raises SettingError when an override makes up a setting."""
        config = self.load(overrides)
        check_typed(config.hydra)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        return Job(config)

    def load(self, overrides: Sequence[str]) -> DictConfig:
        """What `load_sweep_config` gives."""
        parsed = self.parser.parse_overrides(list(overrides))
        values = [override for override in parsed if self.sets_value(override)]
        if not all(override in values or self.chooses(override) for override in parsed):
            return self.loader.load_sweep_config(self.sweep, list(overrides))  # their order counts, so Hydra's own way
        others = tuple(override.input_line for override in parsed if override not in values)
        if others not in self.without_values:
            self.without_values[others] = self.loader.load_sweep_config(self.sweep, list(others))
        config = deepcopy(self.without_values[others])
        self.loader._apply_overrides_to_config(values, config)
        task, job = [override for override in parsed if not override.is_hydra_override()], config.hydra.job
        config.hydra.overrides.task = [override.input_line for override in task]
        if dirname := getattr(config_loader_impl, "get_overrides_dirname", None):  # in Hydra 1.4 a resolver
            job.override_dirname = dirname(task, **job.config.override_dirname)
        return config

    def sets_value(self, override: Override) -> bool:
        """Whether it is known to, and is of the task."""
        key = override.key_or_group
        known = key in self.values or "." in key and "/" not in key
        return known and override.package is None and not override.is_hydra_override()

    def chooses(self, override: Override) -> bool:
        """Whether it is known to choose a file of a group, or is Hydra's own."""
        group = self.loader.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)
        return group or override.is_hydra_override()


def _of_the_job(node: Any, at: str = "") -> Iterator[str]:
    """Settings that speak of their job (`${hydra:job.num}`); read later, they would be those of whichever job runs then."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _of_the_job(value, f"{at}.{key}" if at else str(key))
    elif "${hydra" in str(node):
        yield at


def check(jobs: Iterable[Job]) -> None:
    """Validate all jobs before the first one starts.

    Raises SettingError with one sentence per distinct problem.
    """
    problems: dict[str, None] = {}
    for job in jobs:
        try:
            validate(job.task, job.plain)
        except SettingError as error:
            problems[str(error)] = None
    if problems:
        raise SettingError("\n".join(problems))


def check_whole(jobs: Iterable[Job]) -> None:
    """Raises SettingError where jobs differ in what is of the whole command: who does the work, and whether it is planned."""
    jobs = list(jobs)
    if len(names := {name for job in jobs for name in together(job.task)}) > 1:
        raise SettingError(f"stage={','.join(sorted(names))}: each takes all cells of a sweep; give a command for each")
    values: dict[str, list[Any]] = {}
    for job in jobs:
        for key, value in (("plan", job.plain["plan"]), *_flat("submit", job.plain["submit"])):
            if value not in values.setdefault(key, []):
                values[key].append(value)
    for key, several in values.items():  # `submit.name` comes before what groups have of their own
        if len(several) > 1:
            words = ",".join(str(value).lower() if isinstance(value, bool) else str(value) for value in several)
            raise SettingError(
                f"{key.removesuffix('.name')}={words}: is one for the whole command and cannot be swept over; choose one "
                "value, and give a command for each"
            )


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name in value:
            yield from _flat(f"{key}.{name}", value[name])
    else:
        yield key, value
