"""Paired comparisons between cells of one task: what a larger budget, an ignored end or another model changes.

Every comparison is the mean difference over the questions that both cells answered, with a bootstrap interval over questions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..metrics.intervals import paired_differences
from ..metrics.significance import corrected
from .load import Cell, conditions, points

NOT_COMPARED = dict.fromkeys(("difference", "ci95", "n_questions", "p", "p_bootstrap", "p_mcnemar", "smallest_difference"))
Pair = tuple[tuple, np.ndarray, np.ndarray]  # questions, and the scores of a and b on them


def comparisons(cells: list[Cell], seed: int = 0, pairs: list[tuple[str, Cell, Cell]] | None = None) -> list[dict[str, Any]]:
    """`{kind, task, a, b}` with cell ids a and b, and what `paired` says of accuracy(b) - accuracy(a).

    kind: labels.COMPARED. `p_holm` is corrected over the steps between budgets, and over all others: two tables. pairs: those
    to compare, instead of the ones that a sweep's cells make.
    """
    if pairs is None:
        means = [_mean(point) for point in points(cells)]
        pairs = [pair for task in dict.fromkeys(c.record["task"] for c in means) for pair in _pairs(_of_task(means, task))]
    asked = [(shared_questions([a, b]), kind, a, b) for kind, a, b in pairs]
    asked = [one for one in asked if one[0]]
    found = paired([(questions, scores_on(a, questions), scores_on(b, questions)) for questions, _, a, b in asked], seed)
    rows = [
        {"kind": kind, "task": a.record["task"], "a": a.record["cell_id"], "b": b.record["cell_id"], **row}
        for (_, kind, a, b), row in zip(asked, found, strict=True)
    ]
    tables = [iter(corrected([row for row in rows if (row["kind"] == "step") == step])) for step in (False, True)]
    return [next(tables[row["kind"] == "step"]) for row in rows]


def paired(pairs: Sequence[Pair], seed: int = 0) -> list[dict[str, Any]]:
    """`intervals.paired_differences` of each pair; those on the same questions are resampled together."""
    batches: dict[tuple, list[int]] = {}
    for number, (questions, _, _) in enumerate(pairs):
        batches.setdefault(questions, []).append(number)
    rows: dict[int, dict[str, Any]] = {}
    for numbers in batches.values():
        a, b = (np.stack([pairs[n][side] for n in numbers], 1) for side in (1, 2))
        rows |= dict(zip(numbers, paired_differences(a, b, seed=seed), strict=True))
    return [rows[number] for number in range(len(pairs))]


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
        if capped := [c for c in members if c.ignored_ends == 0]:  # in order of budget (load.py)
            natural[group] = capped[-1]
    for group, members in series.items():
        of_model = [g for g in natural if g[:2] == group[:2]]
        end = natural.get(group) or (natural[max(of_model, key=lambda g: len(series[g]))] if of_model else None)
        for alike in _alike(members):
            capped = [c for c in alike if c.ignored_ends == 0]
            budgets = [c for c in capped if c.record.get("budget") is not None or c is capped[-1]]
            for a, b in zip(budgets, budgets[1:], strict=False):
                yield "step", a, b
            if len(budgets) > 2:
                yield "ends", budgets[0], budgets[-1]
            for cell in alike:
                if cell.ignored_ends and (own := capped[-1] if capped else end) is not None:
                    yield "extended", own, cell
    if natural:
        main = max(natural, key=lambda group: len(series[group]))
        for group, cell in natural.items():
            if group != main:
                yield "reference", natural[main], cell


def _alike(members: list[Cell]) -> list[list[Cell]]:
    """The cells of a series by what is set beside budgets and ignored ends."""
    keys, found = conditions(members), {}
    for cell in members:
        found.setdefault(json.dumps([cell.record["settings"].get(key) for key in keys]), []).append(cell)
    return list(found.values())


def _mean(cells: list[Cell]) -> Cell:
    """Cells of several seeds as one, with the first one's record, on the questions that all answered."""
    if len(cells) == 1 or not (questions := shared_questions(cells)):
        return cells[0]
    scores, tokens = (np.mean([scores_on(c, questions, of) for c in cells], 0) for of in ("scores", "tokens"))
    return replace(cells[0], questions=list(questions), scores=scores, tokens=tokens)
