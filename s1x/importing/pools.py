"""Samples of a question as a pool (`import.votes=true`): one line, whose answer is that of the majority."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import SettingError
from ..metrics.harness import voted
from ..metrics.voting import subset_sizes
from .rows import Row

Vote = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]


def check(rows: Sequence[Row], regrade: bool) -> None:
    """Raises SettingError where a cell has nothing to vote with: one sample of each question, no answers, or published grades
    that are between right and wrong, or not the same for the same answer."""
    questions: dict[Any, list[Row]] = {}
    for row in rows:
        questions.setdefault(row.question, []).append(row)
        if row.answer is None and row.text is None and not row.no_answer:
            raise SettingError(
                f"import.votes=true: {row.where} has no answer to vote with; name its column, or leave votes out"
            )
        if not regrade and row.score not in (None, 0.0, 1.0):
            raise SettingError(f"import.votes=true: {row.where}: a grade of {row.score:g} is neither right nor wrong")
    if alone := [question for question, members in questions.items() if len(members) < 2]:
        raise SettingError(f"import.votes=true: question {str(alone[0])[:80]} has one sample, and votes need several")
    if not regrade and (pairs := [pair for members in questions.values() if (pair := _contradiction(members))]):
        right, wrong = pairs[0]
        raise SettingError(
            f"import.votes=true: {len(pairs)} of {len(questions)} questions have equal answers with different grades, first "
            f"question {str(right.question)[:80]} ({right.extracted!r:.80} is right in {right.where}, {wrong.extracted!r:.80} "
            f"wrong in {wrong.where}), and one answer has one grade; grade them here (import.regrade=true), or name the "
            "column of the answers that were graded (import.columns.answer)"
        )


def notes(rows: Sequence[Row], where: str) -> list[str]:
    """A sentence where questions have different numbers of samples: which k all of them have votes of."""
    sizes = set(Counter(row.question for row in rows).values())
    if len(sizes) < 2:
        return []
    common = max(set.intersection(*(set(subset_sizes(n)) for n in sizes)))
    said = f"{where}: questions have {min(sizes)} to {max(sizes)} samples, so maj@k and pass@k are known up to k={common}"
    return [f"{said} (each over all samples of its question), and measures of whole pools are not"]


def _contradiction(members: Sequence[Row]) -> tuple[Row, Row] | None:
    """(a right sample of a question, a wrong one with the same answer), where there are such: as votes are grouped."""
    voting = [row for row in members if row.score is not None and row.extracted is not None]
    if len({row.score for row in voting}) < 2:
        return None
    from ..tasks import group_answers

    seen: dict[tuple[int, float | None], Row] = {}
    for row, group in zip(voting, group_answers([row.extracted for row in voting]), strict=True):
        seen.setdefault((group, row.score), row)
    return next(((row, seen[group, 0.0]) for (group, score), row in seen.items() if score and (group, 0.0) in seen), None)


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
    line = voted({key: value for key, value in members[0].items() if key != "published"}, metric)
    line |= {"samples": samples, "vote": "majority", "segments": [], **vote(samples)}
    line |= {"path_tokens": None if None in paths else sum(paths), "resps": [[s["text"] for s in samples]]}
    return line | {"filtered_resps": [s["extracted"] or "" for s in samples], metric: line["score"]}


def _told(line: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: line[key] for key in keys}
