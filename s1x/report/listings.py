"""Tables of what is no result: plans, past runs, checks. As in tables.py each is described once, and render.py writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .tables import WHICH, Column, Table, which_cell


def plan(records: list[dict[str, Any]], costs: list[Sequence[Any]], device: str) -> Table:
    """What a command would run. costs: per cell (streams, tokens alone, tokens here, time as text)."""
    columns = [
        Column("job", "count", always=True, key=True), *WHICH, Column("streams", "count", always=True, rank=1),
        Column("tokens alone", "tokens", always=True), Column("tokens here", "tokens", always=True),
        Column("time", "value", always=True),
    ]  # fmt: skip
    rows = [[r["job"], *which, *cost] for r, which, cost in zip(records, which_cell(records), costs, strict=True)]
    return Table("plan", columns, rows, [f"Time: on {device}."])


PARTS = ("weights", "gradients", "optimizer", "activations", "workspace", "total")


def trainings(rows: Sequence[Sequence[Any]], note: str) -> Table:
    """What a training needs. rows: (devices, examples at a time, passes, GB of PARTS on each device, whether that fits)."""
    columns = [
        Column("devices", "count", always=True, key=True), Column("at a time", "count"), Column("passes", "count"),
        *(Column(part, "gigabytes", always=True, rank=0 if part == "total" else 2) for part in PARTS),
        Column("GB on each device", always=True),
    ]  # fmt: skip
    return Table("trainings", columns, rows, [note])


def runs(rows: Sequence[Sequence[Any]]) -> Table:
    """Past runs, newest first: (number, date, experiment, model, cells, best accuracy, its thinking tokens, directory)."""
    columns = [
        Column("#", "count", always=True, key=True), Column("date", always=True), Column("experiment", always=True),
        Column("model", always=True), Column("cells", "value", always=True), Column("best %", "share", always=True),
        Column("thinking", "tokens", always=True), Column("directory", always=True, rank=1),
    ]  # fmt: skip
    note = "Best: the cell of the highest accuracy, with its mean thinking tokens. report.of=DIR narrows the list."
    return Table("runs", columns, rows, [note])


def checks(rows: Sequence[Sequence[str]]) -> Table:
    """What stands in the way of a command: (what was looked at, ok, note or problem, what there is and what to do)."""
    columns = [Column("check", always=True, key=True), Column("", always=True, key=True), Column("found", always=True)]
    return Table("checks", columns, rows)


def funnel(rows: Sequence[Any]) -> Table:
    """How a data set came about: rows of data.funnel, with what each step dropped and an example of it."""
    columns = [
        Column("step", always=True, key=True), Column("in", "count", always=True), Column("out", "count", always=True),
        Column("why dropped", always=True), Column("for example", always=True, rank=1),
    ]  # fmt: skip
    lines = []
    for row in rows:
        why = "; ".join(f"{count:,} {reason}" for reason, count in row.dropped.items())
        lines.append([row.step, row.before, row.after, why, "; ".join(some[0] for some in row.examples.values() if some)])
    return Table("funnel", columns, lines)


def plain(titles: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> Table:
    """Figures of a benchmark of s1x itself: rows of text whose first column says what they are about."""
    columns = [Column(title, "value" if at else "text", always=True, key=not at) for at, title in enumerate(titles)]
    return Table("plain", columns, rows, [note] if note else [])
