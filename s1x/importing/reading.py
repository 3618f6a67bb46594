"""From `import.*` to cells in memory: what was typed is checked, files are read, rows are parted. Nothing is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..errors import SettingError
from . import files, harness, inspect_log, table
from .cells import Found, part

FORMATS = {"lm_eval": harness.read, "inspect": inspect_log.read, "table": table.read}
OF = {"filter": ("lm_eval",), "metric": ("lm_eval", "inspect"), "right": ("table",), "no_answer": ("table",)}


def check(settings: Mapping[str, Any]) -> list[Found]:
    """Read all files of `import.*` (remembered, so that the run itself reads none again).

    Raises SettingError with one sentence: which setting, or which file, line and column, and what is valid.
    """
    return _read(json.dumps(settings, sort_keys=True, default=str))


read = check


@lru_cache(maxsize=1)
def _read(settings: str) -> list[Found]:
    typed = json.loads(settings)
    if typed["format"] not in FORMATS:
        raise SettingError(f"import.format={_word(typed['format'])}: must be one of {', '.join(FORMATS)}")
    named = typed["files"]
    listed = named if isinstance(named, list) else [named]
    if not named or not all(isinstance(name, str) and name for name in listed):
        raise SettingError(
            f"import.files={_word(named)}: must be a file, a directory, a pattern (runs/*.jsonl), or a list of them"
        )
    for key, formats in OF.items():
        if typed[key] is not None and typed["format"] not in formats:
            raise SettingError(f"import.{key}={typed[key]}: is for import.format={' and '.join(formats)} alone")
    if typed["format"] != "table" and (used := next((role for role, name in typed["columns"].items() if name), None)):
        raise SettingError(f"import.columns.{used}: is for import.format=table; the other formats say which column is which")
    return part([FORMATS[typed["format"]](path, typed) for path in files.paths(named, typed["format"])], typed)


def _word(value: Any) -> str:
    return "null" if value is None else str(value)
