"""Plain tables (JSONL, JSON, CSV, TSV, parquet): one row for each answer, and a mapping of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import SettingError
from . import files
from .rows import Read, Row, identifier, named, point, question, whole

TOKENS = ("thinking_tokens", "answer_tokens", "path_tokens")
PARTS = ("model", "task", "series", "budget", "wait")
WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}


def read(path: Path, settings: Mapping[str, Any]) -> Read:
    """The answers of one table.

    Raises SettingError with file, line and column where it does not say what the mapping promises.
    """
    placed = list(files.rows(path))
    columns = _columns(path, [row for _, row in placed], settings)
    if "question" not in columns:
        _refuse(path, placed[0][1], "question", "that says which question it is")
    if "correct" not in columns and not {"answer", "target"} <= columns.keys():
        _refuse(path, placed[0][1], "correct", "with its grade (or both answer and target, to grade it here)")
    if settings["regrade"] and not {"answer", "target"} <= columns.keys():
        _refuse(path, placed[0][1], "answer", "and one for target: import.regrade=true compares the two")
    fields = named(path, settings["names"])
    read = [_row(where, row, columns, fields, settings) for where, row in placed]
    grades = [_get(row, columns["correct"]) for _, row in placed] if "correct" in columns else []
    return Read(path, read, grades={_grade(grade): str(grade)[:80] for grade in grades})


def check(reads: Sequence[Read], settings: Mapping[str, Any]) -> None:
    """What is right must be found: a value that is spelt in another way than the rows' would make all of them wrong.

    Raises SettingError where a value of `import.right` is in no row of all files. That nothing says `import.no_answer` may well
    be so, where a model always answers: then it is a note.
    """
    held = {grade: said for read in reads for grade, said in read.grades.items()}
    listed = [said[:40] for said in held.values()]
    there = ", ".join(listed[:8] + (["..."] if len(listed) > 8 else [])) or "no grades"
    for key in ("right", "no_answer"):
        for value in _listed(settings[key]):
            if _grade(value) in held:
                continue
            if key == "right":
                raise SettingError(
                    f"import.right={value}: is the grade of no row; must be among those of the files, which hold {there}"
                )
            reads[0].notes.append(f"import.no_answer={value}: is the grade of no row; the files hold {there}")


def _columns(path: Path, rows: list[dict[str, Any]], settings: Mapping[str, Any]) -> dict[str, str]:
    """Which column has which role: as typed, else the column that is called like the role.

    Raises SettingError where a column that was typed is in no row.
    """
    typed = {role: name for role, name in settings["columns"].items() if role != "setting"}
    found = {role: name or role for role, name in typed.items() if any(_there(row, name or role) for row in rows)}
    parting = settings["columns"]["setting"]
    parting = [parting] if isinstance(parting, str) else list(parting or [])
    wanted = [(f"import.columns.{role}", name) for role, name in typed.items() if name and role not in found]
    wanted += [("import.columns.setting", name) for name in parting if not any(_there(row, name) for row in rows)]
    if wanted:
        setting, name = wanted[0]
        raise SettingError(f"{setting}={name}: {path} has no such column; it has {', '.join(map(str, rows[0]))}")
    return found | {f"setting {name}": name for name in parting}


def _refuse(path: Path, row: dict[str, Any], role: str, what: str) -> None:
    raise SettingError(f"import.columns.{role}: needs a column {what}; name one of those of {path}: {', '.join(map(str, row))}")


def _there(row: Mapping[str, Any], name: str) -> bool:
    return _get(row, name, missing := object()) is not missing


def _get(row: Any, name: str, default: Any = None) -> Any:
    """The value of a column; `usage.reasoning_tokens` is the inner one of an object, where no column is called like that."""
    if isinstance(row, Mapping) and name in row:
        return row[name]
    first, dot, rest = name.partition(".")
    return _get(row[first], rest, default) if dot and isinstance(row, Mapping) and first in row else default


def _row(where: str, row: dict[str, Any], columns: Mapping[str, str], fields: Mapping[str, str], settings: Mapping) -> Row:
    said = {role: _get(row, name) for role, name in columns.items()}
    which = question(said["question"], columns["question"], where)
    parts = {role: said.get(role) for role in PARTS} | {
        name: said[role] for role, name in columns.items() if role.startswith("setting ")
    }
    score, no_answer = None, None
    if "correct" in columns:
        score, no_answer = _score(said["correct"], f"{where}: {columns['correct']}", settings)
    if "sample" in columns and (said["sample"] is None or not isinstance(said["sample"], str | int | float)):
        told = " is empty" if said["sample"] is None else f"={str(said['sample'])[:80]}"
        raise SettingError(
            f"{where}: {columns['sample']}{told}: must tell the samples of a question apart, by text or a number"
        )
    text = _text(said.get("answer"))
    return Row(
        where=where,
        point=point(parts | fields, settings, where),
        question=which,
        sample=identifier(said.get("sample")),
        score=score,
        answer=text,
        text=text,
        thinking=_text(said.get("thinking")),
        target=_text(said.get("target")),
        asked=_text(said.get("text")) or str(which),
        no_answer=no_answer,
        **{role: whole(said.get(role), columns.get(role, role), where) for role in TOKENS},
    )


def _score(value: Any, where: str, settings: Mapping[str, Any]) -> tuple[float, bool | None]:
    """(score, whether there was no answer: None where the table does not say) of a published grade.

    With `import.right` typed, its values are right and all others wrong; those of `import.no_answer` are wrong and no answer.
    """
    right, none = ({_grade(typed) for typed in _listed(settings[key])} for key in ("right", "no_answer"))
    if value is None or value != value:
        raise SettingError(f"{where} is empty: each row needs its grade")
    said = _grade(value)
    no_answer = said in none if none else None
    if right:
        return float(said in right), no_answer
    if no_answer:
        return 0.0, True
    try:
        score = float(value)
    except (ValueError, TypeError, OverflowError):
        score = WORDS.get(str(value).strip().lower(), -1.0)
    if not 0 <= score <= 1:
        hint = "where grades are words or letters, name those that are right: import.right=[A]"
        if 1 < score <= 100:
            hint = "percentages are to be divided by 100, or, where 100 is right and all else wrong: import.right=100"
        raise SettingError(f"{where}={str(value)[:80]}: must be true or false, or a number from 0 to 1; {hint}")
    return score, no_answer


def _listed(typed: Any) -> list[Any]:
    return typed if isinstance(typed, list) else [] if typed is None else [typed]


def _grade(value: Any) -> str | float:
    """A grade as it is compared: True, true and TRUE are one, as are 1, 1.0 and the "1.0" of a CSV."""
    said = str(value).strip().lower()
    try:
        number = float(said)
    except ValueError:
        return said
    return number if math.isfinite(number) else said


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)
