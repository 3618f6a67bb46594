"""The figures of a sweep: which there are goes by what its summary holds. Each is a PNG, an SVG and a PDF of one name.

scaling: accuracy over tokens or operations. published: the published points whose model or task is another. metrics: Control,
Scaling and Performance of several series. votes: what votes of k samples are worth. ablation: trainings compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .rows import ablation, metrics
from .scaling import published, scaling
from .style import Sheet, drawing
from .votes import votes

NAMES = {
    "scaling": "Accuracy over tokens",
    "published": "Published accuracy over tokens",
    "metrics": "Control, Scaling and Performance",
    "votes": "Accuracy over the number of votes",
    "ablation": "Trainings compared",
}
ENDINGS = (".png", ".svg", ".pdf")


def draw(directory: Path, summary: dict[str, Any], paper: dict[str, Any] | None, x: str) -> dict[str, str]:
    """Write the figures of a summary (aggregate.py); the SVG of each, by name. The same input gives the same bytes."""
    with drawing():
        return {name: page.save(directory / name, NAMES[name]) for name, page in pages(summary, paper, x).items()}


def pages(summary: dict[str, Any], paper: dict[str, Any] | None, x: str) -> dict[str, Sheet]:
    """The figures there are, by name, to be made and kept within `drawing`."""
    records = summary["cells"]
    beside, apart = parted(paper["points"] if paper and x != "flops" else [], records)
    found = {
        "scaling": scaling(records, summary["pools"], beside, x),
        "published": published(apart, x) if apart else None,
        "metrics": metrics(summary["metrics"], records),
        "votes": votes(summary["pools"], records),
        "ablation": ablation(summary["ablation"]),
    }
    return {name: page for name, page in found.items() if page}


def parted(points: list[dict[str, Any]], records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(published points of a model and a task that are measured here, all others)."""
    here = {(r["task"], r["model"]) for r in records}
    beside = [p for p in points if (p["task"], p.get("model")) in here]
    return beside, [p for p in points if p not in beside]
