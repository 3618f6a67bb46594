"""The look of all figures: colours, markers and lines that differ in grey and to the colour-blind, and the files of each.

Sizes are inches, dots on the sheet `DPI` to the inch. Panels stand in a grid; legend and notes stand below it, never on data.
"""

from __future__ import annotations

import io
import logging
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from ...errors import printable
from ...files import beside, write_text

DPI = 200
INK, GRID, FAINT, PAPER = "#1f2328", "#d8dee4", "#7d858d", "#ffffff"
# Okabe and Ito 2008, without yellow, which a white page swallows; and each as letters, darker where it needs to be (4.5:1).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
LETTERS = ("#0072b2", "#b34e00", "#007a5a", "#a1487c", "#8f6200", "#1f78ad", INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "*", "h", ">")
LINES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (6, 2, 1.5, 2)), (0, (2, 1.5)))
DARK = {  # what a colour is where the page is dark
    INK: "#e6edf3", GRID: "#343b44", PAPER: "#0d1117", "#0072b2": "#4ea8e0", "#b34e00": "#f08a3c", "#007a5a": "#2fc39a",
    "#a1487c": "#e39ac4", "#8f6200": "#e6a92f", "#1f78ad": "#7cc4ee", FAINT: "#9aa4af",
}  # fmt: skip
RC = {
    "svg.fonttype": "path", "pdf.fonttype": 42, "font.family": "DejaVu Sans", "font.size": 9, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 10, "axes.titleweight": "bold", "text.parse_math": False,
    "text.hinting": "none", "legend.frameon": False, "figure.dpi": DPI, "axes.unicode_minus": True,
}  # fmt: skip
EDGE = 0.12  # of the sheet


class Look(NamedTuple):
    colour: str
    letters: str
    marker: str
    line: Any


def look(number: int) -> Look:
    """Of the series with this number: no two of 44 are alike in grey, none of 308 in colours."""
    return Look(*(of[number % len(of)] for of in (COLOURS, LETTERS, MARKERS, LINES)))


@dataclass
class Margins:
    """Around each panel."""

    left: float = 0.72
    right: float = 0.22
    top: float = 0.4
    bottom: float = 0.62


class Sheet:
    """A figure of panels in a grid, of which the caller fills `axes`; `below` adds what stands under them."""

    def __init__(
        self, panels: int, columns: int, size: tuple[float, float], margins: Margins, heights: Sequence[float] = (),
        first: float = 0,
    ):  # fmt: skip
        """heights: of each row of panels, where they are not all of one size. first: room left of the first column for more."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        rows = -(-panels // columns)
        heights = list(heights) or [size[1]] * rows
        across = margins.left + size[0] + margins.right
        self.width, self.foot = first + columns * across, 0.0
        self._said: dict[str, str] = {}  # what a mark is, by its id
        self._feet: list[tuple[Any, float]] = []  # what stands below, and how far from the lower edge
        self._tops: list[tuple[Any, float, float, float]] = []  # axes, and in inches: left, top from above, height
        self.figure = Figure(figsize=(self.width, 1), dpi=DPI)
        FigureCanvasAgg(self.figure)
        top = EDGE
        for row, height in enumerate(heights):
            for column in range(min(columns, panels - row * columns)):
                axes = self.figure.add_axes((0, 0, 1, 1))
                self._tops.append((axes, first + margins.left + column * across, top + margins.top, height))
            top += margins.top + height + margins.bottom
        self._size, self._panel = top, size[0]
        self._lay()

    @property
    def axes(self) -> list[Any]:
        return [axes for axes, *_ in self._tops]

    @property
    def renderer(self) -> Any:
        return self.figure.canvas.get_renderer()

    def say(self, artist: Any, text: str) -> None:
        """What is read where a pointer rests on the artist, in a browser."""
        artist.set_gid(f"mark-{len(self._said)}")
        self._said[artist.get_gid()] = text

    def _lay(self) -> None:
        whole = self._size + self.foot
        self.figure.set_size_inches(self.width, whole)
        for axes, left, top, height in self._tops:
            axes.set_position((left / self.width, 1 - (top + height) / whole, self._panel / self.width, height / whole))

    def legend(self, entries: Sequence[tuple[Any, str]]) -> None:
        """As many columns as fit, below all that is there already. The panels keep their places on the paper."""
        if not entries:
            return
        handles = [handle for handle, _ in entries]
        room = (self.width - 2 * EDGE) * DPI
        for columns in range(min(4, len(entries)), 0, -1):
            inches = max((self.width - 2 * EDGE) / columns - 0.7, 1.5)  # behind a handle
            labels = [fitted(label, inches, 8.5) for _, label in entries]
            legend = self.figure.legend(
                handles, labels, loc="lower left", ncols=columns, fontsize=8.5, borderpad=0, borderaxespad=0,
                handlelength=2.6, columnspacing=1.6, numpoints=1,
            )  # fmt: skip
            box = legend.get_window_extent(self.renderer)
            if box.width <= room or columns == 1:
                break
            legend.remove()
        self._below(legend, box.height)

    def note(self, text: str) -> None:
        """Sentences below all that is there already."""
        text = fitted(text, self.width - 2 * EDGE, 8.5)
        note = self.figure.text(0, 0, text, fontsize=8.5, va="bottom", ha="left", linespacing=1.35)
        self._below(note, note.get_window_extent(self.renderer).height)

    def _below(self, artist: Any, height: float) -> None:
        """Make room at the foot and put the artist there; what stood there moves up with the panels."""
        added = height / DPI + EDGE
        self.foot += added + (0 if self._feet else EDGE)
        self._feet = [(one, at + added) for one, at in self._feet] + [(artist, EDGE)]
        self._lay()
        whole = self._size + self.foot
        for one, at in self._feet:
            place = (EDGE / self.width, at / whole)
            if hasattr(one, "set_bbox_to_anchor"):
                one.set_bbox_to_anchor(place, transform=self.figure.transFigure)
            else:
                one.set_position(place)

    def save(self, stem: Path, title: str) -> str:
        """Write PNG, SVG and PDF (the same input gives the same bytes) and return the SVG, which follows the page's colours."""
        import matplotlib

        with beside(stem.with_suffix(".png")) as part:
            self.figure.savefig(part, format="png", dpi=DPI, facecolor=PAPER, metadata={"Software": None})
        nothing = {"Creator": None, "Producer": None, "CreationDate": None}
        with beside(stem.with_suffix(".pdf")) as part:
            self.figure.savefig(part, format="pdf", metadata=nothing)
        text = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": f"s1x {stem.name}"}):  # ids of two figures on one page differ
            self.figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        svg = _following(_told(text.getvalue(), self._said), title)
        write_text(stem.with_suffix(".svg"), svg)
        return svg


