"""Two runs side by side (`report.compare=[A,B]`): which cell of one goes with which of the other."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

from . import made
from .load import Cell, load_cells

OF_A_RUN = ("run", "source")  # settings that say where a cell comes from, not what it is
Pair = tuple[str, Cell, Cell]


def load_runs(a: Path, b: Path) -> tuple[list[Cell], list[Pair], list[str]]:
    """The cells of both directories, named by their run where the two have the same; (kind, cell of a, cell of b) of those that
    go together; and a sentence for everything that is not whole.

    Raises ValueError where nothing goes together.
    """
    names = _names(a.absolute(), b.absolute())
    runs, problems = [], []
    for directory in (a, b):
        cells, found = load_cells(*made.sources(directory))
        runs.append(cells)
        problems += found
    twice = {cell.group for cell in runs[0]} & {cell.group for cell in runs[1]}
    pairs, alone = _pairs(*runs)
    for name, cells in zip(names, runs, strict=True):
        for cell in cells:
            series = f"{cell.record['series']} ({name})" if cell.group in twice else cell.record["series"]
            if cell.group in twice and (title := cell.record["declared"].get("title")):
                cell.record["declared"] = cell.record["declared"] | {"title": f"{title} ({name})"}
            cell.record |= {
                "cell_id": f"{cell.record['cell_id']}@{name}",
                "series": series,
                "settings": cell.record["settings"] | {"run": name},
            }
    if not pairs:
        raise ValueError(
            f"report.compare=[{a},{b}]: no cell of one goes with one of the other: they need a task in common with the same "
            "questions, and the same budgets (and whatever else both vary)"
        )
    problems += [f"{n} of the cells of {name} go with none of the other run" for name, n in zip(names, alone) if n]
    problems += [problem for _, one, other in pairs for problem in _targets(one, other, names)]
    return [cell for cells in runs for cell in cells], pairs, problems


def _names(a: Path, b: Path) -> list[str]:
    """As much of the end of each path as tells them apart."""
    backwards = zip_longest(a.parts[::-1], b.parts[::-1])
    depth = next((depth for depth, (one, other) in enumerate(backwards, start=1) if one != other), 1)
    return ["/".join(path.parts[-depth:]) for path in (a, b)]


def _pairs(a: list[Cell], b: list[Cell]) -> tuple[list[Pair], tuple[int, int]]:
    """Pairs by task, budget, ignored ends and every setting that both runs vary alike; a task's only cells go together anyway.
    And how many cells of each run are left alone."""
    pairs: list[Pair] = []
    for task in dict.fromkeys(cell.record["task"] for cell in a):
        ones, others = ([cell for cell in run if cell.record["task"] == task and cell.questions] for run in (a, b))
        if len(ones) == len(others) == 1:
            found = [(ones[0], others[0])]
        else:
            alike = _alike(ones, others)
            keyed = [_unique((_key(cell, alike), cell) for cell in run) for run in (ones, others)]
            found = [(cell, keyed[1][key]) for key, cell in keyed[0].items() if key in keyed[1]]
        pairs += [("runs", one, other) for one, other in found if set(one.questions) & set(other.questions)]
    return pairs, (len(a) - len(pairs), len(b) - len(pairs))


def _said(cell: Cell) -> dict[str, Any]:
    """All that was set, and by what a cell is grouped."""
    record = cell.record
    own = {key: str(value) for key, value in record["settings"].items() if key not in OF_A_RUN}
    return own | {
        "model": record["model"],
        "series": record["series"],
        "budget": record.get("budget"),
        "wait": cell.ignored_ends,
    }


def _alike(ones: list[Cell], others: list[Cell]) -> list[str]:
    """What tells cells apart within a run: budget and ignored ends, and what takes the same several values in both."""
    told = [[_said(cell) for cell in run] for run in (ones, others)]
    keys = dict.fromkeys(key for run in told for said in run for key in said)
    values = {key: [{said.get(key) for said in run} for run in told] for key in keys}
    return [key for key, (one, other) in values.items() if key in ("budget", "wait") or one == other and len(one) > 1]


def _key(cell: Cell, alike: list[str]) -> tuple:
    said = _said(cell)
    return tuple(said.get(key) for key in alike)


def _unique(keyed: Iterable[tuple[tuple, Cell]]) -> dict[tuple, Cell]:
    """Cells by key; those that share one could each be meant, so none of them is."""
    found: dict[tuple, list[Cell]] = {}
    for key, cell in keyed:
        found.setdefault(key, []).append(cell)
    return {key: cells[0] for key, cells in found.items() if len(cells) == 1}


def _targets(one: Cell, other: Cell, names: list[str]) -> list[str]:
    """A sentence where questions of one name have different targets: the runs may not have asked the same."""
    shared = one.targets.keys() & other.targets.keys()
    different = sum(one.targets[question] != other.targets[question] for question in shared)
    if not different:
        return []
    return [
        f"{different} of {len(shared)} questions of {one.record['task']} have another target in {names[1]} than in {names[0]}: "
        "are they the same questions?"
    ]
