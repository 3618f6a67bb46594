"""The funnel: how many records went into each step, how many came out, why the others went, with examples."""

from __future__ import annotations

import html
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

EXAMPLES, WIDTH = 3, 90


@dataclass
class Row:
    """One step: `dropped` maps a reason to how many, `examples` a reason to a few of the questions that went."""

    step: str
    before: int
    after: int
    dropped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)


def row(step: str, table: pa.Table, dropped: list[str | None]) -> Row:
    """Count one step's outcome on the table it was given."""
    reasons = Counter(reason for reason in dropped if reason is not None)
    examples: dict[str, list[str]] = {reason: [] for reason, _ in reasons.most_common()}
    for i, reason in enumerate(dropped):
        if reason is not None and len(examples[reason]) < EXAMPLES:
            examples[reason].append(_short(table["question"][i].as_py()))
    return Row(step, len(dropped), len(dropped) - reasons.total(), dict(reasons.most_common()), examples)


def as_json(name: str, key: str, rows: list[Row], **more: Any) -> str:
    """The funnel as a file: name, key, steps (as `Row`) and whatever else is given."""
    return json.dumps({"name": name, "key": key, **more, "steps": [asdict(r) for r in rows]}, indent=1, ensure_ascii=False)


def as_markdown(rows: list[Row]) -> str:
    lines = ["| step | in | out | why dropped |", "|---|---:|---:|---|"]
    for r in rows:
        why = "; ".join(f"{count:,} {reason}" for reason, count in r.dropped.items()) or "-"
        lines.append(f"| {r.step} | {r.before:,} | {r.after:,} | {why} |")
    return "\n".join(lines)


def as_html(rows: list[Row], name: str) -> str:
    """A self-contained fragment (a table with bars) for report.html."""
    most = max((r.before for r in rows), default=1) or 1
    body = []
    for r in rows:
        why = ""
        for reason, count in r.dropped.items():
            examples = "".join(f"<li><code>{html.escape(e)}</code></li>" for e in r.examples[reason])
            why += f"<li>{count:,} {html.escape(reason)}<ul>{examples}</ul></li>"
        bar = f'<div style="background:#4477aa;height:.8em;width:{100 * r.after / most:.1f}%"></div>'
        details = f"<details><summary>{sum(r.dropped.values()):,} dropped</summary><ul>{why}</ul></details>" if why else "-"
        cells = (html.escape(r.step), f"{r.before:,}", f"{r.after:,}", bar, details)
        body.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return (
        f'<section class="funnel"><h2>Data: {html.escape(name)}</h2><table><thead><tr><th>step</th><th>in</th><th>out</th>'
        f'<th style="width:30%"></th><th>why dropped</th></tr></thead><tbody>{"".join(body)}</tbody></table></section>'
    )


def _short(text: str | None) -> str:
    if text is None:
        return "(no question)"
    head = "".join(c if c.isprintable() else "\u00b7" for c in " ".join(text[: 4 * WIDTH].split()))
    return head if len(head) <= WIDTH else head[: WIDTH - 1] + "\u2026"
