"""Accuracy over tokens (or operations): curves of points with intervals, one panel per task, each point named beside it.

The fill of a mark says how thinking ended, its shape and colour whose it is. Points that fall on one another become rings
around the first and share a label.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .placing import DOT, Anchor, Obstacles, draw, place
from .style import FAINT, GRID, INK, PAPER, Look, Margins, Sheet, fitted, thin, wrapped

SIZES = {1: (5.4, 4.1), 2: (4.9, 3.9), 3: (4.2, 3.6)}  # inches, by panels side by side
AXIS = {
    "thinking_tokens": "Average thinking tokens",
    "path_tokens": "Average decoded tokens per question",
    "flops": "Average FLOPs per question, with those of the model that scores",
}
NATURAL, FORCED, EXTENDED, UNKNOWN, NONE, VOTES = "natural", "forced", "extended", "unknown", "none", "votes"
KINDS = {  # of points, and how the legend calls them
    NATURAL: "natural end (of most samples)",
    FORCED: "end forced (in half of the samples or more)",
    EXTENDED: "end of thinking ignored (2x: twice)",
    UNKNOWN: "not known how it ended",
    VOTES: "votes of fewer samples (1, 2, 4, ...)",
}
MARK, RING, DOT_SIZE = 6.5, 4.2, 3.5  # points across: a mark, what each ring adds, one of a curve of votes
RINGS = 4  # of one place at most: more cells are said, not drawn
SAME = 2.5  # points apart, at most: they are at one place
MOST = 70  # labels in a panel; where there would be more, the ends of curves alone have one
LETTERS = 26  # of a line of a label


@dataclass
class Point:
    """at: tokens, None where the axis has no place for it (`why`): then it stands at the right edge. Heights are percent."""

    at: float | None
    height: float
    ci: tuple[float, float] | None = None
    kind: str = UNKNOWN
    label: str = ""
    why: str = ""


@dataclass
class Curve:
    """lines: which points are joined, in order, and how thick."""

    name: str
    look: Look
    points: list[Point]
    lines: list[tuple[list[Point], float]] = field(default_factory=list)
    faint: bool = False


def sheet(panels: dict[str, Sequence[Curve]], x: str) -> Sheet:
    """A figure of these curves: a panel per title."""
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    titles = {title: fitted(title, SIZES[columns][0], 10, "bold") for title in panels}
    top = 0.12 + 0.17 * max(text.count("\n") + 1 for text in titles.values())
    page = Sheet(len(panels), columns, SIZES[columns], Margins(top=top))
    keyed: list[tuple[int, Anchor]] = []
    left_out, rings = 0, False
    for axes, (title, curves) in zip(page.axes, panels.items(), strict=True):
        panel = _Panel(page, axes, curves, x)
        axes.set_title(titles[title])
        here, missing = panel.label(len(keyed) + 1)
        keyed += here
        left_out += missing
        rings |= panel.rings
    curves = [curve for own in panels.values() for curve in own]
    page.legend([*_series(curves), *_signs(curves, rings)])
    if keyed:
        page.note("   ".join(f"{number}: {anchor.name}" for number, anchor in keyed))
    if left_out:
        page.note(f"{left_out} points have no label here; the table of cells names them all.")
    return page


class _Panel:
    def __init__(self, page: Sheet, axes: Any, curves: Sequence[Curve], x: str):
        self.axes, self.curves, self.page, self.x = axes, curves, page, x
        self._frame(x)
        self.spots = self._spots()  # of each place its (curve, point), the first in the middle
        self.rings = any(len(spot) > 1 for spot in self.spots)
        self._lines()
        self._marks()

    def _frame(self, x: str) -> None:
        """Scales and limits, from what is to be drawn."""
        from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

        axes, points = self.axes, [p for curve in self.curves for p in curve.points]
        at = [p.at for p in points if p.at] or [1.0, 16.0]
        heights = [v for p in points for v in (p.height, *(p.ci or ()))] or [0.0, 100.0]
        low, high = math.log2(min(at)), math.log2(max(at))
        around = max(0.09 * (high - low), 0.12)
        base = 10 if x == "flops" else 2
        axes.set_xscale("log", base=base)
        axes.set_xlim(2 ** (low - around), 2 ** (high + around))
        spare = max(0.1 * (max(heights) - min(heights)), 3.0)
        axes.set_ylim(max(min(heights) - spare, -5), min(max(heights) + spare, 105))
        axes.set_xlabel(AXIS[x])
        axes.set_ylabel("Accuracy (%)")
        powers = (high - low + 2 * around) / math.log2(base) >= 3  # a narrower axis would show two of them or fewer
        axes.xaxis.set_major_locator(LogLocator(base=base, numticks=12) if powers else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        tokens = FuncFormatter(lambda value, _: f"{value:,.4g}" if value < 1000 else f"{value:,.0f}")
        axes.xaxis.set_major_formatter(EngFormatter(sep=" ") if x == "flops" else tokens)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        thin(axes, self.page.renderer)
        axes.grid(color=GRID, lw=0.6)
        axes.set_axisbelow(True)

    def where(self, points: Iterable[Point]) -> np.ndarray:
        """In dots, (n, 2); points that the axis has no place for stand at its right edge."""
        right = self.axes.get_xlim()[1]
        data = [(p.at or right, p.height) for p in points]
        return self.axes.transData.transform(data) if data else np.empty((0, 2))

    def _spots(self) -> list[list[tuple[Curve, Point]]]:
        spots: list[list[tuple[Curve, Point]]] = []
        middles: list[np.ndarray] = []
        pairs = [(curve, p) for curve in self.curves for p in curve.points if p.kind != VOTES]
        for pair, at in zip(pairs, self.where(p for _, p in pairs), strict=True):
            for spot, middle in zip(spots, middles, strict=True):
                if np.hypot(*(at - middle)) <= SAME * DOT:
                    spot.append(pair)
                    break
            else:
                spots.append([pair])
                middles.append(at)
        return spots

    def _lines(self) -> None:
        right = self.axes.get_xlim()[1]
        for curve in self.curves:
            colour, faint = (FAINT, 0.9) if curve.faint else (curve.look.colour, 1.0)
            for points, width in curve.lines:
                ways = [p.at or right for p in points], [p.height for p in points]
                self.axes.plot(*ways, color=colour, lw=width, ls=curve.look.line, zorder=2, alpha=faint)
            for p in curve.points:
                if p.ci:
                    self.axes.plot([p.at or right] * 2, p.ci, color=colour, lw=1.1, alpha=0.5, zorder=1.5, clip_on=False)
                if not p.at:
                    self.axes.axhline(p.height, color=colour, lw=1.0, ls=(0, (1, 2)), zorder=1)

    def _marks(self) -> None:
        right = self.axes.get_xlim()[1]
        for curve in self.curves:
            dots = [p for p in curve.points if p.kind == VOTES]
            style = {"ls": "", "marker": "o", "ms": DOT_SIZE, "color": curve.look.colour, "zorder": 3}
            self.axes.plot([p.at for p in dots], [p.height for p in dots], **style)
        for spot in self.spots:
            for number, (curve, p) in reversed(list(enumerate(spot[: RINGS + 1]))):
                style = mark(curve, p.kind) | {"ms": MARK + RING * number, "zorder": 4 - 0.01 * number, "clip_on": False}
                if number:  # a ring, which hides nothing but what is right below it
                    style |= {"fillstyle": "full", "mfc": PAPER, "mew": 1.4}
                (drawn,) = self.axes.plot([spot[0][1].at or right], [spot[0][1].height], ls="", **style)
                outermost = number == RINGS  # it stands for those that have no ring, too
                self.page.say(drawn, "; ".join(_told(*pair, self.x) for pair in (spot[number:] if outermost else [(curve, p)])))

    def label(self, first_number: int) -> tuple[list[tuple[int, Anchor]], int]:
        """Name the points; (the key of those that became numbers, how many have no name at all)."""
        anchors, marks = [], []
        for spot in self.spots:
            (x, y), reach = self.where([spot[0][1]])[0], (MARK + RING * min(len(spot) - 1, RINGS)) / 2 + 0.8
            marks.append((x, y, reach * DOT))
            if text := _text(spot):
                curve, p = spot[0]
                name = "; ".join(dict.fromkeys(" ".join(filter(None, (c.name, q.label))) for c, q in spot))
                alone = len({c.name for c, _ in spot}) == 1
                colour = INK if not alone else FAINT if curve.faint else curve.look.letters
                towards = 135 if p.kind == EXTENDED else -45
                anchors.append(Anchor(x, y, reach * DOT, text, name, colour, towards))
        for curve in self.curves:
            dots = [p for p in curve.points if p.kind == VOTES]
            for p, (x, y) in zip(dots, self.where(dots), strict=True):
                marks.append((x, y, (DOT_SIZE / 2 + 0.5) * DOT))
                if p.label:
                    name = f"{curve.name} {p.label}"
                    anchors.append(Anchor(x, y, (DOT_SIZE / 2 + 0.5) * DOT, p.label, name, curve.look.letters, size=7.5))
        unnamed = 0
        if len(anchors) > MOST:
            kept = [anchor for anchor in anchors if self._ends(anchor)][:MOST]
            unnamed, anchors = len(anchors) - len(kept), kept
        segments = [line for curve in self.curves for line in self._segments(curve)]
        obstacles = Obstacles(np.array(marks).reshape(-1, 3), np.array(segments).reshape(-1, 5))
        placed, keyed, missing = place(self.axes, anchors, obstacles, first_number)
        draw(self.axes, placed)
        return keyed, unnamed + len(missing)

    def _ends(self, anchor: Anchor) -> bool:
        """Whether this is the label of a curve's first or last point."""
        ends = [p for curve in self.curves for line, _ in curve.lines for p in (line[0], line[-1])]
        return bool(ends) and bool((np.hypot(*(self.where(ends) - (anchor.x, anchor.y)).T) < SAME * DOT).any())

    def _segments(self, curve: Curve) -> list[tuple[float, ...]]:
        """What labels had better not cover, in dots, and how bad that is: curves 2, intervals 0.8, dotted lines 1.6."""
        found = []
        for line, _ in curve.lines:
            way = self.where(line)
            found += [(*a, *b, 2.0) for a, b in zip(way, way[1:], strict=False)]
        for p in curve.points:
            if p.ci:
                found.append((*self.where([Point(p.at, p.ci[0])])[0], *self.where([Point(p.at, p.ci[1])])[0], 0.8))
            if not p.at:
                x, y = self.where([p])[0]
                found.append((self.axes.bbox.x0, y, x, y, 1.6))
        return found


