"""Logs of inspect_ai (.eval, .json), read with its own library, so that every version of the format that it knows is read.

https://inspect.aisi.org.uk/eval-logs.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import SettingError
from .rows import Read, Row, named, point, question, taken

THINKING = "reasoning"


def read(path: Path, settings: Mapping[str, Any]) -> Read:
    """The samples of one log, their epochs as samples; those that ended in an error, or unscored, are left out, as there.

    Raises SettingError where inspect_ai is not installed or cannot read the file, or nothing in it has a score.
    """
    if not _installed():
        raise SettingError(
            "import.format=inspect: inspect_ai, which reads its own logs, is not installed; pip install -e '.[import]'"
        )
    from inspect_ai.log import read_eval_log
    from inspect_ai.scorer import value_to_float

    try:
        log = read_eval_log(str(path), resolve_attachments=True)
    except Exception as error:  # a damaged zip, JSON of another kind, a version to come
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SettingError(f"import.files={path}: inspect_ai cannot read this log ({reason})") from error
    samples = log.samples or []
    scorer = _scorer(path, log, samples, settings["metric"])
    said = _settings(log) | named(path, settings["names"])
    to_float, rows = value_to_float(), []
    for sample in samples:
        where = f"{path}: sample {sample.id}, epoch {sample.epoch}"
        score = (sample.scores or {}).get(scorer)
        if sample.error is not None or score is None or isinstance(score.value, float) and math.isnan(score.value):
            continue
        if isinstance(score.value, list | dict):
            raise SettingError(f"import.metric={scorer}: {where} has several values ({score.value}), and a score is one")
        value = to_float(score.value)
        if not 0 <= value <= 1:
            raise SettingError(f"import.metric={scorer}: {where}: {value} is no score from 0 to 1")
        rows.append(_row(where, sample, score, value, log.eval.model, point(said, settings, where)))
    if not rows:
        raise SettingError(f"import.files={path}: holds no sample with a score (the log's status is {log.status})")
    found = Read(path, rows, scorer, taken={"metric": taken(scorer, _scorers(samples))})
    if left := len(samples) - len(rows):
        found.notes.append(f"{path}: {left} of {len(samples)} samples have no score (an error, or not scored) and are left out")
    if log.status != "success":
        found.notes.append(f"{path}: the log's status is {log.status}; what is there is imported")
    return found


def _installed() -> bool:
    try:
        return find_spec("inspect_ai") is not None
    except ValueError:  # there, and switched off
        return False


def _scorer(path: Path, log: Any, samples: list[Any], wanted: str | None) -> str:
    names = _scorers(samples)
    if wanted and wanted not in names:
        raise SettingError(f"import.metric={wanted}: {path} has the scorers {', '.join(names) or '(none)'}")
    first = log.results.scores[0].name if log.results and log.results.scores else None
    return wanted or (first if first in names else next(iter(names), "score"))


def _scorers(samples: list[Any]) -> list[str]:
    return list(dict.fromkeys(name for sample in samples for name in sample.scores or {}))


def _settings(log: Any) -> dict[str, Any]:
    """Model, task, budget of reasoning, and what else was set and may tell cells apart."""
    generate = log.plan.config.model_dump(exclude_none=True) | log.eval.model_generate_config.model_dump(exclude_none=True)
    said = {"model": log.eval.model, "task": log.eval.task, "budget": generate.get("reasoning_tokens")}
    said |= {key: generate[key] for key in ("reasoning_effort", "temperature", "max_tokens", "seed") if key in generate}
    said |= {f"task_args.{key}": value for key, value in log.eval.task_args.items() if isinstance(value, str | int | float)}
    return said | {"date": str(log.eval.created)}


def _row(where: str, sample: Any, score: Any, value: float, model: str, cell: Any) -> Row:
    said = [message for message in sample.messages if message.role == "assistant"]
    # of several calls the last one's counts are not the sample's
    usage = sample.output.usage if len(said) <= 1 else (sample.model_usage or {}).get(model)
    content = sample.output.message.content if sample.output.choices else ""
    thought = [part.reasoning for part in content if getattr(part, "type", "") == THINKING] if isinstance(content, list) else []
    asked = (
        sample.input if isinstance(sample.input, str) else next((m.text for m in sample.input[::-1] if m.role == "user"), "")
    )
    return Row(
        where=where,
        point=cell,
        question=question(sample.id, "id", where),
        sample=sample.epoch,
        score=value,
        answer=score.answer if score.answer is not None else sample.output.completion,
        text=sample.output.completion,
        thinking="\n".join(thought) or None,
        target=sample.target if isinstance(sample.target, str) else " or ".join(sample.target),
        asked=asked,
        no_answer=True if score.value == "N" else None,
        thinking_tokens=usage.reasoning_tokens if usage else None,
        path_tokens=usage.output_tokens if usage else None,
    )
