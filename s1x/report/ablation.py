"""Trainings compared: one row per trained model, one column per benchmark, as in the paper's Tables 2 and 8.

Each entry is the accuracy and, against the first model, the paired-bootstrap interval of the difference. With several
training seeds of a model the seeds are resampled along with the questions: the interval then holds what luck in training
does, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..metrics.intervals import RESAMPLES, percentile_interval, verdict
from ..metrics.significance import corrected
from .compare import NOT_COMPARED
from .load import Cell


def ablation(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The rows of the table, the reference first: `{model, task, seeds, accuracy, difference, ci95, thinking_tokens,
    examples, cut_share, steps, tokens, device_hours}` and the verdict on the difference (intervals.verdict; `p_holm` over
    all rows).

    `difference`, `ci95` and the verdict are None for the reference; `tokens` are read in training, all epochs together.
    Empty where no job was trained, or one training was evaluated in several ways: that compares methods.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.training and cell.questions:
            groups.setdefault((cell.record["task"], cell.record["model"]), []).append(cell)
    if any(len({json.dumps(c.training["content"], sort_keys=True) for c in of}) < len(of) for of in groups.values()):
        return []
    rows = []
    for task in dict.fromkeys(task for task, _ in groups):
        members = {model: of for (t, model), of in groups.items() if t == task}
        reference = next(iter(members.values()))
        rows += [_row(model, task, of, None if of is reference else reference) for model, of in members.items()]
    return corrected(rows)


def _row(model: str, task: str, cells: list[Cell], reference: list[Cell] | None) -> dict[str, Any]:
    trainings = [cell.training for cell in cells]
    row = {
        "model": model,
        "task": task,
        "seeds": len(cells),
        "accuracy": float(np.mean([c.scores.mean() for c in cells])),
        **{key: value for key, value in NOT_COMPARED.items() if key != "n_questions"},
        "thinking_tokens": float(np.mean([c.record["thinking_tokens"]["mean"] for c in cells])),
        "examples": trainings[0]["data"]["examples"],
        "cut_share": trainings[0]["data"]["cut_share"],
        "steps": trainings[0]["steps"],
        "tokens": trainings[0]["data"]["tokens"] * trainings[0]["content"]["train"]["epochs"],
        "device_hours": float(np.mean([t["seconds"] * t["devices"] for t in trainings])) / 3600,
    }
    if reference is not None and _shared([*reference, *cells]):
        value, draws, own = replicates(reference, cells)
        row |= {"difference": value, "ci95": percentile_interval(draws)} | verdict(draws, own)
    return row


def difference(a: Sequence[Cell], b: Sequence[Cell], resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, list[float]]:
    """(mean(b) - mean(a), its 95% interval): questions are resampled in pairs, the seeds of a and of b each on their own."""
    value, draws, _ = replicates(a, b, resamples, seed)
    return value, percentile_interval(draws)


def replicates(
    a: Sequence[Cell], b: Sequence[Cell], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, np.ndarray, np.ndarray | None]:
    """(mean(b) - mean(a), its bootstrap replicates, the questions' differences where both have one seed)."""
    questions = _shared([*a, *b])
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(questions), np.full(len(questions), 1 / len(questions)), size=resamples) / len(questions)

    def means(cells: Sequence[Cell]) -> tuple[float, np.ndarray]:
        scores = np.stack([_scores(c, questions) for c in cells], 1)  # questions x seeds
        weights = rng.multinomial(len(cells), np.full(len(cells), 1 / len(cells)), size=resamples) / len(cells)
        return float(scores.mean()), (counts @ scores * weights).sum(1)

    (mean_a, draws_a), (mean_b, draws_b) = means(a), means(b)
    own = _scores(b[0], questions) - _scores(a[0], questions) if len(a) == len(b) == 1 else None
    return mean_b - mean_a, draws_b - draws_a, own


def _shared(cells: Sequence[Cell]) -> list[Any]:
    """Questions that all cells answered."""
    shared = set.intersection(*(set(c.questions) for c in cells))
    return [question for question in cells[0].questions if question in shared]


def _scores(cell: Cell, questions: Sequence[Any]) -> np.ndarray:
    place = {question: i for i, question in enumerate(cell.questions)}
    return cell.scores[[place[q] for q in questions]]
