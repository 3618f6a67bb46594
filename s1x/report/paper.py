"""Published numbers beside ours: `paper.yaml`, one per study.

    source: s1, arXiv 2501.19393v3, Figure 1
    model: s1-32B        # as conf/model calls it; a point may name another
    points:              # drawn faint beside cells of the same model and task, all others in a figure of their own
      - {series: BF, task: aime24, tokens: 500, accuracy: 0/30, label: max 500}
      - {series: BF, task: aime24, tokens: 6657, accuracy: 16/30, label: Wait 2x, limit_tokens: [null, 32000]}
    table:               # rows as printed, any columns; shown in the report in this order
      - {method: BF, control: 100%, scaling: 15, performance: 56.7}
    note: One sentence about the source.

A point needs series, task, tokens (mean thinking tokens) and accuracy (a fraction: 0.533 or 16/30). Optional are label,
model, limit_tokens [min, max] (for Control) and `in_scaling: false` (a point that the published Scaling leaves out). All top
keys but `source` may be absent.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..metrics.scaling import control, pairwise_slope

KEYS = {"source", "model", "points", "table", "note"}
NEEDED = ("series", "task", "tokens", "accuracy")
OPTIONAL = ("label", "model", "limit_tokens", "in_scaling")


def load_paper(path: Path) -> dict[str, Any]:
    """Read a paper.yaml into {source, points, table, note}; accuracies become floats. ValueError names the faulty point."""
    data = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    if not isinstance(data, dict) or "source" not in data or set(data) - KEYS:
        raise ValueError(
            f"{path}: published numbers need `source` and may have {', '.join(sorted(KEYS - {'source'}))}, nothing else"
        )
    model = {"model": data["model"]} if data.get("model") else {}
    points = [model | _point(path, number, point) for number, point in enumerate(data.get("points") or [], 1)]
    return {"source": data["source"], "points": points, "table": data.get("table") or [], "note": data.get("note") or ""}


def published_metrics(paper: dict[str, Any]) -> list[dict[str, Any]]:
    """Control, Scaling and Performance from the published points, as the paper computes them; one row per (task, series).

    Only mean values are published, so there are no intervals; pairs count as the paper counts them (`compat="s1"`).
    """
    rows = []
    for task, series in dict.fromkeys((p["task"], p["series"]) for p in paper["points"]):
        points = [p for p in paper["points"] if (p["task"], p["series"]) == (task, series)]
        used = [p for p in points if p.get("in_scaling", True)]
        share = control(np.array([p["tokens"] for p in points]), [p.get("limit_tokens") for p in points])
        slope = pairwise_slope(np.array([p["tokens"] for p in used]), np.array([p["accuracy"] for p in used]), compat="s1")
        rows.append({
            "task": task,
            "series": series,
            "n_points": len(points),
            "control": float(share) if np.isfinite(share) else None,
            "scaling": float(slope.value) if slope.pairs else None,
            "performance": max(p["accuracy"] for p in points),
        })  # fmt: skip
    return rows


def _point(path: Path, number: int, point: dict[str, Any]) -> dict[str, Any]:
    missing = [key for key in NEEDED if key not in point]
    unknown = sorted(set(point) - set(NEEDED) - set(OPTIONAL))
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"has unknown keys {', '.join(unknown)}"
        raise ValueError(f"{path}: point {number} {what}; valid keys are {', '.join(NEEDED + OPTIONAL)}")
    try:
        accuracy = float(Fraction(str(point["accuracy"])))
    except (ValueError, ZeroDivisionError):
        accuracy = -1.0
    if not 0 <= accuracy <= 1 or not point["tokens"] > 0:
        raise ValueError(
            f"{path}: point {number} has accuracy {point['accuracy']} at {point['tokens']} tokens; "
            "accuracy is a fraction from 0 to 1 (0.533 or 16/30) and tokens are above 0"
        )
    return {**point, "accuracy": accuracy}
