"""TEST DATA: summaries with invented numbers in the shape that an experiment's grid gives; what a figure shows, measured."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.text import Text

from s1x.cell import Cell
from s1x.evaluation import naming
from s1x.report.figures import pages
from s1x.report.figures.style import drawing
from s1x.report.labels import group

ROOT = Path(__file__).parents[2]
TABLE3 = ROOT / "tests" / "metrics" / "table3.yaml"


def identities(configs: list[Any]) -> list[dict[str, Any]]:
    """What the records of a grid's jobs say of themselves."""
    from hydra_plugins.s1x_sweeps._jobs import Job

    jobs = [Cell(Job(c).task, Path(), Path(), c.hydra.job.num, list(c.hydra.overrides.task)) for c in configs]
    return [naming.identity(job) | {"model": naming.model_of(job.cfg)} for job in jobs]


def measured(said: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The records with numbers, a third of them those of the record before: their cells read the same streams."""
    rng, found = random.Random(seed), []
    for one in said:
        found.append(one | (numbers(rng, one["budget"]) if not found or rng.random() > 0.3 else found[-1] | one))
    return found


def numbers(rng: random.Random, budget: int | None) -> dict[str, Any]:
    tokens = 0 if rng.random() < 0.1 else min(budget or 10**9, rng.lognormvariate(6, 0.7))
    right = rng.randrange(0, 101) / 100
    return {
        "n_questions": 100, "samples_per_question": 1, "accuracy": right, "accuracy_ci95": around(right, 0, 1),
        "thinking_tokens": {"mean": tokens}, "path_tokens": int(100 * (tokens + 5) * rng.choice((1, 1, 16))),
        "flops": int(1e9 * (tokens + 5)), "forced_end_rate": rng.choice((0.0, 0.2, 0.7, 1.0)),
    }  # fmt: skip


def around(value: float, least: float = -9, most: float = 9) -> list[float]:
    return [max(value - 0.08, least), min(value + 0.08, most)]


def summary_of(records: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """As `aggregate` has it, in the parts that are drawn: pools of what has `n`, metrics of series, trainings."""
    rng = random.Random(seed)

    def figure() -> dict[str, Any]:
        return (
            {"value": (value := rng.uniform(-1, 1)), "ci95": around(value)}
            if rng.random() > 0.1
            else {"value": None, "ci95": None}
        )

    groups = {own: [r for r in records if group(r) == own] for own in dict.fromkeys(map(group, records))}
    pools = []
    for r in (r for r in records if r["settings"].get("method.n") and rng.random() > 0.2):
        for k in (1, 2, 4, 8, 16):
            right = r["accuracy"] if k == 16 else rng.random()
            maj = {"value": right, "ci95": around(right, 0, 1)}
            pools.append({"cell_id": r["cell_id"], "k": k, "maj": maj, "pass": {"value": (right + 1) / 2}})
    metrics = [
        {"task": task, "model": model, "series": series, "n_points": len(cells), "control": figure(), "performance": figure()}
        | {"scaling": figure() | {"unit": "points per doubling"}}
        for (task, model, series), cells in groups.items()
    ]
    trained = [r for r in records if len(groups[group(r)]) == 1 and len(groups) > 1]
    ablation = [
        {"task": r["task"], "model": r["model"], "accuracy": r["accuracy"], "thinking_tokens": r["thinking_tokens"]["mean"]}
        | (
            {"difference": None, "ci95": None}
            if r is trained[0]
            else {"difference": (d := rng.uniform(-0.3, 0.3)), "ci95": around(d)}
        )
        for r in trained
    ]
    return {"cells": records, "pools": pools, "metrics": metrics, "ablation": ablation}


def overlaps(page: Any) -> list[str]:
    """Everything in a figure that lies on something else: a text on a text, on a point of the data, or cut off by the paper's
    edge; a legend on a panel."""
    figure = page.figure
    figure.draw_without_rendering()
    renderer, paper = figure.canvas.get_renderer(), figure.bbox
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    texts = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
    found = [
        f"{text!r} is cut off" for text, b in texts if b.x0 < paper.x0 or b.x1 > paper.x1 or b.y0 < paper.y0 or b.y1 > paper.y1
    ]
    found += [f"{a!r} on {b!r}" for (a, one), (b, other) in combinations(texts, 2) if one.overlaps(other)]
    for x, y, radius in points(figure):
        for text, b in texts:
            if np.hypot(max(b.x0 - x, 0, x - b.x1), max(b.y0 - y, 0, y - b.y1)) < radius:
                found.append(f"{text!r} on the point at {x:.0f}, {y:.0f}")
    boxes = [legend.get_window_extent(renderer) for legend in figure.legends]
    return found + ["a legend on a panel" for axes in figure.axes for box in boxes if box.overlaps(axes.bbox)]


def points(figure: Any) -> list[tuple[float, float, float]]:
    """x, y and radius of every mark, in dots."""
    lines = [(axes, line) for axes in figure.axes for line in axes.lines if line.get_marker() not in ("None", "", None)]
    return [
        (x, y, line.get_markersize() / 144 * figure.dpi)
        for axes, line in lines
        for x, y in axes.transData.transform(line.get_xydata())
    ]


def fills(page: Any) -> list[tuple[float, float, str]]:
    """x, y and fill of every mark, in the order of drawing."""
    found = []
    for line in (line for axes in page.figure.axes for line in axes.lines if line.get_marker() not in ("None", "", None)):
        half = "half" if line.get_fillstyle() == "left" else "hollow" if line.get_markerfacecolor() == "#ffffff" else "full"
        found += [(x, y, half) for x, y in line.get_xydata().tolist()]
    return found


def drawn(summary: dict[str, Any], paper: dict[str, Any] | None = None, x: str = "thinking_tokens") -> dict[str, Any]:
    """The figures of a summary, not yet written."""
    with drawing():
        return pages(summary, paper, x)
