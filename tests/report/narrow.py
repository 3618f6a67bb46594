"""Tables at 80 columns: what is printed, and whether all of it is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from io import StringIO

from rich.console import Console

from s1x.report.render import terminal
from s1x.report.tables import Table

WIDTH = 80


def printed(table: Table, width: int = WIDTH) -> str:
    out = StringIO()
    terminal(table, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def faults(table: Table, text: str, width: int = WIDTH) -> list[str]:
    """What is wrong with the printed table: lines that are too long, and words of titles, cells and notes that are not there
    whole, each as often as it stands in the table."""
    found = [f"{len(line)} columns: {line}" for line in text.splitlines() if len(line) > width]
    wanted = Counter(word for at in table.shown for row in table.rows for word in table.columns[at].write(row[at]).split())
    wanted += Counter(dict.fromkeys((word for at in table.shown for word in table.columns[at].title.split()), 1))
    wanted += Counter(word for remark in table.remarks() for word in remark.split())
    return found + [f"{n} times missing: {word}" for word, n in (wanted - Counter(text.split())).items()]


def check(tables: Iterable[Table]) -> None:
    found = list(tables)
    assert found
    wrong = {table.name: faults(table, printed(table)) for table in found}
    assert not any(wrong.values()), "\n".join([str(wrong), *(printed(table) for table in found if wrong[table.name])])
