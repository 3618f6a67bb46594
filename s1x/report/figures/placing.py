"""Labels beside their points: none on another, on a point, or outside; where it is tight at the end of a line, or as a number.

Places around a point are tried from near to far, at 16 angles each. What must not be touched rules a place out; what had better
not be (curves, intervals) costs. A label without a place goes first in the next try, and becomes the number of a key when that
does not help. Nothing is drawn by chance: the same points give the same places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .style import DPI

DOT = DPI / 72  # dots to a point
GAPS = (1.5, 5, 9, 14, 20, 27, 35, 44, 54, 66, 80, 95)  # points from the mark to the box
LED = 5  # a gap from which on a line leads to the point
ANGLES = np.deg2rad(np.arange(0, 360, 22.5))
TRIES = 5
MOST = 60  # labels of a panel that are tried


@dataclass
class Anchor:
    """A point that wants a label. x, y, radius: its middle and how far its mark reaches, in dots. towards: the angle (degrees)
    at which the label had rather stand. name: what the point is called in a key."""

    x: float
    y: float
    radius: float
    text: str
    name: str = ""
    colour: str = "black"
    towards: float = -45
    size: float = 8


@dataclass
class Obstacles:
    """In dots. marks: (n, 3) of x, y, radius, never covered; segments: (n, 5) of x, y, x, y and what it costs to cover one."""

    marks: np.ndarray
    segments: np.ndarray


@dataclass
class Placed:
    anchor: Anchor
    text: str
    x: float
    y: float
    box: np.ndarray  # x0, y0, x1, y1
    lead: np.ndarray | None  # x, y, x, y from the box to the mark


def place(
    axes: Any, anchors: Sequence[Anchor], obstacles: Obstacles, first_number: int = 1
) -> tuple[list[Placed], list[tuple[int, Anchor]], list[Anchor]]:
    """(labels and their places, those that became numbers, those that have no place at all: too many stand too near)."""
    area = axes.bbox
    room = np.array([area.x0 + 1, area.y0 + 1, area.x1 - 1, area.y1 - 1])
    measure = _Measure(axes)
    wanted = {number: anchor.text for number, anchor in enumerate(anchors)}
    placed, failed = _settle(anchors, wanted, obstacles, room, measure, [])
    numbers: dict[int, int] = {}
    while failed and len(numbers) < len(anchors):
        fresh = [at for at in failed if at not in numbers]
        if not fresh:
            break
        for at in sorted({*numbers, *fresh}, key=lambda at: (anchors[at].x, anchors[at].y, at)):
            numbers[at] = 0
        for count, at in enumerate(sorted(numbers, key=lambda at: (anchors[at].x, anchors[at].y, at)), first_number):
            numbers[at] = count
            wanted[at] = str(count)
        placed, failed = _settle(anchors, wanted, obstacles, room, measure, sorted(numbers))
    keyed = sorted((number, anchors[at]) for at, number in numbers.items() if at not in failed)
    return placed, keyed, [anchors[at] for at in failed]


def draw(axes: Any, placed: Sequence[Placed]) -> None:
    """Put the labels there, in the coordinates of the data, so that they stay in any size."""
    back = axes.transData.inverted()
    for one in placed:
        if one.lead is not None:
            (x0, y0), (x1, y1) = back.transform(one.lead.reshape(2, 2))
            axes.plot([x0, x1], [y0, y1], color=one.anchor.colour, lw=0.6, alpha=0.8, zorder=2.5, scalex=False, scaley=False)
        x, y = back.transform((one.x, one.y))
        axes.text(
            x,
            y,
            one.text,
            fontsize=one.anchor.size,
            color=one.anchor.colour,
            ha="center",
            va="center",
            zorder=5,
            linespacing=1.1,
        )


class _Measure:
    """Width and height of a text, in dots; each measured once."""

    def __init__(self, axes: Any):
        self._axes, self._known = axes, {}

    def __call__(self, text: str, size: float) -> tuple[float, float]:
        if (text, size) not in self._known:
            drawn = self._axes.text(0.5, 0.5, text, fontsize=size, linespacing=1.1, transform=self._axes.transAxes)
            box = drawn.get_window_extent(self._axes.figure.canvas.get_renderer())
            drawn.remove()
            self._known[text, size] = (box.width, box.height)
        return self._known[text, size]


def _settle(
    anchors: Sequence[Anchor],
    wanted: dict[int, str],
    obstacles: Obstacles,
    room: np.ndarray,
    measure: _Measure,
    last: list[int],
) -> tuple[list[Placed], list[int]]:
    """Try to place all, those that failed first, and keep the try that placed most."""
    crowd = {at: _crowd(anchor, obstacles) for at, anchor in enumerate(anchors)}
    order = sorted(wanted, key=lambda at: (at in last, -crowd[at], at))
    best: tuple[list[Placed], list[int]] | None = None
    for _ in range(TRIES):
        placed: list[Placed] = []
        failed = []
        for at in order:
            found = _best(anchors[at], wanted[at], placed, obstacles, room, measure)
            if found:
                placed.append(found)
            else:
                failed.append(at)
        if best is None or len(failed) < len(best[1]):
            best = placed, failed
        if not failed:
            break
        order = failed + [at for at in order if at not in failed]
    assert best is not None
    return best


def _crowd(anchor: Anchor, obstacles: Obstacles) -> int:
    """How many marks are near."""
    return int((np.hypot(obstacles.marks[:, 0] - anchor.x, obstacles.marks[:, 1] - anchor.y) < 40 * DOT).sum())


def _best(
    anchor: Anchor, text: str, placed: list[Placed], obstacles: Obstacles, room: np.ndarray, measure: _Measure
) -> Placed | None:
    width, height = (side + 2 * DOT for side in measure(text, anchor.size))  # with one point around
    gaps = np.repeat(GAPS, len(ANGLES))
    angles = np.tile(ANGLES, len(GAPS))
    cos, sin = np.cos(angles), np.sin(angles)
    reach = anchor.radius + gaps * DOT
    x = anchor.x + cos * reach + np.sign(np.round(cos, 6)) * width / 2
    y = anchor.y + sin * reach + np.sign(np.round(sin, 6)) * height / 2
    boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)
    near = np.stack([np.clip(anchor.x, boxes[:, 0], boxes[:, 2]), np.clip(anchor.y, boxes[:, 1], boxes[:, 3])], 1)
    away = near - (anchor.x, anchor.y)
    length = np.maximum(np.hypot(*away.T), 1e-9)
    edge = (anchor.x, anchor.y) + away / length[:, None] * min(anchor.radius, 3 * DOT)
    leads = np.concatenate([near, edge], 1)
    led = gaps >= LED

    marks = obstacles.marks
    square = np.concatenate([marks[:, :2] - marks[:, 2:], marks[:, :2] + marks[:, 2:]], 1)
    others = square[np.hypot(marks[:, 0] - anchor.x, marks[:, 1] - anchor.y) > anchor.radius]
    taken = np.array([one.box for one in placed]).reshape(-1, 4)
    there = np.array([one.lead for one in placed if one.lead is not None]).reshape(-1, 4)
    out = (boxes[:, :2] < room[:2]).any(1) | (boxes[:, 2:] > room[2:]).any(1)
    out |= _overlap(boxes, np.concatenate([square, taken])).any(1)
    left = np.flatnonzero(~out)  # what is left is looked at more closely
    bad = _through(there, boxes[left]).any(0) | led[left] & _through(leads[left], np.concatenate([others, taken])).any(1)
    left = left[~bad]
    if not len(left):
        return None
    boxes, leads, led, x, y, gaps = (of[left] for of in (boxes, leads, led, x, y, gaps))
    cost = gaps * 0.12 + 1.5 * led + 0.9 * (1 - np.cos(angles[left] - np.deg2rad(anchor.towards)))
    segments = obstacles.segments
    cost += (_through(segments, boxes) * segments[:, 4:]).sum(0)
    cost += led * (4 * _crossing(leads, there).sum(1) + 0.3 * _crossing(leads, segments).sum(1))
    at = int(np.argmin(cost))
    return Placed(anchor, text, float(x[at]), float(y[at]), boxes[at], leads[at] if led[at] else None)


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(len(a), len(b)) of boxes."""
    (a0, b0, a1, b1), (c0, d0, c1, d1) = a.T[:, :, None], b.T[:, None]
    return (a0 < c1) & (c0 < a1) & (b0 < d1) & (d0 < b1)


