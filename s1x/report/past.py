"""Past runs, from what their directories hold: finished ones, those under way, and those that were stopped."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ..files import read_json
from .load import job_directories

MARKS = (".claim", ".hydra", "multirun.yaml", "summary.json", "cell.json")  # any of these makes a directory a run's
_STAMP = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


@dataclass
class Run:
    """A directory of results. records: of its measured cells. jobs: how many cells it is to have, 0 where none is known."""

    directory: Path
    began: datetime
    experiment: str | None
    jobs: int
    records: list[dict[str, Any]] = field(default_factory=list)
    stage: str | None = None
    model: str | None = None

    @property
    def models(self) -> str | None:
        """The models of its cells, that of most cells first; of a run without cells what was set."""
        found = Counter(record["model"] for record in self.records)
        return ", ".join(name for name, _ in found.most_common()) or self.model

    @property
    def cells(self) -> str | None:
        done, whole = len(self.records), max(self.jobs, len(self.records))
        if not whole or self.stage and not done:
            return self.stage
        return f"{done:,}" if done == whole else f"{done:,} of {whole:,}"

    @property
    def best(self) -> dict[str, Any]:
        """The record of the highest accuracy, the one of fewer thinking tokens among equals; {} where there is none."""
        return max(self.records, key=lambda r: (r["accuracy"], -(r["thinking_tokens"]["mean"] or 0)), default={})


def runs(places: Iterable[Path]) -> list[Run]:
    """All runs in and below some directories, newest first; each once."""
    found = {directory.resolve(): directory for place in places for directory in _directories(place)}
    told = (_run(directory) for directory in found.values())
    kept = (run for run in told if run.records or run.stage != "report")  # a report that was refused is no run
    return sorted(kept, key=lambda run: run.began, reverse=True)


def _directories(place: Path) -> Iterator[Path]:
    for directory, below, files in os.walk(place):
        if not set(MARKS).isdisjoint((*below, *files)):
            below.clear()  # what lies in a run is its own
            yield Path(directory)


def _run(directory: Path) -> Run:
    summary, jobs = read_json(directory / "summary.json"), job_directories(directory)
    summary = summary if isinstance(summary, dict) else {}
    records = [record for job in jobs if _whole(record := read_json(job / "cell.json"))]
    told = summary.get("cells")
    reported = [record for record in (told if isinstance(told, list) else []) if _whole(record)]
    records = max(records, reported, key=len)  # a report of other directories has none of its own
    config = _config(jobs[0]) if jobs else {}
    stage = config.get("stage")
    experiment = summary.get("experiment") or config.get("name")
    model = (config.get("model") or {}).get("name")
    said = "+".join(stage) if isinstance(stage, list) else stage
    known = len(jobs) if (jobs[:1] != [directory] or (directory / ".hydra").is_dir()) else 0
    return Run(
        directory, _began(directory), experiment, known, records, None if "evaluate" in str(said) else said, model
    )  # fmt: skip


def _whole(record: Any) -> bool:
    """Whether a record has what is read of it here."""
    if not isinstance(record, dict) or not isinstance(record.get("thinking_tokens"), dict):
        return False
    return isinstance(record.get("accuracy"), int | float) and isinstance(record.get("model"), str)


def _config(job: Path) -> dict[str, Any]:
    """What a job was set to, {} where that is not there or damaged."""
    from yaml import YAMLError, safe_load

    try:
        found = safe_load((job / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _began(directory: Path) -> datetime:
    """When a run began: by the time stamp in its name, else by the oldest of the files that mark it."""
    if match := _STAMP.search(directory.name):
        try:
            return datetime.strptime(match[0], "%Y-%m-%d_%H-%M-%S")
        except ValueError:
            pass
    marks = [directory / name for name in MARKS if (directory / name).exists()]
    return datetime.fromtimestamp(min(mark.stat().st_mtime for mark in marks))
