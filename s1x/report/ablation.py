"""Trainings compared: one row per trained model, one column per benchmark, as in the paper's Tables 2 and 8.

Each entry is the accuracy and, against the first model, the paired-bootstrap interval of the difference. With several training
seeds of a model the seeds are resampled along with the questions: the interval then holds what luck in training does, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..metrics.intervals import RESAMPLES, percentile_interval
from .load import Cell, job_directories, load_cells
from .markdown import table as markdown_table


def ablation(directory: Path) -> list[dict[str, Any]]:
    """The rows of the table, the reference first: `{model, task, seeds, accuracy, difference, ci95, thinking_tokens,
    examples, cut_share, steps, tokens, device_hours}`.

    `difference` and `ci95` are None for the reference; `tokens` are read in training, all epochs together.
    Empty where no job was trained, or one training was evaluated in several ways: that compares methods. Also written to
    `ablation.json`, and as a table to `ablation.md`, in `directory`.
    """
    groups: dict[tuple[str, str], list[tuple[Cell, dict[str, Any]]]] = {}
    for job in job_directories(directory):
        training = job / "training.json"
        if training.is_file():
            for cell in load_cells(job)[0]:  # one, or none where the evaluation did not finish
                key = (cell.record["task"], cell.record["model"])
                groups.setdefault(key, []).append((cell, json.loads(training.read_text())))
    if any(len({json.dumps(t["content"], sort_keys=True) for _, t in members}) < len(members) for members in groups.values()):
        return []
    rows = []
    for task in dict.fromkeys(task for task, _ in groups):
        members = {model: of for (t, model), of in groups.items() if t == task}
        reference = next(iter(members.values()))
        rows += [_row(model, task, of, None if of is reference else reference) for model, of in members.items()]
    if rows:
        (directory / "ablation.json").write_text(json.dumps(rows, indent=1) + "\n")
        head, *lines = _table(rows)
        (directory / "ablation.md").write_text(markdown_table(head, lines) + "\n")
    return rows


def _row(model: str, task: str, members: list[tuple[Cell, dict]], reference: list[tuple[Cell, dict]] | None) -> dict[str, Any]:
    cells, trainings = zip(*members, strict=True)
    row = {
        "model": model,
        "task": task,
        "seeds": len(cells),
        "accuracy": float(np.mean([c.scores.mean() for c in cells])),
        "difference": None,
        "ci95": None,
        "thinking_tokens": float(np.mean([c.record["thinking_tokens"]["mean"] for c in cells])),
        "examples": trainings[0]["data"]["examples"],
        "cut_share": trainings[0]["data"]["cut_share"],
        "steps": trainings[0]["steps"],
        "tokens": trainings[0]["data"]["tokens"] * trainings[0]["content"]["train"]["epochs"],
        "device_hours": float(np.mean([t["seconds"] * t["devices"] for t in trainings])) / 3600,
    }
    if reference is not None:
        row["difference"], row["ci95"] = difference([c for c, _ in reference], cells)
    return row


def difference(a: Sequence[Cell], b: Sequence[Cell], resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, list[float]]:
    """(mean(b) - mean(a), its 95% interval): questions are resampled in pairs, the seeds of a and of b each on their own."""
    shared = set.intersection(*(set(c.questions) for c in [*a, *b]))
    questions = [q for q in a[0].questions if q in shared]
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(questions), np.full(len(questions), 1 / len(questions)), size=resamples) / len(questions)

    def means(cells: Sequence[Cell]) -> tuple[float, np.ndarray]:
        scores = np.stack([_scores(c, questions) for c in cells], 1)  # questions x seeds
        weights = rng.multinomial(len(cells), np.full(len(cells), 1 / len(cells)), size=resamples) / len(cells)
        return float(scores.mean()), (counts @ scores * weights).sum(1)

    (mean_a, draws_a), (mean_b, draws_b) = means(a), means(b)
    return mean_b - mean_a, percentile_interval(draws_b - draws_a)


def _scores(cell: Cell, questions: Sequence[Any]) -> np.ndarray:
    place = {question: i for i, question in enumerate(cell.questions)}
    return cell.scores[[place[q] for q in questions]]


def print_ablation(rows: list[dict[str, Any]], console: Console | None = None) -> None:
    """The table for people: percent, differences in points."""
    title = f"Accuracy in % [95% of the difference to {rows[0]['model']}], thinking tokens"
    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    head, *lines = _table(rows)
    table.add_column(head[0], overflow="fold")
    for name in head[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(*map(escape, line))
    (console or Console()).print(table)


def _table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Head and lines as text."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = [["trained model", "examples", "cut", "seeds", *tasks, "tokens", "device hours"]]
    for model in dict.fromkeys(row["model"] for row in rows):
        own = {row["task"]: row for row in rows if row["model"] == model}
        first = next(iter(own.values()))
        lines.append([
            model, f"{first['examples']:,}", f"{first['cut_share']:.0%}", str(first["seeds"]),
            *(_entry(own[task]) if task in own else "-" for task in tasks), f"{first['tokens'] / 1e6:.2f}M",
            f"{first['device_hours']:.2f}",
        ])  # fmt: skip
    return lines


def _entry(row: dict[str, Any]) -> str:
    interval = "" if row["ci95"] is None else f" [{100 * row['ci95'][0]:+.1f}, {100 * row['ci95'][1]:+.1f}]"
    return f"{100 * row['accuracy']:.1f}{interval}, {row['thinking_tokens']:,.0f}"