def _told(svg: str, said: Mapping[str, str]) -> str:
    """The SVG with a title in place of the id of each mark that has one."""
    return re.sub(r'<g id="(mark-\d+)">', lambda found: f"<g><title>{escape(printable(said[found[1]]))}</title>", svg)


def _following(svg: str, title: str) -> str:
    """The SVG with a title, and colours of its own where dark ones are preferred: in a browser, also within a page."""
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}' for light, dark in DARK.items() for what in ("fill", "stroke")
    )
    style = f'<style type="text/css">@media (prefers-color-scheme: dark){{{rules}}}</style>'
    head, rest = svg[: svg.index("<svg")], svg[svg.index("<svg") :]
    opening, rest = rest.split(">", 1)
    return f'{head}{opening} role="img" aria-label="{title}">\n {style}{rest}'


@contextmanager
def drawing() -> Iterator[None]:
    """The style for everything that is drawn within."""
    import matplotlib

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every glyph that goes into a PDF
    with matplotlib.rc_context(RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name may have signs that the font lacks
        yield


def wrapped(text: str, letters: int) -> str:
    """Lines of at most so many letters; what a name may not do to a figure stands there as its code."""
    return textwrap.fill(printable(text.replace("\n", " ").replace("\t", " ")), letters)


def fitted(text: str, inches: float, size: float, weight: str = "normal") -> str:
    """Lines that are no wider than so many inches, in letters of `size` points."""
    letters = int(inches * 72 / (0.5 * size))
    while (across := width(lines := wrapped(text, letters), size, weight)) > inches and letters > 3:
        letters = max(3, min(letters - 1, int(letters * inches / across)))
    return lines


@lru_cache(maxsize=1024)
def width(text: str, size: float, weight: str = "normal") -> float:
    """Of these lines, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    FigureCanvasAgg(figure := Figure(dpi=DPI))
    return figure.text(0, 0, text, fontsize=size, fontweight=weight).get_window_extent().width / DPI


def thin(axes: Any, renderer: Any, which: str = "xy") -> None:
    """Ticks whose labels would touch the one before, or reach far beyond the panel, are left out."""
    for axis, low, high, gap in ((axes.xaxis, "x0", "x1", 5), (axes.yaxis, "y0", "y1", 1)):
        if low[0] not in which:
            continue
        least, most = sorted(axis.get_view_interval())
        kept, end = [], -float("inf")
        labels = axis.get_ticklabels()  # which places them
        for at, label in sorted(zip(axis.get_majorticklocs(), labels, strict=False), key=lambda pair: pair[0]):
            box = label.get_window_extent(renderer)
            inside = least <= at <= most and box.x1 < axes.bbox.x1 + 0.2 * DPI
            if inside and getattr(box, low) > end + gap / 72 * DPI:
                kept.append(at)
                end = getattr(box, high)
        axis.set_ticks(kept)
