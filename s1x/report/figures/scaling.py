"""What a sweep's cells and pools and the published points are as curves (the look of the paper's Figures 1 and 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..equal_cost import cost_of
from ..labels import group, ignored_ends, point_labels, series_names
from .curves import EXTENDED, FORCED, NATURAL, NONE, UNKNOWN, VOTES, Curve, Point, sheet
from .style import Sheet, look

Record = dict[str, Any]


def scaling(records: list[Record], pools: Sequence[Record], points: Sequence[Record], x: str) -> Sheet:
    """Cells, the votes of their pools and, faint, published points of the same models on the same tasks."""
    names, labels = series_names(records), point_labels(records)
    looks = {name: look(number) for number, name in enumerate(dict.fromkeys(names.values()))}
    panels = {}
    for task in dict.fromkeys(r["task"] for r in records):
        curves = []
        for own, name in names.items():
            if own[0] == task:
                series = [r for r in records if group(r) == own]
                curves += _measured(name, looks[name], series, pools, labels, x)
        panels[task] = curves + _published([p for p in points if p["task"] == task], faint=True)
    return sheet(panels, x)


def published(points: Sequence[Record], x: str) -> Sheet:
    """Published points alone: their models or tasks are not those measured here."""
    tasks = dict.fromkeys(p["task"] for p in points)
    names = {name: number for number, name in enumerate(dict.fromkeys(p["series"] for p in points))}
    panels = {
        f"{task} (published)": _published([p for p in points if p["task"] == task], faint=False, numbers=names)
        for task in tasks
    }
    return sheet(panels, x)


def _measured(
    name: str, own: Any, series: list[Record], pools: Sequence[Record], labels: dict[str, str], x: str
) -> list[Curve]:
    curve = Curve(name, own, [])
    capped: list[tuple[Record, Point]] = []
    extended: list[tuple[Record, Point]] = []
    for r in series:
        at, (low, high) = cost_of(r, x), r["accuracy_ci95"]
        unknown = "FLOPs not known" if x == "flops" else "tokens not known"
        why = "" if at else "no thinking" if at == 0 else unknown  # a logarithmic axis has no zero
        kind = NONE if at == 0 else _kind(r)
        point = Point(at or None, 100 * r["accuracy"], (100 * low, 100 * high), kind, labels[r["cell_id"]], why)
        curve.points.append(point)
        if at:
            (extended if ignored_ends(r) else capped).append((r, point))
    capped.sort(key=lambda pair: pair[1].at or 0)
    extended.sort(key=lambda pair: ignored_ends(pair[0]))
    pooled = False
    whole = _whole(series, pools)
    for r, point in capped + extended:
        pooled |= any(row["cell_id"] == r["cell_id"] for row in pools)
        if dots := _votes(r, point, [row for row in pools if row["cell_id"] == r["cell_id"] in whole]):
            curve.lines.append(([*dots, point], 1.2))
            curve.points += dots
    if len(capped) > 1 and not pooled:  # a pool has a curve of its own
        curve.lines.append(([p for _, p in capped], 1.6))
    if extended and len(capped + extended) > 1:
        curve.lines.append(([p for _, p in capped[-1:] + extended], 1.1))
    return [curve] if series else []


def _whole(series: Sequence[Record], pools: Sequence[Record]) -> set[str]:
    """Pools that are no part of a larger one: the smaller ones are points on its curve."""
    largest: dict[tuple[Any, int], str] = {}
    for row in sorted(pools, key=lambda row: row["k"]):
        for r in (r for r in series if r["cell_id"] == row["cell_id"]):
            largest[r.get("budget"), ignored_ends(r)] = r["cell_id"]
    return set(largest.values())


def _kind(r: Record) -> str:
    if ignored_ends(r):
        return EXTENDED
    forced = r.get("forced_end_rate")
    return UNKNOWN if forced is None else FORCED if forced >= 0.5 else NATURAL


def _votes(r: Record, point: Point, curve: Sequence[Record]) -> list[Point]:
    """The curve of a pool whose most frequent answer counts: expected maj@k at the tokens of k samples, k below all."""
    if not curve or not math.isclose(curve[-1]["maj"]["value"], r["accuracy"]):
        return []
    most = max(row["k"] for row in curve)
    assert point.at is not None
    dots = [Point(point.at * row["k"] / most, 100 * row["maj"]["value"], kind=VOTES) for row in curve if row["k"] < most]
    if dots:
        dots[0].label = "1 vote"
        each = "" if r.get("budget") is None else f", {r['budget']:,} each"
        point.label = f"{most} votes{each}"
    return dots


def _published(points: Sequence[Record], faint: bool, numbers: dict[str, int] | None = None) -> list[Curve]:
    curves = []
    for number, name in enumerate(dict.fromkeys(p["series"] for p in points)):
        own = sorted((p for p in points if p["series"] == name), key=lambda p: p["tokens"])
        drawn = [Point(p["tokens"], 100 * p["accuracy"], label=p.get("label") or "") for p in own]
        lines = [(drawn, 1.0 if faint else 1.4)] if len(drawn) > 1 else []
        style = look(numbers[name] if numbers else number)
        curves.append(Curve(f"{name} (published)" if faint else name, style, drawn, lines, faint))
    return curves
