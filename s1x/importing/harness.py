"""lm-eval's `samples_*.jsonl` with the results file beside them, as every version from 0.4.0 on writes them.

What changed: until 0.4.2 the samples are one JSON list in `<model arguments>_<task>.jsonl` beside `results.json`; from 0.4.3
on lines of `samples_<task>_<date>.jsonl` beside `results_<date>.json`, with hashes, and arguments as objects. Later lines name
their `filter` and `metrics`; before, a document has one line for each filter, in the order of the results.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SettingError
from . import files
from .rows import Read, Row, named, point, question, taken

OWN = (
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash",
    "target_hash",
)  # fmt: skip
NO_ANSWER = ("[invalid]", "")
_NAME = re.compile(r"samples_(.+)_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)")
_MODEL = re.compile(r"(?:^|,)(?:pretrained|model)=([^,]+)")


def read(path: Path, settings: Mapping[str, Any]) -> Read:
    """The answers of one task: those that one filter read, with one metric as their score.

    Raises SettingError where a line is none of lm-eval's, or filter or metric is not there.
    """
    placed = list(files.rows(path))
    for where, line in placed:
        if missing := [key for key in ("doc_id", "target", "resps", "filtered_resps") if key not in line]:
            raise SettingError(
                f"{where} has no {missing[0]}, so it is none of lm-eval's samples; import.format=table is for other tables"
            )
        if wrong := [key for key in ("resps", "filtered_resps") if not isinstance(line[key], list)]:
            raise SettingError(f"{where}: {wrong[0]}={str(line[wrong[0]])[:80]}: must be a list, as lm-eval writes it")
    task, date, results = _beside(path)
    metrics = (results.get("results") or {}).get(task, {})
    filters = [_filter(lines, metrics) for lines in _by_document([line for _, line in placed])]
    chosen = settings["filter"] or filters[0]
    if chosen not in filters:
        raise SettingError(f"import.filter={chosen}: {path} has {', '.join(dict.fromkeys(filters))}")
    placed = [one for one, name in zip(placed, filters, strict=True) if name == chosen]
    metrics_there = _metrics(placed[0][1])
    metric = settings["metric"] or metrics_there[0]
    said = {"model": _model(path, results), "task": task} | _settings(task, date, results) | named(path, settings["names"])
    rows = [row for where, line in placed for row in _rows(where, line, metric, said, settings)]
    read = Read(path, rows, metric, taken={"filter": taken(chosen, filters), "metric": taken(metric, metrics_there)})
    told, scores = metrics.get(f"{metric},{chosen}"), [row.score for row in rows]
    if isinstance(told, int | float) and None not in scores and abs(told - sum(scores) / len(scores)) > 1e-9:
        read.notes.append(f"{path}: its results file says {metric} {told:.6g}, its samples {sum(scores) / len(scores):.6g}")
    return read


def _beside(path: Path) -> tuple[str, str | None, dict[str, Any]]:
    """(task, date, what the results file of the same run says: {} where there is none)."""
    name = files.stem(path)
    if match := _NAME.fullmatch(name):
        task, date = match.groups()
        beside = sorted(path.parent.glob(f"*_{date}.json"))
    else:
        task, date = name.removeprefix("samples_"), None
        beside = [path.parent / "results.json"]
    results = next((found for found in map(_json, beside) if found), {})
    if date is None:  # the name begins with the model's arguments
        known = [key for key in results.get("results") or {} if name.endswith(f"_{key}")]
        task = max(known, key=len, default=task)
    return task, date, results


def _json(path: Path) -> dict[str, Any]:
    """A results file; {} where there is none. Raises SettingError where it is not as lm-eval writes it."""
    try:
        found = files.parsed(path.read_text(encoding="utf-8"), "it")
        if not isinstance(found, dict):
            return {}
        told = found.get("results") or {}
        nested = [(key, found.get(key) or {}) for key in ("results", "config", "n-shot")]
        nested += [(f"results.{task}", measures) for task, measures in told.items()] if isinstance(told, dict) else []
        if wrong := [(key, value) for key, value in nested if not isinstance(value, dict)]:
            key, value = wrong[0]
            raise ValueError(f"{key}={str(value)[:80]}: must be an object, as lm-eval writes it")
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise SettingError(f"import.files: {path}, which belongs to the samples beside it, cannot be read ({error})") from error
    return found


def _by_document(lines: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Each line with how many lines of its document there were before."""
    seen: Counter[str] = Counter()
    counted = []
    for line in lines:
        key = str(line["doc_id"])
        counted.append((line, seen[key]))
        seen[key] += 1
    return counted


