"""What `import.*` may hold: its part of the schema of `conf/`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Columns:
    """Columns of a table by what is in them; those that are null are looked for under these names. `setting`: one or several
    more that part cells."""

    question: str | None = None
    sample: str | None = None
    correct: str | None = None
    answer: str | None = None
    target: str | None = None
    text: str | None = None
    thinking: str | None = None
    thinking_tokens: str | None = None
    answer_tokens: str | None = None
    path_tokens: str | None = None
    model: str | None = None
    task: str | None = None
    series: str | None = None
    budget: str | None = None
    wait: str | None = None
    setting: Any = None


@dataclass
class Import:
    """Other people's results (stage=import; docs/import.md).

    `files`: names, directories, patterns, one or a list. `names`: what their names say, such as {model}_{task}_budget{budget}.
    `right`, `no_answer`: grades that mean so, where they are words or letters. `filter`, `metric`: which of a harness's.
    `votes`: the samples of a question are a pool, and the answer of their majority counts.
    """

    files: Any = None
    format: str | None = None
    columns: Columns = field(default_factory=Columns)
    names: str | None = None
    right: Any = None
    no_answer: Any = None
    filter: str | None = None
    metric: str | None = None
    model: str | None = None
    task: str | None = None
    regrade: bool = False
    votes: bool = False


def check_import(typed: dict[str, Any]) -> None:
    """Read all files, before anything is written. Raises SettingError with one sentence."""
    from . import pools
    from .reading import read

    found = read(typed)
    for cell in found if typed["votes"] else ():
        pools.check(cell.rows, typed["regrade"])
