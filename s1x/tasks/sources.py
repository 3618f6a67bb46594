"""Where questions come from: shipped files, the tiny world's generator, a user's file, the Hugging Face hub.

Nothing but the hub touches the network, and files are read here rather than by `datasets`, whose builders copy everything
into a cache directory first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parent / "data"


def read_rows(path: Path, setting: str = "task.file") -> list[dict[str, Any]]:
    """The rows of a .jsonl, .json (a list of objects) or .parquet file; a ValueError that names the line otherwise."""
    return [row for _, row in _placed(path, setting)]


def _placed(path: Path, setting: str) -> list[tuple[str, dict[str, Any]]]:
    """The rows, each with the words for where it stands."""
    if not path.is_file():
        raise ValueError(f"{setting}={path}: there is no such file")
    readers = {".jsonl": _jsonl, ".json": _json, ".parquet": _parquet}
    if path.suffix not in readers:
        raise ValueError(f"{setting}={path}: a task file must end in .json, .jsonl or .parquet")
    rows = []
    try:
        for where, row in readers[path.suffix](path):
            if not isinstance(row, dict):
                raise ValueError(f'{where} is a {type(row).__name__}, not an object like {{"question": ..., "answer": ...}}')
            rows.append((where, row))
    except (ValueError, OSError) as error:  # JSON, Unicode and parquet errors are ValueErrors
        raise ValueError(f"{setting}={path}: {error}") from None
    if not rows:
        raise ValueError(f"{setting}={path}: the file has no questions")
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors put a mark before the text
    except UnicodeDecodeError as error:
        raise ValueError(f"the file must be UTF-8, and byte {error.start + 1} is not") from None


def _jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} is not JSON ({error.msg} at column {error.colno})") from None


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno} is not JSON ({error.msg} at column {error.colno})") from None
    if not isinstance(rows, list):
        raise ValueError("a .json task file must hold one list of objects")
    return ((f"entry {number}", row) for number, row in enumerate(rows, start=1))


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path).to_pylist()
    return ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def file(path: Path, columns: list[str], splits: list[str]) -> dict:
    """A user's file as every split that a task asks for. `columns` must be text or numbers in each row (others are kept)."""
    rows = _placed(path, "task.file")
    for where, row in rows:
        for column in columns:
            if column not in row:
                raise ValueError(f"task.file={path}: {where} has no {column!r}; this task reads {', '.join(columns)}")
            if not _says(row[column]):
                shown = json.dumps(row[column], default=str)
                raise ValueError(f"task.file={path}: {where}: {column}={shown[:80]}: must be text or a number")
    return dict.fromkeys(splits, _dataset([row for _, row in rows]))


def _says(value: Any) -> bool:
    """Whether a column can be asked or compared: text that is not blank, or a number that is one (NaN is none)."""
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)


def tiny(*, task: str, split: str, **_: Any) -> dict:
    """The tiny benchmark `task` (tiny_math, tiny_hard, tiny_mc): a shipped file of the `test` split, else generated."""
    from ..tiny import benchmarks

    if split not in benchmarks.SEEDS:
        raise ValueError(f"task.split={split}: {task} has the splits {', '.join(benchmarks.SEEDS)}")
    shipped = SHIPPED / f"{task}.jsonl"
    rows = read_rows(shipped) if split == "test" and shipped.is_file() else benchmarks.rows(task, split)
    return {split: _dataset(rows)}


def _dataset(rows: list[dict]):
    from datasets import Dataset

    return Dataset.from_list(alike(rows))


def alike(values: list) -> list:
    """Values that Arrow can keep in one column: where they are of several kinds (5 and "x+1"), or too large, each as text.

    Objects are made alike by key, lists by all their elements; null stays null.
    """
    there = [value for value in values if value is not None]
    kinds = {type(value) for value in there}
    if kinds == {dict}:
        keys = dict.fromkeys(key for value in there for key in value)
        columns = [alike([value.get(key) for value in there]) for key in keys]
        made = iter([dict(zip(keys, row)) for row in zip(*columns)] if keys else there)
    elif kinds == {list}:
        elements = iter(alike([element for value in there for element in value]))
        made = iter([[next(elements) for _ in value] for value in there])
    elif len(kinds) > 1 or any(isinstance(value, int) and value.bit_length() > 63 for value in there):
        made = iter([value if isinstance(value, str) else json.dumps(value, default=str) for value in there])
    else:
        return values
    return [None if value is None else next(made) for value in values]


@contextmanager
def hub(seconds: float = 3.0) -> Iterator[None]:
    """Use the hub if it answers within `seconds`, else only what was downloaded before.

    Without this, `datasets` retries an unreachable hub for half a minute.
    """
    import datasets.config
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    try:
        if not any(before):
            try:
                get_session().head(constants.ENDPOINT, timeout=seconds)
            except Exception:  # no route, no name, a proxy that refuses: whatever the cause, go on with the cache
                datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
