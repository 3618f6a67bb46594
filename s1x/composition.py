"""How Hydra is set up: schemas, resolvers, plugins, sweeps that begin by themselves, and what its versions do differently."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .config import Config, check_typed
from .files import PACKAGE
from .hints import CONF
from .importing.settings import Import

OLD = hydra.__version__.startswith("1.3")
BASE: dict[str, Any] = {"version_base": "1.3"} if OLD else {}  # 1.4 has one base alone
SHOWN = re.compile("-([hirm]|c(job|hydra|all)?)$|--(help|hydra-help|version|cfg|info|run|shell-completion|multirun)(=|$)")


def main_settings() -> dict[str, Any]:
    """What hydra.main is told beside where the configuration is. Hydra 1.4 asks which targets may be called: in s1x a
    configuration is code that somebody chose to run (docs/security.md), so all of them, as before."""
    if OLD:
        return BASE
    from hydra.utils import UNSAFE_DISABLE_EXECUTION_CHECKS

    return {"execution_whitelist": UNSAFE_DISABLE_EXECUTION_CHECKS}


def swept(arguments: Sequence[str]) -> list[str]:
    """The arguments, with --multirun where the experiment among them is a sweep (it has grids) and nothing else was asked for.
    An experiment cannot say so itself: Hydra 1.4 lets only the command line choose."""
    asked = any(SHOWN.match(a) or a.lstrip("+").startswith("hydra.mode=") for a in arguments)
    names = [name for a in arguments if (name := re.fullmatch(r"\+{0,2}experiment=([\w./-]+)", a))]
    if asked or len(names) != 1:
        return list(arguments)
    for folder in (CONF, *_config_dirs(arguments)):
        file = Path(folder, "experiment", f"{names[0][1].removesuffix('.yaml')}.yaml")
        if file.is_file() and OmegaConf.select(OmegaConf.load(file), "hydra.sweeper.grids"):
            return [*arguments, "--multirun"]
    return list(arguments)


def named(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the name of a series between the quotes that Hydra's grammar asks for: tables have names such as
    `majority voting (budget forcing)`, and that is what people type."""
    return [_quoted(argument) for argument in arguments]


def _quoted(argument: str) -> str:
    key, _, value = argument.partition("=")
    if key.lstrip("+") != "report.baseline" or not re.search(r"[(),\s]", value) or value[0] in "'\"":
        return argument
    return f"{key}='{value}'" if "'" not in value else f'{key}="{value}"'


def _config_dirs(arguments: Sequence[str]) -> list[str]:
    """What --config-dir (-cd) names."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return [b for a, b in pairs if a in ("-cd", "--config-dir")] + [
        a.partition("=")[2] for a in arguments if a.startswith("--config-dir=")
    ]


def register() -> None:
    """Make known to Hydra: the schema, sweeper and launcher, and two resolvers: `${s1x:path}`, a file that ships with s1x, and
    `${task_name:task}`, what an lm-eval task or task file is called."""
    schema = OmegaConf.structured(Config)
    OmegaConf.update(schema, "import", OmegaConf.structured(Import), force_add=True)
    OmegaConf.set_struct(schema.chat.arguments, False)  # any name, typed with or without +
    ConfigStore.instance().store(name="s1x_schema", node=schema)
    resolver = OmegaConf.register_new_resolver if OLD else OmegaConf.register_resolver  # type: ignore[attr-defined]
    resolver("s1x", lambda path: str(PACKAGE / path), replace=True)
    resolver("task_name", _task_name, replace=True)
    if find_spec("hydra_plugins") is None or find_spec("hydra_plugins.s1x_sweeps") is None:  # a checkout that is not installed
        sys.path.append(str(PACKAGE / "plugins"))
    _hasten_hydra()


def _hasten_hydra() -> None:
    """Leave out what takes Hydra most of its time: a copy of all registered schemas whenever it looks for something, a hundred
    times for --help (what it loads of them is copied anyway); and parsing every YAML file again for every job of a sweep."""
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    Plugins.instance()
    files = SourcesRegistry.instance().resolve("file")
    if files.load_config.__module__ == __name__:
        return  # registered before
    load, parsed = files.load_config, {}

    def load_config(self: ConfigSource, config_path: str) -> ConfigResult:
        file = Path(self.path.removeprefix("file://"), self._normalize_file_name(config_path))
        key = (file, file.stat().st_mtime_ns) if file.is_file() else None
        if key not in parsed:
            found = load(self, config_path)  # raises where there is none
            parsed[key] = (found, OmegaConf.to_container(found.config))
        found, plain = parsed[key]
        return replace(found, header=dict(found.header), config=OmegaConf.create(plain))

    files.load_config = load_config  # type: ignore[method-assign]


def _task_name(task: str) -> str:
    from .tasks.library import own_name

    return own_name(task)


def check_shown(arguments: Sequence[str]) -> None:
    """Check what is only shown (`--cfg job`), where no job checks it; costs something where + is typed.

    Raises SettingError for a setting that + would make up. What else is wrong Hydra says.
    """
    shown = any(argument == "-c" or re.match("--cfg(=|$)", argument) for argument in arguments)
    overrides = [argument for argument in arguments if re.match("~|[^-].*=", argument)]
    if shown and any(override.startswith("+") for override in overrides):
        with suppress(HydraException, OmegaConfBaseException), initialize_config_dir(str(CONF), **BASE):
            check_typed(compose("config", overrides, return_hydra_config=True).hydra)
