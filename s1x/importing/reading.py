"""From `import.*` to cells in memory: what was typed is checked, files are read, rows are parted. Nothing is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import SettingError
from . import files, harness, inspect_log, table
from .cells import Found, part

FORMATS = {"lm_eval": harness.read, "inspect": inspect_log.read, "table": table.read}
OF = {"filter": ("lm_eval",), "metric": ("lm_eval", "inspect"), "right": ("table",), "no_answer": ("table",)}


def read(settings: Mapping[str, Any]) -> list[Found]:
    """The cells of all files of `import.*`. A run reads them when it is checked, and finds them here when it begins.

    Raises SettingError with one sentence: which setting, or which file, line and column, and what is valid.
    """
    _check(settings)
    paths = files.paths(settings["files"], settings["format"])
    known = tuple((path, path.absolute(), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in paths)
    return _read(json.dumps(settings, sort_keys=True), known)


@lru_cache(maxsize=1)
def _read(settings: str, known: tuple[tuple[Path, Path, int, int], ...]) -> list[Found]:
    """`known`: which files, and in which state: what was read of others is of no use."""
    typed = json.loads(settings)
    reads = [FORMATS[typed["format"]](path, typed) for path, *_ in known]
    table.check(reads, typed)
    return part(reads, typed)


def _check(settings: Mapping[str, Any]) -> None:
    format, named = settings["format"], settings["files"]
    if format not in FORMATS:
        raise SettingError(f"import.format={_word(format)}: must be one of {', '.join(FORMATS)}")
    listed = named if isinstance(named, list) else [named]
    if not named or not all(isinstance(name, str) and name for name in listed):
        raise SettingError(f"import.files={_word(named)}: must be a file, a directory, a pattern, or a list of them")
    for key, formats in OF.items():
        if settings[key] is not None and format not in formats:
            raise SettingError(f"import.{key}={settings[key]}: is for import.format={' and '.join(formats)} alone")
    if format != "table" and (used := next((role for role, name in settings["columns"].items() if name), None)):
        raise SettingError(f"import.columns.{used}: is for import.format=table; the other formats say which column is which")


def _word(value: Any) -> str:
    return "null" if value is None else str(value)
