"""What a submitted command is made of: trainings, shards, and the report, which is the command itself."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from ..cell import SUBMITTED, stage_names

OWN = re.compile(r"[+~]*(submit(\..*)?|hydra\.(run|sweep)\.dir)(=|$)")  # what is said anew to each task
HYDRAS = re.compile(r"[+~]*hydra[./](?!(mode|run|sweep|sweeper|launcher)(\W|$))")  # Hydra's settings of any single job
TRAINED_FROM = ("model", "chat", "data", "train", "seed", "store")  # settings that make a training another one


@dataclass(frozen=True)
class Task:
    """`name` is its directory's in `submit/`, and what people are told. `kind`: train, shard or report."""

    name: str
    kind: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()  # names of tasks that must have succeeded before
    after: tuple[str, ...] = ()  # and of those that must have ended


def tasks(jobs: Sequence[tuple[DictConfig, Sequence[str]]], directory: Path, setting: str, typed: Sequence[str]) -> list[Task]:
    """The tasks of a command with these jobs (configuration, overrides), whose results go to `directory`, as `setting`
    (hydra.sweep.dir or hydra.run.dir) says. `typed` are its arguments."""
    submit, place = jobs[0][0].submit, directory / SUBMITTED
    rest = [argument for argument in typed if not OWN.match(argument)]
    found = []
    for number, overrides in enumerate(trainings(jobs, beside(rest))):
        name, before = f"train-{number}", tuple(task.name for task in found[-1:])  # on one machine, one after the other
        found.append(Task(name, "train", ("submit=none", *overrides, at("hydra.run.dir", place / name)), after=before))
    if any("evaluate" in stage_names(cfg) for cfg, _ in jobs):
        needs = tuple(task.name for task in found)
        count = submit.shards if submit.shards > 1 else 0
        for shard in range(count):
            name = f"shard-{shard}"
            own = ("submit=none", f"submit.shards={count}", f"submit.shard={shard}", "tracking.mode=disabled")
            found.append(Task(name, "shard", (*rest, *own, at(setting, place / name)), needs))
        shards = tuple(task.name for task in found if task.kind == "shard")
        found.append(Task("report", "report", (*rest, "submit=none", at(setting, directory)), needs, shards))
    return found


def trainings(jobs: Iterable[tuple[DictConfig, Sequence[str]]], more: Sequence[str]) -> list[list[str]]:
    """The arguments of each different training, as a single job that evaluates nothing. `more`: what is said to all of
    them beside their overrides."""
    found: dict[str, list[str]] = {}
    for cfg, overrides in jobs:
        names = [name for name in stage_names(cfg) if name != "evaluate"]
        if names:
            key = json.dumps([names, *(plain(cfg, name) for name in TRAINED_FROM)], sort_keys=True, default=str)
            own = [override for override in overrides if not OWN.match(override)]
            found.setdefault(key, [*more, *own, "hydra.mode=RUN", f"stage=[{','.join(names)}]"])
    return list(found.values())


def plain(cfg: DictConfig, name: str) -> Any:
    return OmegaConf.to_container(cfg[name], resolve=True) if OmegaConf.is_config(cfg[name]) else cfg[name]


def beside(typed: Sequence[str]) -> list[str]:
    """What was typed and is in no job's overrides: options of Hydra and their values, and its own settings (where it looks for
    files, what a job's environment is), but for what makes a sweep."""
    return [a for a in typed if _is_option(a) or HYDRAS.match(a)]


def _is_option(typed: str) -> bool:
    return (typed.startswith("-") or "=" not in typed and not typed.startswith("~")) and typed not in ("-m", "--multirun")


def at(setting: str, directory: Path) -> str:
    if re.fullmatch(r"/[\w./-]*", str(directory), re.ASCII):
        return f"{setting}={directory}"  # as people would type it: it stands in reports
    return f"{setting}={QuotedString(text=str(directory), quote=Quote.single).with_quotes()}"


def python(submit: DictConfig) -> str:
    """What runs the tasks."""
    return submit.get("python") or ("python" if submit.get("container") else sys.executable)