def _through(segments: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(len(segments), len(boxes)): whether a segment touches a box (Liang and Barsky 1984)."""
    (x, y, x1, y1), (left, low, right, high) = segments.T[:4, :, None], boxes.T[:, None]
    dx, dy = (np.where(np.abs(d) < 1e-9, 1e-9, d) for d in (x1 - x, y1 - y))
    ways = ((left - x) / dx, (right - x) / dx), ((low - y) / dy, (high - y) / dy)
    enters = np.maximum(*(np.minimum(*way) for way in ways))
    leaves = np.minimum(*(np.maximum(*way) for way in ways))
    return (enters < leaves) & (leaves > 0) & (enters < 1)


def _crossing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(len(a), len(b)): whether two segments cross."""
    (ax, ay, bx, by), (cx, cy, dx, dy) = a.T[:4, :, None], b.T[:4, None]

    def side(px: Any, py: Any, qx: Any, qy: Any, rx: Any, ry: Any) -> np.ndarray:
        return (qx - px) * (ry - py) > (qy - py) * (rx - px)

    apart = side(ax, ay, bx, by, cx, cy) != side(ax, ay, bx, by, dx, dy)
    return apart & (side(cx, cy, dx, dy, ax, ay) != side(cx, cy, dx, dy, bx, by))
