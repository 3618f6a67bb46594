"""Samples of a question as a pool (`import.votes=true`): one line, whose answer is that of the majority."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import SettingError
from .rows import Row

Vote = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]


def check(rows: Sequence[Row]) -> None:
    """Raises SettingError where a cell has nothing to vote with: one sample of each question, no answers, or grades between
    right and wrong."""
    seen: dict[Any, int] = {}
    for row in rows:
        seen[row.question] = seen.get(row.question, 0) + 1
        if row.answer is None and row.text is None and not row.no_answer:
            raise SettingError(
                f"import.votes=true: {row.where} has no answer to vote with; name its column, or leave votes out"
            )
        if row.score not in (None, 0.0, 1.0):
            raise SettingError(f"import.votes=true: {row.where}: a grade of {row.score:g} is neither right nor wrong")
    if alone := next((question for question, n in seen.items() if n < 2), None):
        raise SettingError(f"import.votes=true: question {str(alone)[:80]} has one sample, and votes need several")


def pooled(lines: Sequence[dict[str, Any]], metric: str, vote: Vote) -> list[dict[str, Any]]:
    """One line for each question, with its samples, in order of first appearance. vote: see evaluation.votes."""
    questions: dict[Any, list[dict[str, Any]]] = {}
    for line in lines:
        questions.setdefault(line["doc_id"], []).append(line)
    return [_pool(members, metric, vote) for members in questions.values()]


def _pool(members: Sequence[dict[str, Any]], metric: str, vote: Vote) -> dict[str, Any]:
    kept = ("score", "extracted", "no_answer", "reader", "segments", "thinking_tokens", "answer_tokens", "path_tokens")
    samples = [_told(m, (*kept, "end", "waits", "info")) | {"text": m["resps"][0][0]} for m in members]
    paths = [m["path_tokens"] for m in members]
    line = {key: value for key, value in members[0].items() if key != "published"}
    line |= {"samples": samples, "vote": "majority", "segments": [], **vote(samples)}
    line |= {"path_tokens": None if None in paths else sum(paths), "resps": [[s["text"] for s in samples]]}
    return line | {"filtered_resps": [s["extracted"] or "" for s in samples], metric: line["score"]}


def _told(line: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: line[key] for key in keys}
