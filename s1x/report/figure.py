"""The figure: accuracy over mean thinking tokens, one panel per task (the look of the paper's Figures 1 and 4)."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

from ..files import beside
from .equal_cost import cost_of
from .labels import group, ignored_ends, point_label, series_names

INK, GRID, FAINT = "#1f2328", "#d8dee4", "#8c959f"
COLOURS = (
    "#0969b8",
    "#d1600a",
    "#14866d",
    "#b3328c",
    "#8a6a00",
    "#5a4fcf",
    "#c2403d",
    "#4d7a1f",
)  # readable on white and black
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
MANY = 12  # names of a legend that then stands beside the axes
SIDES = (
    ((6, -5), "left", "top"), ((-6, 5), "right", "bottom"), ((6, 5), "left", "bottom"), ((-6, -5), "right", "top"),
    ((0, 8), "center", "bottom"), ((0, -8), "center", "top"),
)  # fmt: skip
STYLE = {
    "svg.hashsalt": "s1x", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 11, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "text.parse_math": False,
}  # fmt: skip
AXIS = {
    "thinking_tokens": "Average thinking tokens",
    "path_tokens": "Average decoded tokens per question",
    "flops": "Average FLOPs per question, with those of the model that scores",
}


def draw(
    records: list[dict[str, Any]],
    png: Path,
    svg: Path,
    *,
    pools: list[dict[str, Any]] = (),
    paper: dict[str, Any] | None = None,
    x: str = "thinking_tokens",
) -> None:
    """Draw cell records, the votes of their pools and, faint, published points to both files; the same input gives the same
    bytes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = paper["points"] if paper else []
    ours = list(dict.fromkeys(r["task"] for r in records))
    panels = ours + [task for task in dict.fromkeys(p["task"] for p in points) if task not in ours]
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name may have signs that the font lacks
        many = len(set(series_names(records).values())) > MANY
        figure = Figure(figsize=(max(8, 5.2 * columns) + 5 * many, 5.2 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        styles = {name: i for i, name in enumerate(dict.fromkeys(series_names(records).values()))}
        for axis, task in zip(axes, panels, strict=False):
            of_task = [r for r in records if r["task"] == task]
            _panel(axis, of_task, series_names(records), styles, x, {row["cell_id"] for row in pools})
            _votes(axis, of_task, pools, series_names(records), styles, x)
            _published(axis, [p for p in points if p["task"] == task and x != "flops"], alone=not of_task)
            _finish(axis, task if of_task else f"{task} (published)", x)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")  # laid out once for both files
        for axis in axes[: len(panels)]:
            _part_labels(axis)
        dpi = (2000 if many else 1600) / figure.get_figwidth() if columns == 1 else 150
        with beside(png) as part:
            figure.savefig(part, format="png", dpi=dpi, metadata={"Software": None})
        with beside(svg) as part:
            figure.savefig(part, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def _panel(axis: Any, records: list[dict[str, Any]], names: dict, styles: dict[str, int], x: str, pooled: set[str]) -> None:
    for own, name in names.items():
        series = [r for r in records if group(r) == own]
        colour, marker = COLOURS[styles[name] % len(COLOURS)], _marker(styles[name])
        series = [r for r in series if x != "flops" or r.get("flops")]  # sizes of some models are not known
        placed = [r for r in series if _at(r, x)]
        for r in series:
            if r not in placed:  # a logarithmic axis has no zero
                why = "no thinking" if _at(r, x) == 0 else "tokens not known"
                axis.axhline(100 * r["accuracy"], color=colour, lw=1.2, ls=":", label=f"{name}: {why}")
        capped = sorted((r for r in placed if not ignored_ends(r)), key=lambda r: _at(r, x))
        extended = sorted((r for r in placed if ignored_ends(r)), key=ignored_ends)
        _points(axis, capped, x, colour, marker, name)
        if len(capped) > 1 and not any(r["cell_id"] in pooled for r in capped):  # a pool has a curve of its own
            axis.plot([_at(r, x) for r in capped], [100 * r["accuracy"] for r in capped], color=colour, lw=1.8, zorder=2)
        if extended:
            _points(axis, extended, x, colour, "*", f"{name}: end of thinking ignored", size=190)
            way = capped[-1:] + extended
            axis.plot([_at(r, x) for r in way], [100 * r["accuracy"] for r in way], color=colour, lw=1.4, ls="--", zorder=2)
        _annotate(axis, capped if len(capped) > 1 else [], x, colour, below=True)
        _annotate(axis, extended, x, colour, below=False)


def _marker(number: int) -> str:
    """A mark for each series; where colours begin anew they get other ones."""
    return MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]


def _votes(
    axis: Any, records: list[dict[str, Any]], pools: list[dict[str, Any]], names: dict, styles: dict[str, int], x: str
) -> None:
    """The curve of a pool whose most frequent answer counts: expected maj@k at the tokens of k samples. Smaller pools that are
    part of a larger one are points on its curve."""
    sizes = {row["cell_id"]: max(other["k"] for other in pools if other["cell_id"] == row["cell_id"]) for row in pools}
    largest: dict[tuple, str] = {}
    for r in sorted(records, key=lambda r: sizes.get(r["cell_id"], 0)):
        largest[group(r), r.get("budget"), ignored_ends(r)] = r["cell_id"]
    for r in (r for r in records if r["cell_id"] in largest.values()):
        curve = [row for row in pools if row["cell_id"] == r["cell_id"]]
        if not curve or not math.isclose(curve[-1]["maj"]["value"], r["accuracy"]):
            continue
        most = sizes[r["cell_id"]]
        at, height = [_at(r, x) * row["k"] / most for row in curve], [100 * row["maj"]["value"] for row in curve]
        colour = COLOURS[styles[names[group(r)]] % len(COLOURS)]
        axis.plot(at, height, color=colour, lw=1.4, marker=".", ms=7, zorder=2)
        axis.annotate("1 vote", (at[0], height[0]), (5, -4), textcoords="offset points", fontsize=8, color=colour, va="top")
        axis.annotate(
            f"{most} votes", (at[-1], height[-1]), (-5, 5), textcoords="offset points", fontsize=8, color=colour, ha="right"
        )


def _points(axis: Any, records: list[dict[str, Any]], x: str, colour: str, marker: str, label: str, size: float = 60) -> None:
    if not records:
        return
    at, height = [_at(r, x) for r in records], [100 * r["accuracy"] for r in records]
    low, high = zip(*([100 * v for v in r["accuracy_ci95"]] for r in records), strict=True)
    axis.vlines(at, low, high, color=colour, lw=1.3, alpha=0.55, zorder=1)
    axis.scatter(at, height, s=size, color=colour, marker=marker, edgecolor="white", lw=0.8, zorder=3, label=label)


def _annotate(axis: Any, records: list[dict[str, Any]], x: str, colour: str, *, below: bool) -> None:
    """Budgets to the lower right of their points, counts of ignored ends to the upper left of theirs."""
    for r in records:
        offset, side = ((6, -5), ("left", "top")) if below else ((-6, 5), ("right", "bottom"))
        axis.annotate(
            point_label(r), (_at(r, x), 100 * r["accuracy"]), offset, textcoords="offset points", fontsize=9, color=colour,
            ha=side[0], va=side[1], zorder=4,
        )  # fmt: skip


def _published(axis: Any, points: list[dict[str, Any]], *, alone: bool) -> None:
    """Published points: faint grey beside ours, in faint colours in a panel of their own."""
    for number, name in enumerate(dict.fromkeys(p["series"] for p in points)):
        series = sorted((p for p in points if p["series"] == name), key=lambda p: p["tokens"])
        at, height = [p["tokens"] for p in series], [100 * p["accuracy"] for p in series]
        colour = COLOURS[number % len(COLOURS)] if alone else FAINT
        axis.plot(
            at, height, color=colour, lw=1.2, ls="-" if alone else ":", marker=MARKERS[number % len(MARKERS)], ms=6, mfc="none",
            alpha=0.65 if alone else 1, zorder=1, label=name if alone else f"{name} (published)",
        )  # fmt: skip
        for p in (p for p in series if p.get("label")):
            place = (p["tokens"], 100 * p["accuracy"])
            axis.annotate(p["label"], place, (5, -4), textcoords="offset points", fontsize=8, color=colour, va="top", alpha=0.8)


def _finish(axis: Any, title: str, x: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axis.set_title(title, fontsize=12.5, fontweight="bold")
    axis.set_xscale("log", base=2)
    axis.set_xlabel(AXIS[x])
    axis.set_ylabel("Accuracy (%)")
    left, right = axis.get_xlim()
    powers = right / left >= 8  # a narrower axis would show two of them or fewer
    axis.xaxis.set_major_locator(LogLocator(base=2, numticks=12) if powers else MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}" if x == "flops" else f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(color=GRID, lw=0.7)
    axis.set_axisbelow(True)
    axis.margins(x=0.08, y=0.1)
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, -3), min(high, 103))
    if names := axis.get_legend_handles_labels()[1]:
        beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if len(names) > MANY else {"loc": "best"}
        axis.legend(**beside, fontsize=9 if len(names) <= 6 else 7.5)


def _part_labels(axis: Any) -> None:
    """A label that would lie on a point or on another label goes to the side of its point where it meets the fewest."""
    from matplotlib.transforms import Bbox

    renderer = axis.figure.canvas.get_renderer()
    around = axis.figure.dpi / 72 * 5  # 5 points about the middle of a mark
    marks = [
        at for points in axis.collections for at in axis.transData.transform(points.get_offsets()) if len(points.get_offsets())
    ]
    taken = [Bbox.from_extents(x - around, y - around, x + around, y + around) for x, y in marks]
    for label in axis.texts:
        own = (label.xyann, label.get_ha(), label.get_va())
        met = {}
        for place in (own, *SIDES):
            label.xyann, (ha, va) = place[0], place[1:]
            label.set(ha=ha, va=va)
            box = label.get_window_extent(renderer)
            outside = Bbox.union([box, axis.bbox]).width > axis.bbox.width
            met[place] = 2 * outside + sum(map(box.overlaps, taken))
        label.xyann, ha, va = min(met, key=met.__getitem__)
        label.set(ha=ha, va=va)
        taken.append(label.get_window_extent(renderer))


def _at(record: dict[str, Any], x: str) -> float | None:
    """Mean tokens (or operations) of a cell per question and sample; 0 when it does not think, None when they are not known."""
    return cost_of(record, x)
