"""The cheapest setting that reaches an accuracy (`report.target`), of each series and of all together.

The rule: on one half of the questions take the cheapest cell whose accuracy reaches the target, and where none does, the most
accurate; measure that cell on the other half, and the other way round (metrics/crossfit.py). Every cell is looked at, as
accuracy need not rise with cost: a bisection could pass the cheapest one by. The interval is of a bootstrap over questions in
which every resample chooses anew, so it is of the rule, and holds the luck of the choice; it holds Wilson's of what was chosen,
too. Costs are those of the figure's axis (`report.x`).

How it fails: near the target the halves often choose differently, and what is chosen just reached it by luck, so the accuracy
that is measured tends to lie a little below the target (`docs/statistics.md`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics.crossfit import CrossFit, halves
from ..metrics.intervals import accuracy_interval, percentile_interval
from .compare import scores_on, shared_questions
from .equal_cost import Priced, cost_of, splits
from .labels import cell_names, group, series_names
from .load import Cell
from .tables import COSTS, HALVES, Column, Table, both, cost_kind


def cheapest(cells: list[Cell], target: float, x: str) -> dict[str, Any]:
    """`{target, x, rows}`; a row is `{task, series, cells, reach, cost, accuracy, verdict, n_questions}`.

    target: an accuracy, in (0, 1). series: of the choice's cells, None for all together. cells: ids of the choices on the first
    and on the second half, reach: whether each reaches the target there. cost: their mean. accuracy: `{value, ci95}` on the
    other halves. verdict: `reached` or `missed` where the interval lies on one side of the target, else `open`. Series whose
    costs are not known, or of too few questions, have no row.
    """
    rows = []
    for task in dict.fromkeys(cell.record["task"] for cell in cells):
        priced = [(cost, cell) for cell in cells if cell.record["task"] == task and (cost := _known(cell, x)) is not None]
        priced.sort(key=lambda pair: pair[0])
        groups = list(dict.fromkeys(cell.group for _, cell in priced))
        for series in [*groups, *([None] if len(groups) > 1 else [])]:
            own = [pair for pair in priced if series is None or pair[1].group == series]
            if row := _row(own, target):
                rows.append({"task": task, "series": list(series) if series else None} | row)
    return {"target": target, "x": x, "rows": rows}


def table(found: dict[str, Any], records: list[dict[str, Any]]) -> Table:
    """What `cheapest` found, for people."""
    columns = [
        Column("task"), Column(f"cheapest that reaches {100 * found['target']:g}%", always=True), Column("cells", always=True),
        Column(COSTS[found["x"]], cost_kind(found), always=True), Column("accuracy % [95%]", "percent", always=True),
        Column("target", always=True),
    ]  # fmt: skip
    names, called = series_names(records), cell_names(records, series=False)
    of = {r["cell_id"]: names[group(r)] for r in records}
    values = [
        [
            row["task"], names[tuple(row["series"])] if row["series"] else f"any: {both(row['cells'], of)}",
            both(row["cells"], called), row["cost"], row["accuracy"],
            row["verdict"] if all(row["reach"]) else f"{row['verdict']} (most accurate)",
        ]
        for row in found["rows"]
    ]  # fmt: skip
    note = "Where no cell reaches it on a half, the most accurate is taken. Open: the interval holds the target."
    return Table("target", columns, values, [f"{HALVES} {note}"])


def _known(cell: Cell, x: str) -> float | None:
    return cost_of(cell.record, x) if cell.questions else None


def _row(priced: Priced, target: float) -> dict[str, Any] | None:
    cells = [cell for _, cell in priced]
    questions = shared_questions(cells)
    if not splits(questions):
        return None
    every = np.ones((len(questions), 1))  # a column that is always right: the share of questions that are in a half
    fit = CrossFit(np.hstack([np.stack([scores_on(cell, questions) for cell in cells], 1), every]), halves(questions))
    first, second = (_choice(part, target) for part in np.split(fit.means, 2, axis=1))
    values = fit.value((first[0], second[0]))
    chosen = [int(half[0][0]) for half in (first, second)]
    wilson = accuracy_interval(fit.by_question((first[0], second[0])))  # a bootstrap of answers that are all right is a point
    bootstrap = percentile_interval(values[1:]) or wilson
    low, high = min(bootstrap[0], wilson[0]), max(bootstrap[1], wilson[1])
    return {
        "cells": [cells[at].record["cell_id"] for at in chosen],
        "reach": [bool(half[1][0]) for half in (first, second)],
        "cost": float(np.mean([priced[at][0] for at in chosen])),
        "accuracy": {"value": float(values[0]), "ci95": [low, high]},
        "verdict": "reached" if low >= target else "missed" if high < target else "open",
        "n_questions": len(questions),
    }


def _choice(half: np.ndarray, target: float) -> tuple[np.ndarray, np.ndarray]:
    """By resample the cell that is chosen on a half, and whether it reaches the target there. Cells are in order of cost."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may have no question of a half
        accuracy = np.nan_to_num(half[:, :-1] / half[:, -1:])
    reaches = accuracy >= target - 1e-12
    return np.where(reaches.any(1), reaches.argmax(1), accuracy.argmax(1)), reaches.any(1)
