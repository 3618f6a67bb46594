"""What sweeper and launcher share: composing a job's configuration and checking many of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from s1x.config import check_typed, validate
from s1x.errors import SettingError


def compose(context: HydraContext, sweep: DictConfig, overrides: Sequence[str], number: int) -> DictConfig:
    """The configuration of job `number` of the sweep configured by `sweep`, `hydra` node included.

    Raises SettingError when an override makes up a setting.
    """
    config = context.config_loader.load_sweep_config(sweep, list(overrides))
    check_typed(config.hydra)
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    return config


def task_config(config: DictConfig) -> DictConfig:
    """A job's configuration without its `hydra` node, which stays reachable through HydraConfig."""
    HydraConfig.instance().set_config(config)
    task = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    OmegaConf.set_struct(task, True)
    return task


def check(configs: Iterable[DictConfig]) -> None:
    """Validate all jobs before the first one starts.

    Raises SettingError with one sentence per distinct problem.
    """
    problems: dict[str, None] = {}
    for config in configs:
        try:
            validate(task_config(config))
        except SettingError as error:
            problems[str(error)] = None
    if problems:
        raise SettingError("\n".join(problems))
