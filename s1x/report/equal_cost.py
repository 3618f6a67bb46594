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

from ..metrics.crossfit import chosen, halves, measured
from ..metrics.intervals import percentile_interval, resampled_means
from ..metrics.significance import corrected
from .compare import NOT_COMPARED, paired, scores_on, shared_questions
from .labels import series_names
from .load import Cell


class UnknownSeries(ValueError):
    """`report.baseline` names a series that is not there. The message is one sentence."""


def equal_cost(cells: list[Cell], baseline: str, x: str) -> dict[str, Any]:
    """`{baseline, x, cells, budgets}`.

    baseline: a series as tables call it. Of every other cell `cells` has `{task, cell_id, cost, chosen, baseline_accuracy}`
    and its paired difference (`compare.paired`, with `p_holm` over all rows); `chosen` are the ids of the baseline's cells
    that count for the first and for the second half of the questions, None where none is as cheap. `budgets`: see `_best`.
    Costs are those of a mean question. Raises UnknownSeries.
    """
    names = series_names([cell.record for cell in cells])
    if baseline not in names.values():
        raise UnknownSeries(
            f"report.baseline={baseline}: there is no such series; valid are {', '.join(sorted(set(names.values())))}"
        )
    there = sorted(
        ((cost, cell) for cell in cells if (cost := cost_of(cell.record, x)) is not None and cell.questions), key=_first
    )
    rows, pairs = [], []
    for cell in (cell for cell in cells if names[cell.group] != baseline):
        cost = cost_of(cell.record, x)
        cheap = [c for at, c in there if names[c.group] == baseline and c.group[0] == cell.group[0] and at <= (cost or 0)]
        reference = _measured(cheap, [cell]) if cheap and cell.questions and cost is not None else None
        row = {"task": cell.record["task"], "cell_id": cell.record["cell_id"], "cost": cost, "chosen": None}
        if reference:
            questions, picked, scores = reference
            row |= {"chosen": [cheap[at].record["cell_id"] for at in picked], "baseline_accuracy": float(scores.mean())}
            pairs.append((questions, scores, scores_on(cell, questions)))
        rows.append(row)
    found = iter(paired(pairs))
    rows = [row | (next(found) if row["chosen"] else {"baseline_accuracy": None, **NOT_COMPARED}) for row in rows]
    tasks = dict.fromkeys(cell.record["task"] for _, cell in there)
    budgets = [row for task in tasks for row in _best([(at, c) for at, c in there if c.group[0] == task])]
    return {"baseline": baseline, "x": x, "cells": corrected(rows), "budgets": corrected(budgets)}


def cost_of(record: dict[str, Any], x: str) -> float | None:
    """Mean tokens (or operations) of a cell per question and sample; 0 when it does not think, None where it is not known."""
    if x == "thinking_tokens":
        return record["thinking_tokens"]["mean"]
    total = record.get(x)
    return total / (record["n_questions"] * record["samples_per_question"]) if total else None


def _best(there: list[tuple[float, Cell]]) -> list[dict[str, Any]]:
    """For every budget which series is the best: `{task, budget, cells, accuracy, n_questions, others}` and a paired
    difference.

    there: the cells of one task with their costs, cheapest first. Budgets are their costs, rounded up to doublings. `cells`
    are the ids of the best cells at at most that cost for the first and the second half of the questions, `accuracy` is that
    of the choice. The difference is to the best cells of other series, `others` (None where there are none), chosen in the
    same way.
    """
    cells = [cell for _, cell in there]
    questions = shared_questions(cells) if cells else ()
    half = halves(questions)
    if len({cell.group for cell in cells}) < 2 or not half.any() or half.all():
        return []
    scores = np.stack([scores_on(cell, questions) for cell in cells], 1)
    rows, columns, pairs = [], [], []
    for budget in sorted({2 ** math.ceil(math.log2(cost)) for cost, _ in there if cost > 0}):
        among = [at for at, (cost, _) in enumerate(there) if cost <= budget]
        best = chosen(scores, half, among)
        rest = [[at for at in among if cells[at].group != cells[winner].group] for winner in best]
        second = (chosen(scores, half, rest[0])[0], chosen(scores, half, rest[1])[1]) if all(rest) else None
        columns.append(measured(scores, half, best))
        if second:
            pairs.append((questions, measured(scores, half, second), columns[-1]))
        ids = [[cells[at].record["cell_id"] for at in both] if both else None for both in (best, second)]
        rows.append(
            {"task": cells[0].group[0], "budget": budget, "cells": ids[0], "others": ids[1], "n_questions": len(questions)}
        )
    if not rows:
        return []
    draws, found = resampled_means(np.stack(columns, 1)), iter(paired(pairs))
    for row, column, replicates in zip(rows, columns, draws.T, strict=True):
        row["accuracy"] = {"value": float(column.mean()), "ci95": percentile_interval(replicates)}
        row |= next(found) if row["others"] else NOT_COMPARED | {"n_questions": len(questions)}
    return rows


def _measured(cheap: list[Cell], beside: list[Cell]) -> tuple[tuple, tuple[int, int], np.ndarray] | None:
    """(questions that all answered, which of `cheap` are chosen, per-question scores of that choice), None where a half is
    empty."""
    questions = shared_questions([*beside, *cheap])
    half = halves(questions)
    if not half.any() or half.all():
        return None
    scores = np.stack([scores_on(cell, questions) for cell in cheap], 1)
    picked = chosen(scores, half)
    return questions, picked, measured(scores, half, picked)


def _first(pair: tuple[float, Cell]) -> float:
    return pair[0]
