"""The size of the campaign, and its figures: printed at the end, and kept when all of it was run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from . import tally
from .tally import Tally

COMMAND = "pytest -n 0 -m campaign --full-campaign tests/campaign"
_tallies: list[Tally] = []
_commit = tally.commit()


@pytest.fixture
def size(request) -> Callable[[int, int], int]:
    """`size(small, full)`: how often to try, in .ci/run's campaign and in the full one."""
    return lambda small, full: full if request.config.getoption("--full-campaign") else small


@pytest.fixture
def count() -> Iterator[Callable[[str], Tally]]:
    """`count(name)`: a row of the figures."""

    def begin(name: str) -> Tally:
        _tallies.append(Tally(name))
        return _tallies[-1]

    yield begin
    if _tallies:
        print("\n" + "\n".join(tally.table({_tallies[-1].name: _tallies[-1].row()})))


def pytest_terminal_summary(terminalreporter, exitstatus, config) -> None:
    if not _tallies:
        return
    terminalreporter.section("the fault campaign")
    rows = {found.name: found.row() for found in _tallies}
    for line in tally.table(rows) + tally.details(rows):
        terminalreporter.write_line(line)
    whole = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not config.getoption("keyword")
    if config.getoption("--full-campaign") and whole:
        tally.write(rows, COMMAND, _commit)
        terminalreporter.write_line("kept in tests/campaign/figures.json and figures.md")