def _told(curve: Curve, point: Point, x: str) -> str:
    """What a point is, in one line."""
    interval = f" [{point.ci[0]:.1f}, {point.ci[1]:.1f}]" if point.ci else ""
    at = point.why if not point.at else f"{point.at:.3g} FLOPs" if x == "flops" else f"{point.at:,.0f} tokens"
    return f"{' '.join(filter(None, (curve.name, point.label)))}: {point.height:.1f}%{interval}, {at}"


def _text(spot: list[tuple[Curve, Point]]) -> str:
    """What stands beside a place: of several cells their number and their names from inside out."""
    labels = list(dict.fromkeys(filter(None, (p.label for _, p in spot))))
    if len(spot) == 1:
        return wrapped(labels[0], LETTERS) if labels else ""
    said, lines = f"{len(spot)} cells", [line for label in labels for line in wrapped(label, LETTERS).split("\n")]
    if len(lines) > 4 or not lines:
        return said
    short = ", ".join(lines)
    return f"{said}: {short}" if len(short) <= LETTERS - 10 else f"{said}:\n" + "\n".join(lines)


def mark(curve: Curve, kind: str) -> dict[str, Any]:
    """How a point is drawn."""
    colour = FAINT if curve.faint else curve.look.colour
    style = {"marker": curve.look.marker, "ms": MARK, "mec": colour, "mew": 1.2, "mfc": colour, "mfcalt": PAPER}
    return style | {
        NATURAL: {"mfc": PAPER},
        EXTENDED: {"fillstyle": "left"},
        UNKNOWN: {"mfc": PAPER, "mew": 0.8} if curve.faint else {},
    }.get(kind, {})


