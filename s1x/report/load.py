"""Cells back from their files: records, per-question scores and tokens, stream reads, and texts for the trace browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..cell import SUBMITTED
from ..metrics.intervals import question_means
from ..metrics.obedience import line_obedience
from . import traces
from .labels import complete, group, ignored_ends, parted, varying

SEEDS = ("seed", "train.seed")
FOLLOWS = ("model.path", "model.revision", "model.tokenizer")  # the training that a seed is of


@dataclass
class Cell:
    """One measured cell: its record, and per question (in `questions` order) mean score and mean thinking tokens."""

    record: dict[str, Any]
    questions: list[Any] = field(default_factory=list)
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))
    tokens: np.ndarray = field(default_factory=lambda: np.empty(0))
    samples: np.ndarray = field(default_factory=lambda: np.empty(0))  # of each question, and the variance of their scores
    within: np.ndarray = field(default_factory=lambda: np.empty(0))
    obedience: np.ndarray | None = None  # (questions, 2), metrics.obedience.NAMES, where the prompt names a length
    targets: dict[Any, str] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)  # stream key -> most tokens read
    traces: list[dict[str, Any]] = field(default_factory=list)  # of every line, see traces.shown
    votes: list[dict[str, dict[str, float]]] = field(default_factory=list)  # of pools, per line: {maj: {k: ...}, ...}
    longer: np.ndarray = field(default_factory=lambda: np.empty(0))  # of pools, per line: tokens of wrong less right samples
    training: dict[str, Any] | None = None  # training.json, of a cell whose job trained its model

    @property
    def group(self) -> tuple[str, str, str]:
        return group(self.record)

    @property
    def ignored_ends(self) -> int:
        return ignored_ends(self.record)


def load_cells(*directories: Path) -> tuple[list[Cell], list[str]]:
    """All cells of sweep directories (or of single jobs'), identical ones once, and a sentence per job that is not whole."""
    cells: list[Cell] = []
    problems: list[str] = []
    seen: set[Any] = set()
    for directory, job in ((directory, job) for directory in directories for job in job_directories(directory)):
        name = job.relative_to(directory).as_posix() if len(directories) == 1 else str(job)
        try:
            record = json.loads((job / "cell.json").read_text(encoding="utf-8"))
            record["task"], record["model"], record["series"], record["accuracy"], record["thinking_tokens"]["mean"]  # noqa: B018
        except FileNotFoundError:
            problems.append(f"job {name} has no cell.json: it did not finish")
            continue
        except (ValueError, KeyError, TypeError):
            problems.append(f"job {name}: cell.json is cut short or lacks keys")
            continue
        if not seen.isdisjoint(_identities(record)):
            continue
        seen |= _identities(record)
        training = job / "training.json"
        cell = Cell(complete(record), training=json.loads(training.read_text("utf-8")) if training.is_file() else None)
        problems += [f"job {name}: {problem}" for problem in _read_samples(cell, job)]
        cells.append(cell)
    return _in_order(cells), problems


def job_directories(directory: Path) -> list[Path]:
    """Directories of jobs (with a cell.json or a hydra record) below `directory`, else `directory` itself; 2 before 10.

    A job that made several cells (an import) is its cells.
    """
    found = {pattern: {path.parent for path in directory.rglob(pattern)} for pattern in ("cell.json", ".hydra")}
    cells, jobs = ({job for job in paths if SUBMITTED not in job.relative_to(directory).parts} for paths in found.values())
    all_jobs = cells | jobs - {above for cell in cells for above in cell.parents}
    below = all_jobs - {directory}
    return sorted(below or all_jobs, key=lambda path: _natural(path.relative_to(directory).as_posix()))


def _read_samples(cell: Cell, job: Path) -> list[str]:
    """Fill in the cell from its sample file, line by line (files of long traces do not fit in memory at once)."""
    paths = sorted(job.glob("samples_*.jsonl"))
    if not paths:
        return ["no samples file: intervals, comparisons and traces leave it out"]
    columns: list[tuple[Any, float, float]] = []  # tokens that are not known are nan
    instructed = cell.record["declared"].get("instructed")
    obedience: list[tuple[float, float]] = []
    longer: list[float] = []
    size = torn = 0
    for line in _lines(paths[0]):
        if line is None:
            torn += 1
            continue
        tokens = line["thinking_tokens"]
        columns.append((line["doc_id"], line["score"], np.nan if tokens is None else tokens))
        if instructed:
            obedience.append(line_obedience(line, instructed))
        cell.targets[line["doc_id"]] = str(line.get("target", ""))
        for key, read in (line.get("reads") or {}).items():
            cell.reads[key] = max(read, cell.reads.get(key, 0))
        if "votes" in line:
            cell.votes.append(line["votes"])
            longer.append(_longer(line.get("samples") or []))
        cell.traces.append(traces.shown(line, text=size < traces.CELL_BYTES))
        size += traces.size(cell.traces[-1])
    questions, scores, tokens = zip(*columns, strict=True) if columns else ((), (), ())
    cell.questions, cell.scores, cell.samples = question_means(questions, scores)
    _, squares, _ = question_means(questions, np.square(scores))
    cell.within = (squares - cell.scores**2) * cell.samples / np.maximum(cell.samples - 1, 1)
    _, cell.tokens, _ = question_means(questions, tokens)
    cell.longer = np.array(longer)
    if obedience:
        cell.obedience = np.stack([question_means(questions, values)[1] for values in zip(*obedience, strict=True)], 1)
    problems = [f"{torn} of the lines in {paths[0].name} cannot be read"] if torn else []
    if len(cell.questions) != cell.record.get("n_questions"):
        problems.append(f"{paths[0].name} has {len(cell.questions)} questions, its record {cell.record.get('n_questions')}")
    return problems


def _longer(samples: list[dict[str, Any]]) -> float:
    """Mean thinking tokens of the wrong samples less those of the right ones; nan where there are not both, or not known."""
    right, wrong = ([s["thinking_tokens"] for s in samples if (s["score"] == 1) == good] for good in (True, False))
    return float(np.mean(wrong) - np.mean(right)) if right and wrong and None not in right + wrong else np.nan


def _lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """Sample lines; None for one that is cut short or lacks what is measured."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in filter(str.strip, file):
            try:
                line = json.loads(text)
                line["doc_id"], float(line["score"]), float(line["thinking_tokens"] or 0)
            except (ValueError, KeyError, TypeError):
                yield None
            else:
                yield line


def _identities(record: dict[str, Any]) -> set[Any]:
    """Names under which a cell is the same: its id, and what was set (a cell that does not say this: what it was called)."""
    keys = ("model", "task", "method", "series", "overrides", "seed", "temperature", "budget", "limit_tokens")
    named = {key: record.get(key) for key in keys} | {"overrides": sorted(record.get("overrides") or [])}
    methods = [record.get("method"), record.get("series")]  # which may have the same settings, as their inner ones may
    said = json.dumps([*methods, record.get("settings") or named], sort_keys=True)
    return {said} | ({record["cell_id"]} if record.get("cell_id") else set())


def _in_order(cells: list[Cell]) -> list[Cell]:
    """Rows of every table: task by task, series as they were run; in a series caps first, then extensions."""
    tasks = {task: rank for rank, task in enumerate(dict.fromkeys(cell.record["task"] for cell in cells))}
    groups = {group: rank for rank, group in enumerate(dict.fromkeys(cell.group for cell in cells))}

    def key(cell: Cell) -> tuple:
        budget = cell.record.get("budget")
        return (tasks[cell.record["task"]], groups[cell.group], cell.ignored_ends, budget is None, budget or 0)

    return sorted(cells, key=key)  # stable: cells that differ in something else stay in job order


def points(cells: list[Cell]) -> list[list[Cell]]:
    """Cells that differ in seeds only (and in the path of the model that a seed's training made) are one point: their mean."""
    found: dict[Any, list[Cell]] = {}
    for cell in cells:
        left_out = SEEDS + FOLLOWS if cell.training else SEEDS
        own = {key: value for key, value in cell.record["settings"].items() if key not in left_out}
        found.setdefault(json.dumps([cell.group, own], sort_keys=True) if own else cell.record["cell_id"], []).append(cell)
    return list(found.values())


def part_series(cells: list[Cell]) -> None:
    """Where cells of a series were sampled, answered or scored in different ways, each way is a series of its own: a curve is
    along what a method varies."""
    for own in dict.fromkeys(cell.group for cell in cells):
        members = [cell for cell in cells if cell.group == own]
        keys = [key for key in conditions(members) if key.startswith(("sampling.", "answer.")) or key == "scorer.name"]
        for cell in members if keys else ():
            cell.record = parted(cell.record, keys)
    cells[:] = _in_order(cells)


def conditions(cells: list[Cell]) -> list[str]:
    """Settings that cells of one series differ in beside their budgets, ignored ends and seeds."""
    records = [cell.record for cell in cells if cell.record["settings"]]
    at = [(r.get("budget"), ignored_ends(r)) for r in records]

    def along(key: str) -> bool:
        """Whether budget and ignored ends say what the setting is."""
        return len({(*place, json.dumps(r["settings"].get(key))) for place, r in zip(at, records, strict=True)}) == len(set(at))

    return [key for key in varying(records) if key not in SEEDS + FOLLOWS and not along(key)]


def _natural(text: str) -> list[tuple[int, Any]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text) if part]
