"""Paired comparisons between cells of one task: what a larger budget, an ignored end or another model changes.

Every comparison is the mean difference over the questions that both cells answered, with a bootstrap interval over questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..metrics.intervals import paired_differences
from .load import Cell


def comparisons(cells: list[Cell], seed: int = 0) -> list[dict[str, Any]]:
    """`{kind, task, a, b, difference, ci95, n_questions}` with cell ids a and b and difference = accuracy(b) - accuracy(a).

    kind: labels.COMPARED.
    """
    pairs = [pair for task in dict.fromkeys(c.record["task"] for c in cells) for pair in _pairs(_of_task(cells, task))]
    batches: dict[tuple, list[int]] = {}
    for number, (_, a, b) in enumerate(pairs):
        if shared := tuple(q for q in a.questions if q in set(b.questions)):
            batches.setdefault(shared, []).append(number)
    rows: dict[int, dict[str, Any]] = {}
    for questions, numbers in batches.items():  # pairs on the same questions are resampled together
        a, b = (np.stack([scores_on(pairs[n][side], questions) for n in numbers], 1) for side in (1, 2))
        rows |= dict(zip(numbers, paired_differences(a, b, seed=seed), strict=True))
    return [
        {"kind": kind, "task": a.record["task"], "a": a.record["cell_id"], "b": b.record["cell_id"], **rows[number]}
        for number, (kind, a, b) in enumerate(pairs)
        if number in rows
    ]


def scores_on(cell: Cell, questions: tuple, values: str = "scores") -> np.ndarray:
    """The cell's per-question `scores` or `tokens` in the order of `questions`."""
    row = {q: i for i, q in enumerate(cell.questions)}
    return getattr(cell, values)[[row[q] for q in questions]]


def shared_questions(cells: list[Cell]) -> tuple:
    """Questions that all cells answered, in the order of the first cell."""
    common = set.intersection(*(set(c.questions) for c in cells))
    return tuple(q for q in cells[0].questions if q in common)


def _of_task(cells: list[Cell], task: str) -> list[Cell]:
    return [cell for cell in cells if cell.record["task"] == task]


def _pairs(cells: list[Cell]) -> Iterator[tuple[str, Cell, Cell]]:
    """Pairs of one task; the reference of other series is the natural end (largest budget, nothing ignored) of the largest.

    A series that only ignores ends (another string) is compared with the natural end of its model's largest series.
    """
    series: dict[tuple, list[Cell]] = {}
    for cell in cells:
        series.setdefault(cell.group, []).append(cell)
    natural: dict[tuple, Cell] = {}
    for group, members in series.items():
        capped = [c for c in members if c.ignored_ends == 0]  # in order of budget (load.py)
        if not capped:
            continue
        natural[group] = capped[-1]
        budgets = [c for c in capped if c.record.get("budget") is not None or c is capped[-1]]
        for a, b in zip(budgets, budgets[1:], strict=False):
            yield "step", a, b
        if len(budgets) > 2:
            yield "ends", budgets[0], budgets[-1]
    for group, members in series.items():
        of_model = [g for g in natural if g[:2] == group[:2]]
        end = natural.get(group) or (natural[max(of_model, key=lambda g: len(series[g]))] if of_model else None)
        for cell in members:
            if cell.ignored_ends and end is not None:
                yield "extended", end, cell
    if natural:
        main = max(natural, key=lambda group: len(series[group]))
        for group, cell in natural.items():
            if group != main:
                yield "reference", natural[main], cell
