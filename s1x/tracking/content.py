"""What runs hold, from result files alone: points, metrics, votes and samples as tables, files as artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ..report.equal_cost import cost_of
from ..report.labels import group, pool_names, series_names
from ..report.traces import question_text
from . import names
from .runs import wandb

CELL = ("task", "series", "model", "method", "cell_id", "seed", "temperature", "budget", "forced_end_rate")
COLUMNS = (
    "label", *CELL, "waits", "accuracy", "accuracy_lo", "accuracy_hi", "thinking_tokens", "path_tokens", "flops"
)  # fmt: skip
VOTES = ("label", "task", "cell_id", "k", "path_tokens", "accuracy", "accuracy_lo", "accuracy_hi")
KINDS = {"maj": "most frequent answer", "pass": "any answer is right", "best": "most likely", "reward_best": "highest reward"}
METRICS = ("control", "scaling", "performance")
FILES = ("summary.json", "summary.md", "cells.csv", "scaling.png", "scaling.svg", "scaling.pdf")  # of a sweep
WITH_TRACES = "report.html"
SAMPLE = ("question", "target", "extracted", "score", "thinking_tokens", "waits", "end", "trace")
LONGEST = 4000  # characters of a text in a table
USED = 200  # cells whose artifacts a sweep's run is linked with: each is a question to the server


def measures(record: Mapping[str, Any]) -> dict[str, Any]:
    """The point of a cell: accuracy with its interval, tokens and operations for each question and sample, Wait."""
    low, high = record.get("accuracy_ci95") or (None, None)
    return {
        "accuracy": record["accuracy"],
        "accuracy_lo": low,
        "accuracy_hi": high,
        "thinking_tokens": record["thinking_tokens"]["mean"],
        "path_tokens": _cost(record, "path_tokens"),
        "flops": _cost(record, "flops"),
        "waits": record.get("waits_mean"),
    }


def told(record: Mapping[str, Any]) -> dict[str, Any]:
    """The rest of a cell's record for its summary, flat: no key is the beginning of another, and totals say that they are."""
    moved = {"thinking_tokens": "thinking", "path_tokens": "total.path_tokens", "flops": "total.flops"}
    return flat({moved.get(key, key): value for key, value in record.items() if key not in ("settings", "accuracy")})


def _cost(record: Mapping[str, Any], x: str) -> float | None:
    return cost_of(dict(record), x) if {"n_questions", "samples_per_question"} <= record.keys() else None


def points(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row of COLUMNS for each cell, series by series. `label` is what the figure calls the series, with the task where
    there are several."""
    labels = _labels(records)
    rows = [{"label": labels[group(r)]} | {key: r.get(key) for key in CELL} | measures(r) for r in records]
    order = list(dict.fromkeys(labels.values()))
    return sorted(rows, key=lambda row: (order.index(row["label"]), row["thinking_tokens"] or 0))


def _labels(records: list[dict[str, Any]]) -> dict[tuple[str, str, str], str]:
    several = len({r["task"] for r in records}) > 1
    return {own: f"{name} ({own[0]})" if several else name for own, name in series_names(records).items()}


def votes(summary: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By kind of vote (KINDS) one row of VOTES for each pool and number of samples. Kinds that are known of whole pools alone
    are left out: they make no curve."""
    records = {r["cell_id"]: r for r in summary["cells"]}
    called = pool_names(summary["cells"])
    most = {row["cell_id"]: row["k"] for row in sorted(summary["pools"], key=lambda row: row["k"])}
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, row in ((kind, row) for kind in KINDS for row in summary["pools"] if row.get(kind)):
        own, k = row["cell_id"], row["k"]
        tokens = _cost(records[own], "path_tokens")
        low, high = row[kind].get("ci95") or (None, None)
        place = {"label": called[own], "task": records[own]["task"], "cell_id": own, "k": k}
        place["path_tokens"] = tokens * k / most[own] if tokens else None
        measured = {"accuracy": row[kind]["value"], "accuracy_lo": low, "accuracy_hi": high}
        found.setdefault(f"votes_{kind}", []).append(place | measured)
    return found


def metrics(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Control, Scaling and Performance of each series, each with its interval."""
    rows = []
    for metric in summary["metrics"]:
        row = {key: metric[key] for key in ("task", "model", "series")}
        for key in METRICS:
            found = metric.get(key) or {}
            low, high = found.get("ci95") or (None, None)
            row |= {key: found.get("value"), f"{key}_lo": low, f"{key}_hi": high}
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Any:
    made = wandb().Table(columns=list(columns), allow_mixed_types=True)
    for row in rows:
        made.add_data(*(row.get(column) for column in columns))
    return made


def samples(directory: Path, most: int) -> list[dict[str, Any]]:
    """The first lines of a cell's samples as rows of SAMPLE."""
    return [_sample(line) for path in sorted(directory.glob("samples_*.jsonl"))[:1] for line in islice(_lines(path), most)]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _sample(line: dict[str, Any]) -> dict[str, Any]:
    traces = line.get("samples") or [line]
    texts = ("".join(s["text"] for s in trace.get("segments") or []) or str(trace.get("text") or "") for trace in traces)
    row = {key: line.get(key) for key in ("score", "thinking_tokens", "waits", "end")}
    row |= {"question": _short(question_text(line)), "target": _short(str(line.get("target", "")))}
    extracted = line.get("extracted")
    return row | {"extracted": None if extracted is None else str(extracted), "trace": _short("\n\n---\n\n".join(texts))}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def cell_artifact(directory: Path, record: Mapping[str, Any], *, with_samples: bool) -> Any:
    """The files of a cell."""
    made = wandb().Artifact(names.artifact(str(record["cell_id"])), type="cell", metadata=measures(record))
    patterns = ("cell.json", "results.json", *(["samples_*.jsonl"] if with_samples else []))
    for path in (path for pattern in patterns for path in sorted(directory.glob(pattern))):
        made.add_file(str(path), name=path.name, policy="immutable")  # links, no copies
    return made


def sweep_artifact(directory: Path, name: str, *, with_samples: bool) -> Any:
    """The files of a sweep; its page, which has the traces, only with them."""
    made = wandb().Artifact(names.artifact(name), type="sweep")
    for path in (directory / name for name in (*FILES, *([WITH_TRACES] if with_samples else []))):
        if path.is_file():
            made.add_file(str(path), name=path.name, policy="immutable")
    return made


def model_artifact(folder: Path) -> Any | None:
    """A model that was trained here: what it was made from and how that went; its weights as a reference to where they are.
    None for other models."""
    if not (folder / "training.json").is_file():
        return None
    made = wandb().Artifact(names.artifact(folder.name), type="model")
    for path in (folder / name for name in ("training.json", "log.jsonl", "README.md", "config.json")):
        if path.is_file():
            made.add_file(str(path), name=path.name, policy="immutable")
    made.add_reference(f"file://{folder.absolute()}", name="weights", checksum=False)
    return made


def use(run: Any, artifact: Any) -> None:
    """Say that a run is made from an artifact, which is logged with it where it is not there yet.

    `run.use_artifact` refuses offline runs, and waits without end for the server; this is what it does before that.
    """
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)


def flat(node: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested numbers as `a.b` keys, the way W&B shows summaries."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            found |= flat(value, f"{path}{key}.")
        else:
            found[path + key] = value
    return found
