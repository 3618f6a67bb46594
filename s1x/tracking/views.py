"""The workspace and the report of a sweep, built from its summary with wandb-workspaces. Nothing here asks a network.

What panels show by name is what logged.py logs: tables `points`, `metrics`, `votes_*` and `scaling` of the sweep's run,
`samples` of its cells', `train/*` of trainings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces.expr import And, Config

from . import content
from .chart import FIELDS
from .names import SWEEP

TITLE = 128  # characters that a report's may have
MARKDOWN = 200_000  # characters of the tables that a report holds
X = {
    "thinking_tokens": "thinking tokens per question",
    "path_tokens": "tokens decoded per question",
    "flops": "operations per question",
}
TRAINING = tuple(f"train/{key}" for key in ("loss", "mean_token_accuracy", "learning_rate", "grad_norm", "tokens_per_second"))


def accuracy(chart: str, table: str, x: str, title: str, x_title: str, layout: Any) -> Any:
    """A panel of our preset (chart.py) over a table."""
    fields = dict(zip(FIELDS, (x, "accuracy", "accuracy_lo", "accuracy_hi", "label"), strict=True))
    query = {"summaryTable": {"tableKey": table}}
    strings = {"title": title, "x_title": x_title}
    return wr.CustomChart(query=query, chart_name=chart, chart_fields=fields, chart_strings=strings, layout=layout)


def sections(summary: dict[str, Any], markdown: str, chart: str, *, trained: bool) -> dict[str, list[Any]]:
    """Panels by what they are about; what the sweep has not is left out."""
    wide, half = wr.Layout(x=0, y=0, w=24, h=14), [wr.Layout(x=x, y=0, w=12, h=12) for x in (0, 12)]
    rows, votes = content.points(summary["cells"]), content.votes(summary)
    costs = [x for x in ("path_tokens", "flops") if any(row[x] for row in rows)]
    found = {
        "Accuracy against thinking": [
            accuracy(chart, "points", "thinking_tokens", str(summary.get("experiment") or ""), X["thinking_tokens"], wide)
        ],
        "Cost": [
            accuracy(chart, "points", x, f"Accuracy against {X[x]}", X[x], layout)
            for x, layout in zip(costs, half, strict=False)
        ],
        "Votes": [
            accuracy(chart, table, "k", content.KINDS[table.removeprefix("votes_")], "samples", half[at % 2])
            for at, table in enumerate(votes)
        ],
        "Control, Scaling, Performance": [
            wr.WeavePanelSummaryTable(table_name="metrics", layout=wr.Layout(x=0, y=0, w=24, h=8)),
            wr.MarkdownPanel(markdown=markdown[:MARKDOWN], layout=wr.Layout(x=0, y=8, w=24, h=16)),
        ],
        "Training": [
            wr.LinePlot(title=key, x="Step", y=[key], layout=half[at % 2]) for at, key in enumerate(TRAINING) if trained
        ],
        "Samples": [wr.WeavePanelSummaryTable(table_name="samples", layout=wide)],
        "Figure": [wr.MediaBrowser(media_keys=["scaling"], num_columns=1, layout=wide)],
    }
    return {name: panels for name, panels in found.items() if panels}


def workspace(place: dict[str, Any], summary: dict[str, Any], markdown: str, chart: str, *, trained: bool) -> dict[str, Any]:
    """What a `ws.Workspace` of the sweep has: name, sections, runset_settings."""
    return {
        "name": f"s1x: {place['group']}",
        "sections": [
            ws.Section(name=name, panels=panels, is_open=at < 2)
            for at, (name, panels) in enumerate(sections(summary, markdown, chart, trained=trained).items())
        ],
        "runset_settings": ws.RunsetSettings(
            filters=And(Config(SWEEP) == place["group"]),
            pinned_columns=["summary:accuracy", "summary:thinking_tokens", "summary:best.accuracy"],
        ),
    }


def report(place: dict[str, Any], summary: dict[str, Any], markdown: str, chart: str, *, trained: bool) -> dict[str, Any]:
    """What a `wr.Report` of the sweep has: title, description, blocks."""
    runs = {"entity": place["entity"], "project": place["project"], "filters": And(Config(SWEEP) == place["group"])}
    git = (summary.get("git") or {}).get("commit")
    about = [f"Command: {summary['command']}"] if summary.get("command") else []
    about += [f"Commit: {git}"] if git else []
    blocks: list[Any] = [wr.TableOfContents(), *(wr.P(text=line) for line in about)]
    for name, panels in sections(summary, markdown, chart, trained=trained).items():
        if name.startswith("Control"):  # a report has text of its own for the tables
            blocks += [wr.H2(text=name), wr.MarkdownBlock(text=markdown[:MARKDOWN])]
        else:
            blocks += [wr.H2(text=name), wr.PanelGrid(runsets=[wr.Runset(name="runs", **runs)], panels=panels)]
    return {
        "title": f"s1x: {place['group']}"[:TITLE],
        "description": f"{len(summary['cells'])} cells. Intervals are s1x's own (95%).",
        "blocks": blocks,
    }


def markdown_of(directory: Path) -> str:
    return (directory / "summary.md").read_text(encoding="utf-8")