def _series(curves: Sequence[Curve]) -> list[tuple[Any, str]]:
    """The legend's entries for curves, each name once."""
    from matplotlib.lines import Line2D

    found: dict[str, Any] = {}
    for curve in curves:
        colour = FAINT if curve.faint else curve.look.colour
        style = mark(curve, UNKNOWN if curve.faint else FORCED)
        line = curve.look.line if curve.lines else ""
        if curve.name not in found or (line and found[curve.name].get_linestyle() == "None"):
            found[curve.name] = Line2D([], [], color=colour, lw=1.5, ls=line, **style)
    return [(handle, name) for name, handle in found.items()]


def _signs(curves: Sequence[Curve], rings: bool) -> list[tuple[Any, str]]:
    """The legend's entries for what fills, dots, rings and bars mean, as far as they occur."""
    from matplotlib.lines import Line2D

    ink = Look(INK, INK, "o", "-")
    points = [p for curve in curves if not curve.faint for p in curve.points]
    kinds = {p.kind for p in points}
    if kinds <= {UNKNOWN, NONE, VOTES}:
        kinds -= {UNKNOWN}  # then nothing is told apart by its fill
    entries = []
    for kind, text in KINDS.items():
        if kind in kinds:
            own = {"marker": "o", "ms": DOT_SIZE, "color": INK} if kind == VOTES else mark(Curve("", ink, []), kind)
            entries.append((Line2D([], [], ls="", **own), text))
    if rings:
        inner, ring = mark(Curve("", ink, []), FORCED), mark(Curve("", ink, []), NATURAL) | {"ms": MARK + RING, "mew": 1.4}
        both = tuple(Line2D([], [], ls="", **own) for own in (ring, inner))
        entries.append((both, "cells at one place, named from inside out"))
    for why in dict.fromkeys(p.why for p in points if not p.at):
        entries.append((Line2D([], [], color=INK, lw=1.0, ls=(0, (1, 2))), why))
    if any(p.ci for p in points):
        entries.append((Line2D([], [], ls="", color=INK, marker="|", ms=9, alpha=0.6), "95% interval of one cell"))
    return entries
