"""Tables written out for the terminal and in Markdown (the page's template has the third way)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import printable
from . import tables
from .labels import cost_line
from .tables import Table

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2  # between columns
EXTRA = 4  # columns of this rank and higher are not worth folding text for
FEW = 2  # rows: a table of so few is rather turned on its side than parted
PICTURES = ("png", "svg", "pdf")
WORDS = r"\s*\S+\s*"


def show(summary: dict[str, Any], paper: dict[str, Any] | None, directory: Path, console: Console) -> None:
    """Print what `aggregate` returned, and where page and figure are. Accuracies are percent for people, fractions in files."""
    for table in tables.of_summary(summary):
        terminal(table, console)
    if paper and paper["table"]:
        terminal(tables.published(paper, summary["metrics"]), console)
    for sentence in (cost_line(summary["cost"]) + ".", *(f"Not whole: {problem}" for problem in summary["problems"])):
        say(sentence, console)
    _print(f"Report: {directory / 'report.html'}", console)
    if pictures := [path for ending in PICTURES if (path := directory / f"scaling.{ending}").is_file()]:
        beside = f" (and {', '.join(path.suffix for path in pictures[1:])})" if pictures[1:] else ""
        _print(f"Figure: {pictures[0]}{beside}", console)


def page(summary: dict[str, Any], paper: dict[str, Any] | None) -> str:
    """summary.md: the tables of a sweep, to paste into notes, issues and the pages of experiments/."""
    found = tables.of_summary(summary)
    if paper and paper["table"]:
        found.append(tables.published(paper, summary["metrics"]))
    parts = [markdown(table) for table in found] + [cost_line(summary["cost"]) + "."]
    return "\n\n".join(parts + [f"Not whole: {_plain(problem)}" for problem in summary["problems"]]) + "\n"


def markdown(table: Table) -> str:
    shown = [table.columns[at] for at in table.shown]
    lines = [[column.title for column in shown], ["---" if column.left else "---:" for column in shown], *_texts(table)]
    rows = ["| " + " | ".join(_plain(text).replace("|", "\\|") for text in line) + " |" for line in lines]
    return "\n\n".join(["\n".join(rows), *map(_plain, table.remarks())])


def _plain(text: str) -> str:
    """Names in Markdown, where a sign of HTML would be one."""
    return printable(" ".join(text.split())).replace("<", "&lt;")


def terminal(table: Table, console: Console) -> None:
    """Print the table as wide as it wants to be; else with titles and text folded between words; else in parts, one below
    the other, each with the columns that say which row it is; or, with few rows, one row below the other. No column is left
    out, and no word broken."""
    parts = _parts(table, console.width)
    if not parts or len(parts) > 1 and len(table.rows) <= FEW:
        _print_turned(table, console)
    else:
        for number, (shown, widths) in enumerate(parts):
            if number:
                console.print()
            _print_grid(table, shown, widths, console)
    for remark in table.remarks():
        say(remark, console)
    console.print()


STYLES = {"": "", "up": "green", "down": "red"}


def _print_grid(table: Table, shown: list[int], widths: list[int], console: Console) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for at, width in zip(shown, widths, strict=True):
        column = table.columns[at]
        title = Text(_safe(_fold(column.title, width), console))
        grid.add_column(title, width=width, justify="left" if column.left else "right", vertical="top")
    for row, line in zip(table.rows, _texts(table, shown), strict=True):
        tones = (STYLES[table.columns[at].tone(row[at])] for at in shown)
        cells = zip(line, widths, tones, strict=True)
        grid.add_row(*(Text(_safe(_fold(text, width), console), style=tone) for text, width, tone in cells))
    console.print(grid)


def _texts(table: Table, shown: list[int] | None = None) -> list[list[str]]:
    shown = table.shown if shown is None else shown
    return [[_line(table.columns[at].write(row[at])) for at in shown] for row in table.rows]


def _line(text: str) -> str:
    return printable(text.replace("\n", " "))


def _parts(table: Table, room: int) -> list[tuple[list[int], list[int]]] | None:
    """The parts in which a table is printed: which columns, and how wide. What does not fit goes into the next one, the highest
    `rank` first. None where one column beside those that say which row it is does not fit."""
    keys = [at for at in table.shown if table.columns[at].key] or table.shown[:1]
    left, parts = [at for at in table.shown if at not in keys], []
    again = _telling(table, keys)
    while left or not parts:
        part = left
        while True:
            shown = sorted([*(again if parts else keys), *part])
            rank = max((table.columns[at].rank for at in part), default=0)
            fold = len(table.rows) <= FEW or rank < EXTRA or bool(parts)
            widths = _widths(table, shown, room, fold)
            if widths:
                break
            if len(part) < 2:
                return None
            first = [at for at in part if table.columns[at].rank < rank]
            part = first or part[:-1]
        parts.append((shown, widths))
        left = [at for at in left if at not in part]
    return parts


def _telling(table: Table, keys: list[int]) -> list[int]:
    """As many of the columns that say which row it is as tell the rows apart."""
    kept: list[int] = []
    for at in keys:
        if len({tuple(line) for line in _texts(table, [*kept, at])}) > len({tuple(line) for line in _texts(table, kept)}):
            kept.append(at)
    return kept or keys[:1]


def _widths(table: Table, shown: list[int], room: int, fold: bool) -> list[int] | None:
    """Widths of the columns that together fit into `room`: titles are folded, and with `fold` text is, too. None where not even
    the longest words fit."""
    texts = [
        [table.columns[at].title, *column] for at, column in zip(shown, zip(*_texts(table, shown), strict=True), strict=True)
    ]
    least = [
        max(_longest_word(text) if at == 0 or fold and table.columns[c].left else _wide(text) for at, text in enumerate(column))
        for c, column in zip(shown, texts, strict=True)
    ]
    widths = [max(map(_wide, column)) for column in texts]
    while sum(widths) + GAP * (len(widths) - 1) > room:
        loose = [at for at in range(len(widths)) if widths[at] > least[at]]
        if not loose:
            return None
        widths[max(loose, key=lambda at: widths[at] - least[at])] -= 1
    return widths


def _longest_word(text: str) -> int:
    return max(map(_wide, text.split()), default=0)


def _wide(text: str) -> int:
    """Columns of a terminal: some signs take two."""
    from rich.cells import cell_len

    return cell_len(text)


def _fold(text: str, width: int) -> str:
    """Lines of at most `width`; a longer word has its own."""
    lines = [""]
    for word in re.findall(WORDS, text):
        if lines[-1] and _wide(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word if lines[-1] else word.lstrip()
    return "\n".join(line.rstrip() for line in lines)


def _print_turned(table: Table, console: Console) -> None:
    titles = [table.columns[at].title for at in table.shown]
    wide = max(map(len, titles)) + GAP
    for number, line in enumerate(_texts(table)):
        if number:
            console.print()
        for title, text in zip(titles, line, strict=True):
            room = console.width - wide
            if _longest_word(text) > room:  # below its title
                _print(title, console)
                title, room = "", console.width
            ahead = console.width - room
            _print(f"{title:<{ahead}}" + _fold(text, room).replace("\n", "\n" + " " * ahead), console)


def say(text: str, console: Console) -> None:
    """Print a sentence, folded between words."""
    _print(_fold(text, console.width), console)


def _print(text: str, console: Console) -> None:
    console.print(_safe(text, console), markup=False, highlight=False, soft_wrap=True)


def _safe(text: str, console: Console) -> str:
    """What the terminal's encoding has no sign for becomes a question mark; what it would obey, its code."""
    return printable(text).encode(console.encoding, "replace").decode(console.encoding)
