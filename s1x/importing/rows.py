"""One answer of somebody else's, whatever file it came from, and the cell it belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import SettingError
from ..files import check_name
from .files import stem

POINT = ("model", "task", "series", "budget", "wait")  # what every cell has, beside settings of its own
SHOWN = 200  # characters of an answer
_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,999})(?:\.0)?")  # Python reads no number of 5,000 digits
_FIELD = re.compile(r"\{(\w*)\}")


class Point(NamedTuple):
    """What parts cells. `budget`: most thinking tokens that were allowed; `wait`: how often the end of thinking was ignored.

    Model and task are whole names, with owner or directory, until all of them are known (see `shortened`)."""

    model: str
    task: str
    series: str
    budget: int | None
    wait: int | None
    settings: tuple[tuple[str, Any], ...]


@dataclass(slots=True)
class Row:
    """`score`: the published grade, 0 to 1, None where there is none. `more`: keys of the line that are kept as they are."""

    where: str
    point: Point
    question: Any
    sample: Any = None
    score: float | None = None
    answer: str | None = None  # what was read, or the text that is read when it is graded here
    text: str | None = None  # what the model wrote after its thinking
    thinking: str | None = None
    target: str | None = None
    asked: str | None = None  # the question's text
    no_answer: bool | None = None
    thinking_tokens: int | None = None
    answer_tokens: int | None = None
    path_tokens: int | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def extracted(self) -> str | None:
        """The published answer, as lines show it and votes compare it."""
        return self.answer[:SHOWN] if self.answer and not self.no_answer else None


@dataclass
class Read:
    """What one file says. `metric`: what its score is called; `notes`: sentences about what is not whole; `grades`: of a table,
    each published grade as it is compared, and as the file says it; `taken`: of a harness, by setting, (what was
    taken of what the file holds, what was left out)."""

    path: Path
    rows: list[Row]
    metric: str = "correct"
    notes: list[str] = field(default_factory=list)
    grades: dict[str | float, str] = field(default_factory=dict)
    taken: dict[str, tuple[str, list[str]]] = field(default_factory=dict)


def taken(chosen: str, there: Iterable[str]) -> tuple[str, list[str]]:
    """For `Read.taken`."""
    return chosen, [name for name in dict.fromkeys(there) if name != chosen]


def named(path: Path, template: str | None) -> dict[str, str]:
    """The fields that `import.names` reads in a file's name: {budget} of `runs_{budget}`. `{}` is anything; with a / in it the
    template is about the names of the directories above, too.

    Raises SettingError where the name is not like that.
    """
    if template is None:
        return {}
    parts = _FIELD.split(template)
    fields = [name for name in parts[1::2] if name]
    if wrong := next((name for name in fields if fields.count(name) > 1 or not name.isidentifier()), None):
        raise SettingError(
            f"import.names={template}: {{{wrong}}}: each field needs a name of its own, of letters, digits and _"
        )
    pattern = "".join(
        re.escape(part) if at % 2 == 0 else f"(?P<{part}>[^/]+)" if part else "[^/]+" for at, part in enumerate(parts)
    )
    name = "/".join([*path.absolute().parts[:-1], stem(path)][-(template.count("/") + 1) :])
    if not (match := re.fullmatch(pattern, name)):
        raise SettingError(
            f"import.names={template}: the file {name} is not named like that; write the name with {{model}}, {{task}}, "
            "{budget} and the like in place of what changes, and {} for what does not matter"
        )
    return match.groupdict()


def point(said: Mapping[str, Any], settings: Mapping[str, Any], where: str) -> Point:
    """The cell of a row from what is said of it, with what was typed (`import.model`, `import.task`).

    Raises SettingError where model or task is not said, or a number is none.
    """
    said = {key: value for key, value in said.items() if value is not None}
    said |= {key: settings[key] for key in ("model", "task") if settings[key]}
    for key in ("model", "task"):
        if key not in said:
            raise SettingError(
                f"import.{key}: nothing says of which {key} {where} is; add import.{key}=NAME, a column "
                f"(import.columns.{key}=...) or {{{key}}} in import.names"
            )
    names = {key: str(said[key]).rstrip("/") for key in ("model", "task")}
    names["series"] = str(said.get("series", names["model"]))
    for key, name in names.items():
        check_name(f"import.{key}", name if key == "series" and key in said else short(name))
    counts = {key: whole(said.get(key), key, where) for key in ("budget", "wait")}
    own = tuple((key, _plain(value)) for key, value in said.items() if key not in POINT)
    return Point(**names, **counts, settings=own)


def short(name: str) -> str:
    """A model or task without the owner or directory before it: names stand in tables and file names."""
    return name.rstrip("/").rpartition("/")[2]


def shortened(points: set[Point]) -> dict[Point, Point]:
    """The points as cells are called: models and tasks by their short names, with as much of what stands before them as tells
    orgA/m and orgB/m apart. m alone is the only owner's, where there is one."""
    models, tasks = (_apart(key, {getattr(at, key) for at in points}) for key in ("model", "task"))
    return {
        at: at._replace(
            model=models[at.model],
            task=tasks[at.task].replace("/", "__"),  # it becomes part of file names
            series=models[at.model] if at.series == at.model else at.series,
        )
        for at in points
    }


def _apart(key: str, names: Iterable[str]) -> dict[str, str]:
    called = {}
    for name in names:
        parts = name.split("/")
        others = [other.split("/") for other in names if other != name and "/" in other and short(other) == short(name)]
        depth = 1
        while "/" in name and depth < len(parts) and any(other[-depth:] == parts[-depth:] for other in others):
            depth += 1
        called[name] = "/".join(parts[-depth:])
        check_name(f"import.{key}", called[name])
    return called


def whole(value: Any, what: str, where: str) -> int | None:
    """A count. None where there is none; SettingError for what is no whole number from 0 on."""
    if value is None or isinstance(value, float) and value != value:  # a missing number of a table
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
        if number < 0 or number != int(number):
            raise ValueError
        return int(number)
    except (ValueError, TypeError, OverflowError):
        raise SettingError(f"{where}: {what}={str(value)[:80]}: must be a whole number, 0 or more, or empty") from None


def question(value: Any, what: str, where: str) -> str | int | float:
    """A question's id. SettingError for what is none: nothing, an object, true."""
    found = identifier(value)
    if isinstance(found, bool) or not isinstance(found, str | int | float) or found != found:
        raise SettingError(f"{where}: {what}={str(value)[:80]}: must say which question it is, by text or a number")
    return found


def identifier(value: Any) -> Any:
    """An id as it is compared: text that is a whole number is one, so that a CSV, also with the 1.0 that pandas writes, and a
    JSONL are about the same questions."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(match[1]) if isinstance(value, str) and (match := _WHOLE.fullmatch(value)) else value


def _plain(value: Any) -> Any:
    value = identifier(value)
    return value if isinstance(value, str | int | float | bool) else str(value)
