"""Rows become cells: parted, checked against one another, graded here where that is asked for, and written like our own."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ..cell import write_files
from ..errors import SettingError
from ..metrics.cell import cell_record
from ..metrics.harness import aggregated
from . import files, pools
from .rows import Point, Read, Row, shortened


@dataclass
class Found:
    """One cell in memory. `sources`: [{file, sha256}] of the files that its rows come from; `taken`: see Read."""

    point: Point
    rows: list[Row]
    metric: str
    sources: list[dict[str, str]]
    notes: list[str]
    taken: dict[str, tuple[str, list[str]]]

    @property
    def choice(self) -> str:
        """What was taken where a file holds several: "filter strict-match (not flexible-extract: import.filter chooses)"."""
        return ", ".join(
            f"{key} {chosen} (not {', '.join(others)}: import.{key} chooses)" if others else f"{key} {chosen}"
            for key, (chosen, others) in self.taken.items()
            if any(left for _, left in self.taken.values())
        )

    @property
    def key(self) -> str:
        """Of everything that says which cell this is, its files included: results of another week are another cell."""
        return blake2b(json.dumps([self.point, self.sources], default=str).encode(), digest_size=4).hexdigest()


def part(reads: Sequence[Read], settings: Mapping[str, Any]) -> list[Found]:
    """The cells of some files, in order of first appearance.

    Raises SettingError where a question stands in a cell twice and nothing says which sample it is.
    """
    cells: dict[Point, list[tuple[Read, Row]]] = {}
    called = shortened({row.point for read in reads for row in read.rows})
    for read in reads:
        for row in read.rows:
            cells.setdefault(called[row.point], []).append((read, row))
    digests = {read.path: files.digest(read.path) for read in reads}
    notes = {read.path: read.notes for read in reads}
    found = []
    for at, members in cells.items():
        _check_once([row for _, row in members], settings["format"])
        of = list(dict.fromkeys(read.path for read, _ in members))
        sources = [{"file": str(path), "sha256": digests[path]} for path in of]
        said = [note for path in of for note in notes.pop(path, [])]  # each is said once
        found.append(Found(at, [row for _, row in members], members[0][0].metric, sources, said, members[0][0].taken))
    for cell in found:
        cell.notes += _gaps(cell)
        cell.notes += pools.notes(cell.rows, cell.sources[0]["file"]) if settings["votes"] else []
    return found


def _check_once(rows: Sequence[Row], format: str) -> None:
    seen: dict[tuple[Any, Any], Row] = {}
    for row in rows:
        first = seen.setdefault((row.question, row.sample), row)
        if first is not row:
            which = f"question {str(row.question)[:80]}" + ("" if row.sample is None else f", sample {row.sample},")
            hint = "import.names={...} or import.columns.setting=... parts cells"
            if format == "table" and row.sample is None:
                hint = f"import.columns.sample=... tells samples of a question apart, {hint}"
            raise SettingError(f"{row.where}: {which} stands in one cell twice (first in {first.where}); {hint}")


def _gaps(cell: Found) -> list[str]:
    """Sentences about token counts that some rows have and others have not."""
    gaps = []
    for key in ("thinking_tokens", "answer_tokens", "path_tokens"):
        missing = sum(getattr(row, key) is None for row in cell.rows)
        if 0 < missing < len(cell.rows):
            file = cell.sources[0]["file"]
            gaps.append(f"{file}: {missing} of {len(cell.rows)} rows have no {key}, so those of the cell are not known")
    return gaps


def _silent(verdicts: Iterable, total: int) -> Iterable:
    return verdicts


def write(
    cells: Sequence[Found],
    directory: Path,
    settings: Mapping[str, Any],
    shown: Callable[[Iterable, int], Iterable] = _silent,
    vote: pools.Vote | None = None,
) -> list[dict[str, Any]]:
    """Write each cell into a directory of its own, `directory`/0 and so on; returns their records.

    vote: of the samples of a question, where they are a pool (evaluation.votes).
    shown: passes on verdicts one by one as they are reached, of so many, and shows how far it is.
    """
    rows = [row for cell in cells for row in cell.rows]
    verdicts = iter(shown(_verdicts(rows, settings["regrade"]), len(rows)))
    records = []
    for number, cell in enumerate(cells):
        repeats: Counter[Any] = Counter()
        lines = []
        for row in cell.rows:
            lines.append(_line(row, next(verdicts), repeats[row.question], cell.metric))
            repeats[row.question] += 1
        regraded = _regraded(lines)
        lines = pools.pooled(lines, cell.metric, vote) if vote else lines
        records.append(_write(cell, lines, directory / str(number), number, settings, regraded))
    return records


def _verdicts(rows: Sequence[Row], regrade: bool) -> Iterator[dict[str, Any]]:
    """`score, extracted, no_answer, reader` of each row: as published, or graded here (with `regrade` all)."""
    ours = [row for row in rows if regrade or row.score is None]
    if ours:
        from .grading import grade

        graded = grade(ours)
    for row in rows:
        if regrade or row.score is None:
            yield next(graded)
        else:
            yield {"score": row.score, "extracted": row.extracted, "no_answer": row.no_answer, "reader": "published"}


def _line(row: Row, verdict: dict[str, Any], repeat: int, metric: str) -> dict[str, Any]:
    """The sample line; token counts that nobody said are None."""
    text = row.text or ""
    segments = [("thinking", row.thinking, row.thinking_tokens), ("answer", row.text, row.answer_tokens)]
    published = {"published": row.score} if row.score is not None and verdict["reader"] != "published" else {}
    return {
        "doc_id": row.question,
        "doc": {"question": row.asked} if row.asked else {},
        "target": row.target or "",
        "resps": [[text]],
        "filtered_resps": [verdict["extracted"] or ""],
        "filter": "none",
        "metrics": [metric],
        **row.more,
        metric: verdict["score"],
        "repeat": repeat,
        **verdict,
        **published,
        "segments": [{"kind": kind, "text": said, "tokens": n} for kind, said, n in segments if said],
        "thinking_tokens": row.thinking_tokens,
        "answer_tokens": row.answer_tokens,
        "path_tokens": row.path_tokens,
        "end": None,
        "waits": None,
        "info": {},
    }


def _regraded(lines: Sequence[dict[str, Any]]) -> dict[str, int] | None:
    """How many answers were graded here, and how many of those that had a grade got another one."""
    ours = [line for line in lines if line["reader"] != "published"]
    changes = [line["score"] - line["published"] for line in ours if "published" in line]
    up, down = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    return {"answers": len(ours), "to_right": up, "to_wrong": down} if ours else None


def _write(
    cell: Found,
    lines: list[dict[str, Any]],
    directory: Path,
    number: int,
    settings: Mapping[str, Any],
    regraded: dict[str, int] | None,
) -> dict[str, Any]:
    at = cell.point
    limits = [None, at.budget]
    own = dict(at.settings)
    told = {"model.name": at.model, "task.name": at.task, "series": at.series, "budget": at.budget, "wait": at.wait, **own}
    source = {"format": settings["format"], "files": cell.sources, "regraded": regraded, "notes": cell.notes}
    source |= {key: chosen for key, (chosen, _) in cell.taken.items()}
    source |= {"left_out": {key: others for key, (_, others) in cell.taken.items() if others}}
    identity = {
        "cell_id": "-".join(re.sub(r"[^\w.+]+", "_", name) for name in (at.model, at.task, at.series)) + f"-{cell.key}",
        "job": number,
        "series": at.series,
        "model": at.model,
        "task": at.task,
        "method": settings["format"],
        "overrides": [],
        "seed": own.get("seed"),
        "temperature": own.get("temperature"),
        "budget": at.budget,
        "limit_tokens": limits,
        "settings": {key: value for key, value in told.items() if value is not None} | {"source": cell.key},
        "declared": {"limits": limits, "ignored_ends": at.wait or 0, "relative": None, "free": False},
    }
    record = cell_record(lines, identity) | {"source": source}
    results = {
        "results": {at.task: {"alias": at.task, **aggregated(lines)}},
        "n-samples": {at.task: {"original": record["n_questions"], "effective": record["n_questions"]}},
        "config": {"model": at.model, "source": source},
    }
    write_files(directory, at.task, lines, results, record)
    return record
