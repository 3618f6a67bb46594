"""Files that are imported: which they are, what digest they have, and their rows, each with the words for where it stands."""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import SettingError

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
KINDS = {  # what is looked for in a directory, and what a file must end in
    "lm_eval": ("samples_*.jsonl", "samples_*.jsonl.gz"),
    "inspect": ("*.eval", "*.json"),
    "table": tuple(f"*{suffix}{zipped}" for suffix in SUFFIXES for zipped in ("", ".gz")),
}
Placed = Iterator[tuple[str, dict[str, Any]]]


def paths(named: str | Sequence[str], format: str) -> list[Path]:
    """The files that `import.files` names, in order, each once. A directory stands for all files of the format in it.

    Raises SettingError for a name that leads nowhere.
    """
    found: dict[Path, Path] = {}
    for name in [named] if isinstance(named, str) else named:
        given = Path(name).expanduser()
        places = [given] if given.exists() else [Path(place) for place in sorted(glob.glob(str(given), recursive=True))]
        inside = [file for place in places for file in (_inside(place, format) if place.is_dir() else [place])]
        if not inside:
            what = f"holds no {' or '.join(KINDS[format])}" if places else "there is no such file"
            raise SettingError(f"import.files={name}: {what}")
        for file in inside:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _inside(directory: Path, format: str) -> list[Path]:
    kinds = KINDS[format]
    return sorted(path for path in directory.rglob("*") if any(fnmatch(path.name.lower(), k) for k in kinds) and path.is_file())


def stem(path: Path) -> str:
    """The file's name without the endings that say how it is written."""
    while path.suffix.lower() in (*SUFFIXES, ".gz", ".eval"):
        path = path.with_suffix("")
    return path.name


def digest(path: Path) -> str:
    """SHA-256 of the file as it is."""
    return sha256(path.read_bytes()).hexdigest()


def rows(path: Path) -> Placed:
    """The rows of a .jsonl, .json (a list), .csv, .tsv or .parquet file, all but the last also with .gz behind.

    Raises SettingError that names file and line where it is damaged or no such file, before the row is given.
    """
    zipped = path.suffix.lower() == ".gz"
    kind = (path.with_suffix("") if zipped else path).suffix.lower()
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    if kind not in readers or zipped and kind == ".parquet":
        raise SettingError(f"import.files={path}: must end in {', '.join(SUFFIXES)}, or in one of the first four and .gz")
    empty = True
    try:
        for where, row in readers[kind](path):
            if not isinstance(row, dict):
                raise ValueError(f"{where} is {type(row).__name__}, not an object of columns and values")
            empty = False
            yield f"{path}: {where}", row
    except SettingError:
        raise
    except (ValueError, OSError, EOFError, zlib.error, csv.Error) as error:  # ValueError: JSON, Arrow
        raise SettingError(f"import.files={path}: {str(error) or type(error).__name__}") from error
    if empty:
        raise SettingError(f"import.files={path}: the file holds no rows")


def _text(path: Path) -> str:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"is no whole gzip file ({error})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 (byte {error.start + 1} of the file)") from None


def _jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    text = _text(path)
    if text.lstrip().startswith("["):  # lm-eval 0.4.0 to 0.4.2 wrote one list into a file of this name
        yield from _list(text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", parsed(line, f"line {number}")


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    return _list(_text(path))


def _list(text: str) -> Iterator[tuple[str, Any]]:
    found = parsed(text)
    if not isinstance(found, list):
        raise ValueError("must hold one list of objects")
    return ((f"entry {number}", row) for number, row in enumerate(found, start=1))


def parsed(text: str, where: str | None = None) -> Any:
    """JSON. Raises ValueError with a sentence where it is none, or none that Python can hold; where: None for a whole file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where or f'line {error.lineno}'} is not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise ValueError(f"{where or 'the file'} has objects or lists nested too deeply to be read") from None
    except ValueError:  # of thousands of digits
        raise ValueError(f"{where or 'the file'} has a number of too many digits to be read") from None


def _csv(path: Path) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(sys.maxsize)  # whole traces
    text = _text(path)
    header = text.partition("\n")[0]
    between = "\t" if ".tsv" in path.name.lower() else max(",;", key=header.count)  # ; where the comma is decimal
    blanks = f"{between} " in header
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=between, skipinitialspace=blanks, strict=True)
    titles = reader.fieldnames = [title.strip() for title in reader.fieldnames or []]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise ValueError(f"line 1 names the column {twice!r} twice")
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"line {reader.line_num} does not have as many columns as line 1 ({len(titles)})")
        yield f"line {reader.line_num}", {title: value if value.strip() else None for title, value in row.items()}


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow.parquet

    found = pyarrow.parquet.read_table(path).to_pylist()
    return ((f"row {number}", row) for number, row in enumerate(found, start=1))
