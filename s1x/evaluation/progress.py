"""Progress of an evaluation: one bar on a terminal, a line now and then elsewhere, a file, live numbers for W&B."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .. import tracking
from ..cell import Cell
from ..errors import printable
from ..streams.scheduler import Progress
from .pace import Pace

log = logging.getLogger(__name__)

REDRAW_SECONDS, REPORT_SECONDS, LOG_SECONDS = 0.2, 10.0, 30.0


class Meter:
    """Counts traces and tokens over all engine groups of a sweep, whose directory says how far it is."""

    def __init__(self, cells: list[Cell], sweep: Path):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.cells, self.done, self.began = len(cells), 0, time.monotonic()
        self.common = set.intersection(*(set(c.overrides) for c in cells)) if len(cells) > 1 else set()
        self.total = self.traces = self.tokens = self.before = self.begun = 0
        self.pace = Pace(sweep)
        self.awaited = 0  # answers whose grades are awaited
        self.readers: Counter[str] = Counter()  # of all cells, see metrics.cell.graded_by
        self._drawn = self._sent = self._logged = time.monotonic()
        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._row = self._bar.add_task("starting", total=None, rate="")

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._bar.stop()
        state = "done" if kind is None else "failed" if issubclass(kind, Exception) else "stopped"
        self.pace.say(self.traces, self.expected, self.tokens, state)

    @property
    def expected(self) -> int:
        """Traces of all cells, as far as they are known: groups that have not begun are taken to be like those that have."""
        return round(self.total * self.cells / self.begun) if self.begun else 0

    def begin(self, opened: list[Any]) -> None:
        """The next group of cells starts."""
        self.total += sum(o.expected for o in opened)
        self.begun += len(opened)
        self.before = self.tokens
        self._bar.update(self._row, description=printable(opened[0].cell.cfg.model.name), total=self.total)

    def update(self, progress: Progress) -> None:
        self.tokens = self.before + progress.generated
        self.tick()

    def tick(self) -> None:
        """Draw or say how far it is, if it is time."""
        now = time.monotonic()
        self.pace.say(self.traces, self.expected, self.tokens)
        rate = f"{self.tokens / max(now - self.began, 1e-9):,.0f} tokens/s  {self.done}/{self.cells} cells"
        if self.awaited:
            rate += f"  {self.awaited:,} answers to grade"
        if now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            self._bar.update(self._row, completed=self.traces, rate=rate)
        if now - self._sent >= REPORT_SECONDS:
            self._sent = now
            tracking.progress(traces=self.traces, cells_done=self.done, decode_tokens=self.tokens)
        if self._bar.disable and now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.info(f"{self.traces}/{self.total} traces  {rate}")

    def arrived(self) -> None:
        self.traces += 1

    def finished(self, cell: Cell, record: dict[str, Any]) -> None:
        self.done += 1
        self.readers.update(record["graded_by"])
        told = " ".join(o for o in cell.overrides if o not in self.common)
        log.info(
            f"[{self.done}/{self.cells}] {100 * record['accuracy']:5.1f} %  "
            f"{record['thinking_tokens']['mean']:7,.0f} thinking tokens  {told}"
        )

    def remarks(self) -> list[str]:
        """Who graded, where it was not the rules alone."""
        n, total = self.readers, self.readers["rules"] + self.readers["judge"] + self.readers["not_graded"]
        said = []
        if n["judge"] or n["judge_failed"]:
            none = f"; it gave no verdict on {n['judge_failed']:,}, where that of the rules stands" if n["judge_failed"] else ""
            said.append(
                f"The judge decided {n['judge']:,} of {total:,} answers and changed {n['judge_changed']:,} to right{none}."
            )
        if n["not_graded"]:
            said.append(
                f"Not graded: {n['not_graded']:,} of {total:,} answers, whose comparison took too long or could not be made; "
                "they count as wrong."
            )
        return said
