"""The doctor stage: what would stop a command, looked for in seconds before it starts.

    python run.py +experiment=budget_sweep scale=paper stage=doctor

run.py makes `plan=doctor` of it, so that a job's own stages are looked at. Exit status 1 where something is a problem.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..cell import Cell
from ..errors import NotReady
from ..evaluation import checkup
from ..evaluation.checkup import OK, PROBLEM, Found
from . import together


def run(cfg: DictConfig) -> None:
    """Examine one job."""
    examine([Cell(cfg, Path(), Path())], [])


def examine(cells: Sequence[Cell], wrong: Sequence[str]) -> None:
    """Look at everything that `cells` need, and print one line for each thing. wrong: what their settings have got wrong.

    Raises NotReady where something would stop them.
    """
    from rich.console import Console

    from ..report import listings
    from ..report.render import terminal

    found = list(dict.fromkeys(_all(list(cells), not wrong)))
    told = {one.said for one in found}
    found[:0] = [Found("settings", PROBLEM, sentence) for sentence in wrong if sentence not in told]
    terminal(listings.checks([tuple(one) for one in found]), Console())
    problems = sum(one.state == PROBLEM for one in found)
    if problems:
        raise NotReady(f"{problems} of {len(found)} would stop it." if problems > 1 else f"One of {len(found)} would stop it.")


def _all(cells: list[Cell], sound: bool) -> Iterator[Found]:
    if sound:
        yield Found("settings", OK, f"{len(cells)} cell{'s' * (len(cells) > 1)} of {cells[0].cfg.name}")
    cfgs = [cell.cfg for cell in cells]
    running = [cfg for cfg in cfgs if together(cfg)]
    whole = []  # models whose files are there
    for cfg in _each([cfg for cfg in cfgs if together(cfg) or checkup.trains(cfg)], lambda cfg: cfg.model):
        found = checkup.model(_plain(cfg.model))
        yield found
        if found.state == OK:
            whole.append(str(_plain(cfg.model)))
    there = [cfg for cfg in running if str(_plain(cfg.model)) in whole]
    for cfg in _each(there, lambda cfg: [cfg.model, cfg.chat]):
        yield from checkup.talk(cfg)
    if sound:
        yield from checkup.methods(there)
    for cfg in _each(running, lambda cfg: cfg.task):
        yield checkup.task(cfg)
    for cfg in _each(running, lambda cfg: [cfg.model, cfg.engine, cfg.scorer if checkup.wants_scorer(cfg) else None]):
        yield from checkup.memory(cfg)
    for cfg in _each(running, lambda cfg: cfg.engine):
        yield checkup.extras(cfg)
    for cfg in _each(there, lambda cfg: [cfg.model, cfg.engine]):
        yield checkup.engine(cfg)
    for cfg in _each([cfg for cfg in running if checkup.wants_scorer(cfg)], lambda cfg: cfg.scorer):
        yield from checkup.scorer(cfg)
    for cfg in _each([cfg for cfg in cfgs if checkup.trains(cfg)], lambda cfg: [cfg.model, cfg.train, cfg.data]):
        yield from checkup.training(cfg)
    for cfg in _each(running, lambda cfg: cfg.store):
        yield from checkup.store(cfg)
    for cfg in _each(cfgs, lambda cfg: cfg.tracking):
        yield checkup.wandb(cfg)


def _each(cfgs: Sequence[DictConfig], of: Callable[[DictConfig], Any]) -> list[DictConfig]:
    """The first configuration of each kind."""
    found: dict[str, DictConfig] = {}
    for cfg in cfgs:
        part = of(cfg)
        parts = part if isinstance(part, list) else [part]
        found.setdefault(json.dumps([_plain(one) for one in parts], sort_keys=True, default=str), cfg)
    return list(found.values())


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
