"""What somebody may have meant who typed a setting that does not exist: the nearest one by its name, or by its description.

Descriptions are the comments of `conf/`: since `ignore_end` has "(s1: thinking_n_ignore)" there, `thinking_n_ignore=2` is
answered with method.ignore_end.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import dropwhile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parents[1] / "conf"


def unknown(key: str, cfg: DictConfig) -> str:
    """A sentence about the setting `key`, which the configuration `cfg` does not have."""
    known = list(_settings(OmegaConf.to_container(cfg, resolve=False)))
    parent = key.rpartition(".")[0]
    while parent and not _below(parent, known):
        parent = parent.rpartition(".")[0]
    near = [setting for setting in known if not parent or setting.startswith(f"{parent}.")]
    own = [setting for setting in near if not setting.startswith("import.")]  # a column there may be called like anything
    meant = _nearest(key, own) or _nearest(key, near)
    if not (meant or parent) and (group := _close(key, [path.name for path in CONF.iterdir() if path.is_dir()])):
        meant = f"{'' if group in known else '+'}{group}=..."
    if OmegaConf.is_dict(node := OmegaConf.select(cfg, key.rpartition(".")[0])) and not node:
        return f"{key}: is not there yet; write +{key}=..."
    hint = f"did you mean {meant}?" if meant else f"choose one of {', '.join(sorted(_below(parent, known)))}"
    return f"{key}: there is no such setting; {hint}"


def _nearest(key: str, known: list[str]) -> str | None:
    """The setting of that name; else one of a name like it beside it, of a description that has it, or of a name like it."""
    parent, _, name = key.rpartition(".")
    names = {setting: setting.rpartition(".")[2] for setting in known}
    beside = _close(name, _below(parent, known))
    like = _close(name, list(names.values()), 0.75)
    described = [setting for setting in known if re.search(rf"\b{re.escape(name)}\b", _remarks().get(setting, ""), re.I)]
    found = (
        [setting for setting in known if names[setting] == name]
        or [setting for setting in known if setting == (f"{parent}.{beside}" if parent else beside)]
        or (described if len(described) < 3 else [])
        or [setting for setting in known if names[setting] == like]
    )
    return min(found, key=lambda setting: setting.count("."), default=None)


def _close(name: str, names: list[str], cutoff: float = 0.6) -> str | None:
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=cutoff)), None)


def _below(parent: str, known: list[str]) -> list[str]:
    """The names of the settings right below `parent`; "" is the top."""
    return [setting.rpartition(".")[2] for setting in known if setting.rpartition(".")[0] == parent]


def _settings(node: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """The dotted names of all settings, Hydra's own excepted."""
    for key, value in node.items():
        if key != "hydra" and not key.startswith("_"):
            yield f"{at}{key}"
            if isinstance(value, Mapping):
                yield from _settings(value, f"{at}{key}.")


@cache
def _remarks() -> dict[str, str]:
    """What the comments above and behind the settings of a group say in conf/, by dotted name; not what opens a file."""
    remarks: dict[str, str] = {}
    for file in sorted(CONF.glob("*/*.yaml")):
        above = ""
        lines = file.read_text(encoding="utf-8").splitlines()
        for line in dropwhile(lambda line: line.startswith("#"), lines):
            if match := re.match(r"(\w+):.*?(#.*)?$", line):
                setting = f"{file.parent.name}.{match[1]}"
                remarks[setting] = f"{remarks.get(setting, '')} {above} {match[2] or ''}"
            above = f"{above} {line}" if line.startswith("#") else ""
    return remarks
