"""Numbers with their intervals as bars, one row per series or model: Control, Scaling and Performance; trainings compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..labels import group, series_names
from .style import COLOURS, GRID, INK, Margins, Sheet, fitted, thin, width

ROW, LEAST = 0.36, 0.5  # inches: of a row, and of a panel's bars at least
NAME = 2.6  # of a name at most
WRITTEN = 1.15  # inches for a number with its interval


@dataclass
class Column:
    """values: of each row {value, ci95} or None. dots: they are differences, shown as points about zero."""

    title: str
    values: Sequence[dict[str, Any] | None]
    scale: float = 1
    digits: int = 1
    dots: bool = False


@dataclass
class Block:
    title: str
    names: Sequence[str]
    columns: Sequence[Column]


def metrics(rows: Sequence[dict[str, Any]], records: list[dict[str, Any]]) -> Sheet | None:
    """Control, Scaling and Performance, where two or more series of a task have several points."""
    names = series_names(records)
    blocks = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task and row["n_points"] > 1]
        if len(own) > 1:
            unit = own[0]["scaling"]["unit"]
            columns = [
                Column("Control (%)", [row["control"] for row in own], 100, 0),
                Column(f"Scaling ({unit})", [row["scaling"] for row in own]),
                Column("Performance (%)", [row["performance"] for row in own], 100),
            ]
            blocks.append(Block(task, [names[group(row)] for row in own], columns))
    return _sheet(blocks) if blocks else None


def ablation(rows: Sequence[dict[str, Any]]) -> Sheet | None:
    """Trained models: accuracy, difference to the first with its interval, and how long they think."""
    blocks = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        apart = [None if row["difference"] is None else {"value": row["difference"], "ci95": row["ci95"]} for row in own]
        columns = [
            Column("Accuracy (%)", [{"value": row["accuracy"]} for row in own], 100),
            Column("Difference to the first (points)", apart, 100, dots=True),
            Column("Average thinking tokens", [{"value": row["thinking_tokens"]} for row in own], digits=0),
        ]
        blocks.append(Block(task, [row["model"] for row in own], columns))
    return _sheet(blocks) if blocks else None


def _sheet(blocks: Sequence[Block]) -> Sheet:
    wide = len(blocks[0].columns)
    names = [[fitted(name, NAME, 8.5) for name in block.names] for block in blocks]
    titles = [[fitted(column.title, 1.75 + WRITTEN, 9, "bold") for column in block.columns] for block in blocks]
    lines = max(name.count("\n") + 1 for own in names for name in own)
    tasks = [fitted(block.title, 5, 10, "bold") for block in blocks]
    above = 0.3 + 0.17 * max(title.count("\n") + 1 for own in titles for title in own)
    above += 0.19 * max(task.count("\n") for task in tasks)
    heights = [max(ROW * max(1, 0.55 * lines) * len(block.names), LEAST) for block in blocks]
    first = 0.2 + max(width(name, 8.5) for own in names for name in own)
    page = Sheet(len(blocks) * wide, wide, (1.75, 0), Margins(0.12, WRITTEN, above, 0.35), heights, first)
    for number, (block, own) in enumerate(zip(blocks, names, strict=True)):
        for place, column in enumerate(block.columns):
            axes = page.axes[number * wide + place]
            _bars(axes, column)
            axes.set_title(titles[number][place], loc="left", fontsize=9)
            axes.set_yticks(range(len(own)), own if place == 0 else [""] * len(own), fontsize=8.5)
            axes.tick_params(axis="y", length=0)
            thin(axes, page.renderer, "x")
            if place == 0:
                axes.annotate(
                    tasks[number], (0, 1), (-first * 72 + 8, 22 + 12 * titles[number][0].count("\n")),
                    xycoords="axes fraction", textcoords="offset points", fontweight="bold", fontsize=10, va="bottom",
                    annotation_clip=False,
                )  # fmt: skip
    page.note("Horizontal lines are 95% intervals.")
    return page


def _bars(axes: Any, column: Column) -> None:
    rows = range(len(column.values))
    known = [(row, value) for row, value in zip(rows, column.values, strict=True) if value and value["value"] is not None]
    ends = [0.0]
    for row, value in known:
        middle, ci = column.scale * value["value"], value.get("ci95")
        low, high = (column.scale * v for v in ci) if ci else (middle, middle)
        ends += [middle, low, high]
        if column.dots:
            axes.plot([middle], [row], "o", ms=6, color=COLOURS[0], zorder=3)
        else:
            axes.barh(row, middle, height=0.6, color=COLOURS[5], edgecolor=COLOURS[0], lw=0.8, zorder=2)
        if ci:
            axes.plot([low, high], [row, row], color=INK, lw=1.2, zorder=4, solid_capstyle="butt")
    least, most = min(ends), max(ends)
    spare = 0.06 * (most - least or 1)
    axes.set_xlim(least - spare * (least < 0), most + spare)
    axes.set_ylim(len(column.values) - 0.5, -0.5)  # the first on top
    axes.axvline(0, color=INK, lw=0.8, zorder=1)
    axes.grid(axis="x", color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    for row in rows:
        axes.annotate(
            _number(column, row), (1, row), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            fontsize=7.5, annotation_clip=False,
        )  # fmt: skip


def _number(column: Column, row: int) -> str:
    value = column.values[row]
    if not value or value["value"] is None:
        return "first" if column.dots and row == 0 else "-"
    sign = "+" if column.dots else ""
    text = f"{column.scale * value['value']:{sign},.{column.digits}f}"
    if value.get("ci95"):
        text += "\n[{:{s},.{d}f}, {:{s},.{d}f}]".format(*(column.scale * v for v in value["ci95"]), s=sign, d=column.digits)
    return text
