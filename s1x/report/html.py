"""report.html: one file with figure, tables, metrics in plain words and a trace browser, and nothing loaded from elsewhere.

Its script (the files SCRIPTS, inline) is allowed by its hash, and no other; text of models reaches the page as text alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from ..errors import printable
from ..files import write_text
from . import tables, traces
from .labels import budget_label, cell_labels, cost_line, figure_text, group, ignored_ends, series_names
from .load import Cell
from .paper import published_metrics

TEMPLATES = Path(__file__).parent
SCRIPTS = ("trace.js", "grid.js", "tables.js", "page.js")
FIELDS = ("repeat", "score", "extracted", "end", "waits", "thinking", "segments", "pool")  # of a trace, after its question


def write_report(
    path: Path, summary: dict[str, Any], cells: list[Cell], figures: dict[str, str], paper: dict[str, Any] | None
) -> None:
    """Render the page from the summary, the cells' traces and the figures (SVG). The same input gives the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    held, limit = _traces(cells, summary)
    script = "\n".join(_asset(name) for name in SCRIPTS)
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
        finding=_finding(summary),
        headline=_headline(summary),
        figures={name: _inline(svg) for name, svg in figures.items()},
        traces=_script_json(held),
        limit=limit,
        asked=max((len(cell.questions) for cell in cells), default=0),
        paper=paper,
        style=_asset("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    write_text(path, page)


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def _finding(summary: dict[str, Any]) -> str:
    """The result in a sentence or two: which cell of each task is best, and what a doubling of thinking buys."""
    records, names, said = summary["cells"], _cell_names(summary["cells"], task=False), []
    tasks = list(dict.fromkeys(r["task"] for r in records))
    for task in tasks:
        own = [at for at, r in enumerate(records) if r["task"] == task]
        best = max(own, key=lambda at: records[at]["accuracy"])  # of equals the first
        r, on = records[best], f"On {task} " if len(tasks) > 1 else ""
        low, high = r["accuracy_ci95"]
        figure = f"{100 * r['accuracy']:.1f}% right [{100 * low:.1f}, {100 * high:.1f}]"
        mean = r["thinking_tokens"]["mean"]
        tokens = "" if mean is None else f" with {mean:,.0f} thinking tokens"
        what = f"{names[best]} is best of {len(own)} cells" if len(own) > 1 else names[best]
        said.append(f"{on}{what}: {figure}{tokens}.")
    if summary["metrics"]:
        row = max(summary["metrics"], key=lambda row: row["n_points"])
        scaling = row["scaling"]
        if scaling["value"] is not None:
            low, high = scaling["ci95"] or (0, 0)
            clear = "" if low > 0 or high < 0 else ", which may be chance"
            verb, low, high = ("buys", low, high) if scaling["value"] >= 0 else ("costs", -high, -low)
            series = series_names(records)[row["task"], row["model"], row["series"]]
            on = f" on {row['task']}" if len(tasks) > 1 else ""
            points = f"{abs(scaling['value']):.1f} points [{low:.1f}, {high:.1f}]"
            said.append(f"For {printable(series)}{on} a doubling of thinking {verb} {points}{clear}.")
    return " ".join(said)


def _headline(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(number, what it is, its interval) of the largest series."""
    if not summary["metrics"]:
        return []
    row = max(summary["metrics"], key=lambda row: row["n_points"])
    name = series_names(summary["cells"])[row["task"], row["model"], row["series"]]
    several = len({other["task"] for other in summary["metrics"]}) > 1
    whose = f": {printable(name)}" + (f" on {row['task']}" if several else "") if len(summary["metrics"]) > 1 else ""
    numbers = [
        (f"points per doubling of thinking{whose}", row["scaling"], 1, ""),
        (f"cells within their limits{whose}", row["control"], 100, "%"),
    ]
    tiles = [
        (f"{scale * f['value']:.1f}{unit}", what, figure_text(f, scale, 1, unit).partition(" ")[2])
        for what, f, scale, unit in numbers
        if f["value"] is not None
    ]
    if summary["cost"]["sharing_ratio"]:
        tiles.append((f"{summary['cost']['sharing_ratio']:.1f}x", "fewer tokens than cell by cell", ""))
    return tiles


def _traces(cells: list[Cell], summary: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Data of the trace browser and the most questions per cell whose text fits traces.PAGE_BYTES (0: all).

    {kinds, cells: [name], tasks: [of each cell], questions: [[text, target, doc_id]], traces: per cell [[question index,
    *FIELDS]]}. Every trace says how it came out; one whose text does not fit has no segments.
    """
    limit = _fitting(cells)
    questions: dict[tuple[str, Any], int] = {}
    texts: list[list[str]] = []
    rows = []
    for cell in cells:
        wanted = set(cell.questions[:limit]) if limit else set(cell.questions)
        rows.append([])
        for t in cell.traces:
            key = (cell.record["task"], t["question"])
            if key not in questions:
                questions[key] = len(texts)
                texts.append([t["text"], t["target"], str(t["question"])])
            elif len(t["text"]) > len(texts[questions[key]][0]):
                texts[questions[key]][0] = t["text"]
            held = t if t["question"] in wanted else t | {"segments": None, "pool": None}
            rows[-1].append([questions[key], *(held[field] for field in FIELDS)])
    tasks = [cell.record["task"] for cell in cells]
    return {
        "kinds": traces.KINDS, "cells": _cell_names(summary["cells"]), "tasks": tasks, "questions": texts, "traces": rows,
    }, limit  # fmt: skip


def _fitting(cells: list[Cell]) -> int:
    """Most questions per cell whose traces fit the page together; 0 when all do, and at least 1."""
    sizes: dict[int, int] = {}
    for cell in cells:
        rank = {q: i for i, q in enumerate(cell.questions)}
        for trace in cell.traces:
            at = rank[trace["question"]]
            sizes[at] = sizes.get(at, 0) + traces.size(trace)
    total, limits = 0, []
    for at in sorted(sizes):
        total += sizes[at]
        if total > traces.PAGE_BYTES:
            limits.append(max(at, 1))
            break
    for cell in cells:  # of which load.py may have kept less
        held = {t["question"] for t in cell.traces if t["segments"] is not None}
        if len(held) < len(cell.questions):
            limits.append(len(held))
    return min(limits, default=0)


def _cell_names(records: list[dict[str, Any]], task: bool = True) -> list[str]:
    names, labels = series_names(records), cell_labels(records)
    parts = []
    for r, label in zip(records, labels, strict=True):
        point = f"end ignored {ignored_ends(r)}x" if ignored_ends(r) else f"budget {budget_label(r)}" if r.get("budget") else ""
        parts.append(printable(" · ".join(p for p in (r["task"] * task, names[group(r)], point, label) if p)))
    return parts


def _inline(svg: str) -> str:
    """A figure for an HTML body: no XML head, and as wide as the page. It brings the page's colours, dark ones, too."""
    svg = re.sub(r"<!--.*?-->\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1)


def _script_json(data: Any) -> str:
    """JSON that cannot end its script element nor open a comment in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
