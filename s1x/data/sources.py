"""Where questions come from: the hub, local files, or a function; every origin has its own column layout.

A source is a small mapping (`conf/data/source/*.yaml`):

    path        a hub data set (owner/name) or a local copy of one, or a .jsonl, .json, .parquet or .csv file
    rows        instead of path: a `_target_` that returns a list of rows
    configs     hub configurations to read, one after the other (default: the only one)
    split       one split name or a list of them (default: train)
    revision    a commit or branch of the hub data set
    data_files  files of the hub data set to read instead of its splits
    keep        {their column: value | [values] | {at_least:, at_most:} | {present: true}}: rows that count
    without     another source's path, configs, split and `match`: rows with the same value in that column do not count
    sample      at most so many rows, drawn with `seed` (default 42); `balance` names columns whose values take turns
    row         a function (`_partial_`) from a row to changes, for layouts that a mapping cannot express (rows.py)
    columns     {our column: their column}; a list names alternatives, ending in null when it may be missing;
                without `columns` the rows are taken as they are
    labels      another source whose columns are added, matched by question
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import SettingError
from . import records

SETTINGS = (
    "path",
    "rows",
    "configs",
    "split",
    "revision",
    "data_files",
    "keep",
    "without",
    "sample",
    "seed",
    "balance",
    "row",
    "columns",
    "labels",
)


def load(name: str, source: Mapping[str, Any], at: str = "data.sources") -> pa.Table:
    """The table of one source; `at` is where its settings stand.

    Raises SettingError with one sentence that says what to change.
    """
    return records.table(_rows(f"{at}.{name}", source), name)


def _rows(at: str, source: Mapping[str, Any]) -> list[dict]:
    unknown = set(source) - set(SETTINGS)
    if unknown:
        raise SettingError(f"{at}.{sorted(unknown)[0]}: no such setting; a source has {', '.join(SETTINGS)}")
    rows = _read(at, source)
    if source.get("keep"):
        rows = [row for row in rows if _kept(row, source["keep"])]
    if source.get("without"):
        other = dict(source["without"])
        match = other.pop("match")
        known = {row.get(match) for row in _read(f"{at}.without", other)}
        rows = [row for row in rows if row.get(match) not in known]
    rows = _sampled(rows, source)
    if source.get("row"):
        rows = [{**row, **source["row"](row)} for row in rows]
    if source.get("columns"):
        rows = _mapped(at, rows, source["columns"])
    if source.get("labels"):
        found = {row.pop("question", None): row for row in _rows(f"{at}.labels", source["labels"])}
        names = {name for row in found.values() for name in row}
        missing = dict.fromkeys(names)
        rows = [{**row, **found.get(row.get("question"), missing)} for row in rows]
    return rows


def _read(at: str, source: Mapping[str, Any]) -> list[dict]:
    if source.get("rows") is not None:
        return source["rows"]
    path = source.get("path")
    if not path:
        raise SettingError(f"{at}.path={path}: give a hub data set (owner/name) or a {', '.join(_READERS)} file")
    if Path(path).expanduser().is_file():
        return _read_file(at, Path(path).expanduser())
    if not Path(path).expanduser().is_dir() and (Path(path).suffix in _READERS or path.startswith((".", "/", "~"))):
        raise SettingError(f"{at}.path={path}: there is no such file")
    return _read_hub(at, source)


def _read_file(at: str, path: Path) -> list[dict]:
    if path.suffix not in _READERS:
        raise SettingError(f"{at}.path={path}: cannot read this kind of file; use {', '.join(_READERS)}")
    try:
        return _READERS[path.suffix](path)
    except (ValueError, TypeError, OSError, RecursionError) as error:  # JSON and Arrow errors are ValueErrors
        raise SettingError(f"{at}.path={path}: cannot be read ({_first_line(error)})") from None


def _read_jsonl(path: Path) -> list[dict]:
    rows = []
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for line in lines:
            if line.strip():
                rows.append(_row(line))
    return rows


def _row(line: str) -> dict:
    """A broken line becomes a row without a question, so that it is counted and not lost."""
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _read_json(path: Path) -> list[dict]:
    data = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    if isinstance(data, dict):  # column -> values
        return [dict(zip(data, values)) for values in zip(*data.values())]
    return [row if isinstance(row, dict) else {} for row in data]


def _read_parquet(path: Path) -> list[dict]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns = {}
    for field in table.schema:
        values = table[field.name]
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            values = values.cast(pa.large_binary())  # Arrow does not check that stored text is UTF-8; clean() decodes it
            columns[field.name] = [v if v is None else v.decode("utf-8", "replace") for v in values.to_pylist()]
        else:
            columns[field.name] = values.to_pylist()
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def _read_csv(path: Path) -> list[dict]:
    import csv

    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.DictReader(line.replace("\0", "") for line in file)
        return [{name: value for name, value in row.items() if name is not None} for row in rows]


_READERS = {".jsonl": _read_jsonl, ".json": _read_json, ".parquet": _read_parquet, ".csv": _read_csv}


def _read_hub(at: str, source: Mapping[str, Any]) -> list[dict]:
    """Rows of a data set from the hub, its cache or a local copy; one sentence when none of them works."""
    import datasets

    from ..tasks.sources import hub

    path, splits, files = source["path"], source.get("split") or "train", source.get("data_files")
    quiet = datasets.utils.logging.get_verbosity()
    datasets.utils.logging.set_verbosity_error()
    rows: list[dict] = []
    try:
        with hub():
            for config in source.get("configs") or [None]:
                for split in [splits] if isinstance(splits, str) else splits:
                    part = _part(path, config, split, files, source.get("revision"))
                    rows += ({**row, "config": config} if config else row for row in part)
    except Exception as error:  # the hub client has many ways to fail; all of them mean the same to a user
        raise SettingError(
            f"{at}.path={path}: not downloaded before, and cannot be now ({type(error).__name__}: {_first_line(error)}); "
            f"where there is a network, run: hf download {path} --repo-type dataset --local-dir COPY, and set {at}.path=COPY"
        ) from None
    finally:
        datasets.utils.logging.set_verbosity(quiet)
    return rows


def _part(path: str, config: str | None, split: str, files: Sequence[str] | None, revision: str | None):
    """One split. Named files are read by their own format: data sets that come with a loading script cannot be loaded whole."""
    import datasets

    if not files:
        return datasets.load_dataset(path, config, split=split, revision=revision)
    kind = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}[Path(files[0]).suffix]
    local = Path(path).expanduser().is_dir()
    at = path if local else f"hf://datasets/{path}" + (f"@{revision}" if revision else "")
    return datasets.load_dataset(kind, data_files=[f"{at}/{file}" for file in files], split=split)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200].rstrip(".")


def _kept(row: Mapping[str, Any], keep: Mapping[str, Any]) -> bool:
    return all(_matches(row.get(name), wanted) for name, wanted in keep.items())


def _matches(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return value in wanted if isinstance(wanted, (list, tuple)) else value == wanted
    if value is None:
        return wanted.get("present") is False
    low, high = wanted.get("at_least", float("-inf")), wanted.get("at_most", float("inf"))
    return wanted.get("present", True) and ("present" in wanted or low <= float(value) <= high)


def _mapped(at: str, rows: list[dict], mapping: Mapping[str, Any]) -> list[dict]:
    have = {column for row in rows for column in row}
    chosen = {}
    for ours, theirs in mapping.items():
        options = list(theirs) if isinstance(theirs, (list, tuple)) else [theirs]
        found = [option for option in options if option is None or option in have]
        if rows and not found:
            raise SettingError(f"{at}.columns.{ours}={theirs}: the data has the columns {', '.join(sorted(have))}")
        chosen[ours] = found[0] if found else None
    return [{ours: row.get(theirs) if theirs else None for ours, theirs in chosen.items()} for row in rows]


def _sampled(rows: list[dict], source: Mapping[str, Any]) -> list[dict]:
    """`sample` rows in a seeded order that does not depend on theirs; with `balance`, values of the columns take turns."""
    n = source.get("sample")
    if n is None or n >= len(rows):
        return rows
    order = sorted(range(len(rows)), key=lambda i: records.question_id(json.dumps(rows[i], sort_keys=True, default=str)))
    random.Random(source.get("seed", 42)).shuffle(order)
    order = _turns(rows, order, list(source.get("balance") or ()))
    return [rows[i] for i in sorted(order[:n])]


def _turns(rows: list[dict], order: list[int], columns: list[str]) -> list[int]:
    """Rows reordered so that the values of the first column take turns, within each those of the second, and so on."""
    if not columns:
        return order
    groups: dict[str, list[int]] = {}
    for i in order:
        groups.setdefault(str(rows[i].get(columns[0])), []).append(i)
    turns = [_turns(rows, groups[value], columns[1:]) for value in sorted(groups)]
    return [group[t] for t in range(max(map(len, turns), default=0)) for group in turns if t < len(group)]