def _filter(counted: tuple[dict[str, Any], int], metrics: Mapping[str, Any]) -> str:
    """The filter of a line: as it says, or by its place among the lines of its document."""
    line, before = counted
    if isinstance(line.get("filter"), str):
        return line["filter"]
    names = list(dict.fromkeys(key.partition(",")[2] for key in metrics if "," in key))
    return names[before] if before < len(names) else str(before) if before else "none"


def _metrics(line: Mapping[str, Any]) -> list[str]:
    """Names of the line's metrics that are numbers, the task's first one first."""
    listed = line.get("metrics")
    names = listed if isinstance(listed, list) else [key for key in line if key not in OWN]
    return [name for name in names if isinstance(name, str) and isinstance(line.get(name), int | float)] or ["exact_match"]


def _model(path: Path, results: Mapping[str, Any]) -> str | None:
    """The model by its own name, by lm-eval's arguments, or by the directory that lm-eval makes for it."""
    config = results.get("config") or {}
    arguments = config.get("model_args")
    if isinstance(arguments, Mapping):
        named = arguments.get("pretrained") or arguments.get("model")
    else:
        match = _MODEL.search(str(arguments or ""))
        named = match[1] if match else None
    directory = path.absolute().parent.name.replace("__", "/")
    return results.get("model_name") or named or config.get("model") or directory


def _settings(task: str, date: str | None, results: Mapping[str, Any]) -> dict[str, Any]:
    """What was set and may tell cells apart."""
    config, shots = results.get("config") or {}, results.get("n-shot") or {}
    said = {"num_fewshot": shots.get(task), "gen_kwargs": config.get("gen_kwargs"), "limit": config.get("limit"), "date": date}
    return {
        key: value if isinstance(value, int | float) else str(value) for key, value in said.items() if value not in (None, "")
    }


def _rows(where: str, line: dict[str, Any], metric: str, said: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Row]:
    """One row; to be graded here, one for each repeat, which lm-eval scores together."""
    texts = line["resps"][0] if line["resps"] and isinstance(line["resps"][0], list) else line["resps"]
    texts = [text for text in texts if isinstance(text, str)]
    read = line["filtered_resps"][0] if line["filtered_resps"] else None
    answer = read if isinstance(read, str) else None
    metrics, left = _metrics(line), {"doc_id", "target"}
    if settings["regrade"]:
        left |= {"resps", "filtered_resps"}  # those of all repeats, and of another grader
        if len(texts) > 1:
            left, metrics = left | {*metrics}, [metric]
    common = {
        "where": where,
        "point": point(said, settings, where),
        "question": question(line["doc_id"], "doc_id", where),
        "target": str(line["target"]),
        "more": {key: value for key, value in line.items() if key not in left} | {"metrics": metrics},
    }
    if settings["regrade"]:
        if not texts:
            raise SettingError(f"import.regrade=true: {where} holds no text that could be graded")
        score = line.get(metric) if len(texts) == 1 else None  # else that of all repeats
        score = score if isinstance(score, int | float) and 0 <= score <= 1 else None
        return [Row(**common, sample=at, score=score, answer=text, text=text) for at, text in enumerate(texts)]
    score = line.get(metric)
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        others = [name for name in _metrics(line) if name != metric and 0 <= (line.get(name) or 0) <= 1 and name in line]
        hint = f"choose {' or '.join(others)}" if others else "import.regrade=true grades the texts"
        raise SettingError(f"import.metric={metric}: {where}: {metric}={score} is no score from 0 to 1; {hint}")
    no_answer = answer in NO_ANSWER if answer is not None else None
    return [Row(**common, score=float(score), answer=answer, text=texts[0] if texts else None, no_answer=no_answer)]
