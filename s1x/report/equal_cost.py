"""Cells and series at equal cost (`report.baseline`): what a method adds to what the same tokens, or operations, buy without
it.

A cell is compared with the best of the baseline's cells that cost at most as much. Which that is, is chosen on one half of
the questions and measured on the other (metrics/crossfit.py), so that a large choice is no advantage. Cells cost what the
figure draws them at (`report.x`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..metrics.crossfit import CrossFit, halves
from ..metrics.intervals import percentile_interval
from ..metrics.significance import corrected
from .compare import NOT_COMPARED, scores_on, shared_questions
from .labels import known_series, named_series, series_names
from .load import Cell

Priced = list[tuple[float, Cell]]  # cells with their costs, cheapest first


class UnknownSeries(ValueError):
    """`report.baseline` names a series that is not there. The message is one sentence."""


def equal_cost(cells: list[Cell], baseline: str, x: str) -> dict[str, Any]:
    """`{baseline, x, cells, budgets}` (`_cells`, `_budgets`). baseline: a series as tables call it.

    Raises UnknownSeries.
    """
    records = [cell.record for cell in cells]
    names, found = series_names(records), named_series(records, baseline)
    if found is None:
        raise UnknownSeries(f"report.baseline={baseline}: there is no such series; valid are {known_series(records)}")
    baseline = found
    priced = [(cost, cell) for cell in cells if (cost := cost_of(cell.record, x)) is not None and cell.questions]
    priced.sort(key=lambda pair: pair[0])
    rows, budgets = [], []
    for task in dict.fromkeys(cell.record["task"] for cell in cells):
        there = [(cost, cell) for cost, cell in priced if cell.record["task"] == task]
        others = [cell for cell in cells if cell.record["task"] == task and names[cell.group] != baseline]
        rows += _cells(others, [(cost, cell) for cost, cell in there if names[cell.group] == baseline], x)
        budgets += _budgets(there)
    return {"baseline": baseline, "x": x, "cells": corrected(rows), "budgets": corrected(budgets)}


def cost_of(record: dict[str, Any], x: str) -> float | None:
    """Mean tokens (or operations) of a cell per question and sample; 0 when it does not think, None where it is not known."""
    if x == "thinking_tokens":
        return record["thinking_tokens"]["mean"]
    total = record.get(x)
    return total / (record["n_questions"] * record["samples_per_question"]) if total else None


def _cells(others: list[Cell], baseline: Priced, x: str) -> list[dict[str, Any]]:
    """Of each other cell `{task, cell_id, cost, chosen, baseline_accuracy}` and its paired difference (`CrossFit.compared`).

    chosen: ids of the baseline's cells that are best on the first and on the second half of the questions; None, like all
    that follows from it, where none costs as little or too few questions are shared.
    """
    batches: dict[tuple, list[tuple[Cell, list[Cell]]]] = {}
    for cell in others:
        cheap = [c for cost, c in baseline if cost <= (cost_of(cell.record, x) or 0)] if cell.questions else []
        questions = shared_questions([cell, *cheap]) if cheap else ()
        batches.setdefault(questions if splits(questions) else (), []).append((cell, cheap))
    found: dict[int, dict[str, Any]] = {}
    for questions, batch in batches.items():  # cells on the same questions are resampled together
        if not questions:
            continue
        choice = max((cheap for _, cheap in batch), key=len)  # cheapest first, so that it begins with all others
        scores = np.stack([scores_on(c, questions) for c in [*choice, *(cell for cell, _ in batch)]], 1)
        fit = CrossFit(scores, halves(questions))
        for at, (cell, cheap) in enumerate(batch, len(choice)):
            best = fit.best(list(range(len(cheap))))
            reference = fit.value(best)
            found[id(cell)] = {
                "chosen": [choice[half[0]].record["cell_id"] for half in best],
                "baseline_accuracy": float(reference[0]),
                **fit.compared(fit.own(at) - reference, scores[:, at] - fit.by_question(best)),
            }
    nothing = {"chosen": None, "baseline_accuracy": None, **NOT_COMPARED}
    return [
        {"task": cell.record["task"], "cell_id": cell.record["cell_id"], "cost": cost_of(cell.record, x)}
        | found.get(id(cell), nothing)
        for cell in others
    ]


def _budgets(there: Priced) -> list[dict[str, Any]]:
    """For every budget which series is the best: `{task, budget, cells, accuracy, n_questions, others}` and a paired
    difference.

    Budgets are the costs of a task's cells, rounded up to doublings. `cells` are the ids of the best cells at at most that
    cost on the first and on the second half of the questions, `accuracy` is that of the choice. The difference is to the
    best cells of other series, `others` (None where there are none), chosen in the same way. Empty where there is one
    series.
    """
    cells = [cell for _, cell in there]
    questions = shared_questions(cells) if cells else ()
    if len({cell.group for cell in cells}) < 2 or not splits(questions):
        return []
    fit = CrossFit(np.stack([scores_on(cell, questions) for cell in cells], 1), halves(questions))
    series = np.array([[cell.group for cell in cells].index(cell.group) for cell in cells])
    rows = []
    for budget in sorted({2 ** math.ceil(math.log2(cost)) for cost, _ in there if cost > 0}):
        among = [at for at, (cost, _) in enumerate(there) if cost <= budget]
        best = fit.best(among)
        value = fit.value(best)
        row = {
            "task": cells[0].record["task"],
            "budget": budget,
            "cells": [cells[half[0]].record["cell_id"] for half in best],
            "accuracy": {"value": float(value[0]), "ci95": percentile_interval(value[1:])},
            "others": None,
            **NOT_COMPARED,
            "n_questions": len(questions),
        }
        if len(set(series[among])) > 1:
            first, second = (series[among] == series[half][:, None] for half in best)
            rest = fit.best(among, other_than=(first, second))
            row["others"] = [cells[half[0]].record["cell_id"] for half in rest]
            row |= fit.compared(value - fit.value(rest), fit.by_question(best) - fit.by_question(rest))
        rows.append(row)
    return rows


def splits(questions: tuple) -> bool:
    """Whether there are questions in both halves."""
    return len(set(halves(questions).tolist())) == 2
