"""report.html: one file with figure, tables, metrics in plain words and a trace browser, and nothing loaded from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..files import write_text
from . import tables
from .labels import budget_label, cell_labels, cost_line, figure_text, group, ignored_ends, point_label, series_names
from .load import KINDS, TRACE_BYTES, Cell, trace_bytes
from .paper import published_metrics

TEMPLATES = Path(__file__).parent


def write_report(path: Path, summary: dict[str, Any], cells: list[Cell], svg: str, paper: dict[str, Any] | None) -> None:
    """Render the page from the summary, the cells' traces and the figure. The same input gives the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    traces, shown = _traces(cells, summary)
    found = tables.of_summary(summary)
    if (steps := tables.comparisons(summary["comparisons"], summary["cells"], steps=True)).rows:
        found.append(steps)
    if paper and paper["table"]:
        found.append(tables.published(paper, summary["metrics"]))
    if paper and paper["points"]:
        found.append(tables.published_points(published_metrics(paper)))
    page = environment.get_template("report.html.jinja").render(
        summary=summary,
        tables={table.name: table for table in found},
        cost=cost_line(summary["cost"]),
        headline=_headline(summary),
        svg=_inline(svg),
        traces=_script_json(traces),
        shown=shown,
        asked=max((len(cell.questions) for cell in cells), default=0),
        paper=paper,
    )
    write_text(path, page)


def _headline(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(number, what it is, its interval) of the largest series."""
    if not summary["metrics"]:
        return []
    row = max(summary["metrics"], key=lambda row: row["n_points"])
    numbers = [("best accuracy", row["performance"], 100, "%"), ("points per doubling of thinking", row["scaling"], 1, "")]
    numbers.append(("cells within their limits", row["control"], 100, "%"))
    tiles = [
        (f"{scale * f['value']:.1f}{unit}", what, figure_text(f, scale, 1, unit).partition(" ")[2])
        for what, f, scale, unit in numbers
        if f["value"] is not None
    ]
    if summary["cost"]["sharing_ratio"]:
        tiles.append((f"{summary['cost']['sharing_ratio']:.1f}x", "fewer tokens than cell by cell", ""))
    return tiles


def _traces(cells: list[Cell], summary: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Data of the trace browser and the most questions per cell that fit TRACE_BYTES (0: all).

    {kinds, cells: [name], questions: [[text, target]], traces: per cell [[question index, repeat, score, extracted, end,
    waits, thinking, segments, members]]}.
    """
    limit = _fitting(cells)
    names = _cell_names(summary["cells"])
    questions: dict[tuple[str, Any], int] = {}
    texts: list[list[str]] = []
    kept = []
    for cell in cells:
        wanted = set(cell.questions[:limit]) if limit else set(cell.questions)
        rows = []
        for t in cell.traces:
            if t["question"] not in wanted:
                continue
            key = (cell.record["task"], t["question"])
            if key not in questions:
                questions[key] = len(texts)
                texts.append([t["text"], t["target"]])
            fields = ("repeat", "score", "extracted", "end", "waits", "thinking", "segments", "members")
            rows.append([questions[key], *(t[field] for field in fields)])
        kept.append(rows)
    return {"kinds": KINDS, "cells": names, "questions": texts, "traces": kept}, limit


def _fitting(cells: list[Cell]) -> int:
    """Most questions per cell whose traces fit the page together; 0 when all do, and at least 1."""
    sizes: dict[int, int] = {}
    for cell in cells:
        rank = {q: i for i, q in enumerate(cell.questions)}
        for trace in cell.traces:
            at = rank[trace["question"]]
            sizes[at] = sizes.get(at, 0) + trace_bytes(trace)
    total, whole = 0, all(len(cell.traces) >= len(cell.questions) for cell in cells)
    for at in sorted(sizes):
        total += sizes[at]
        if total > TRACE_BYTES:
            return max(at, 1)
    return 0 if whole else min(len({t["question"] for t in cell.traces}) for cell in cells if cell.traces)


def _cell_names(records: list[dict[str, Any]]) -> list[str]:
    names, labels = series_names(records), cell_labels(records)
    parts = []
    for r, label in zip(records, labels, strict=True):
        point = f"end ignored {point_label(r)}" if ignored_ends(r) else f"budget {budget_label(r)}" if r.get("budget") else ""
        parts.append(" · ".join(p for p in (r["task"], names[group(r)], point, label) if p))
    return parts


def _inline(svg: str) -> str:
    """The figure for an HTML body: no XML head, as wide as the page, text in the page's colours."""
    from .figure import GRID, INK

    svg = re.sub(r"<!--.*?-->\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r'\1 role="img" aria-label="Accuracy over average thinking tokens"', svg, count=1
    )
    return svg.replace(INK, "var(--ink)").replace(GRID, "var(--line)")


def _script_json(data: Any) -> str:
    """JSON that cannot end its script element nor open a comment in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
