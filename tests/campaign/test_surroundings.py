"""Few descriptors, other locales, hostile names."""

from __future__ import annotations

import csv
import resource
from html.parser import HTMLParser
from pathlib import Path

import pytest

from .commands import Hang, run
from .study import Study

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("surroundings") / "study", 20)


def test_few_descriptors(study, tmp_path, size, count):
    """A sentence, or it does with what there is; with more of them the same command goes on."""
    tally = count("few descriptors")
    limits = (12, 20, 32, 64) if size(0, 1) else (20, 40)
    for number in limits:
        place, faults = study.place(f"few{number}"), {}
        try:
            few = run(place.arguments, tmp_path / f"few{number}.log", limits={resource.RLIMIT_NOFILE: number})
            faults["traceback"] = few.traceback()
            if few.status and "Too many open files" not in few.said():
                faults["other"] = f"it ended with {few.status}: {few.said()[-1000:]}"
            _, found = study.again(place, tmp_path / f"few{number}.again.log")
            faults |= {kind: text for kind, text in found.items() if text}
        except Hang as hang:
            faults["hang"] = str(hang)
        tally.trial("it goes on" if few.status == 0 else "a sentence", **faults)
    tally.check(len(limits))


LOCALES = (
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu"},
    {"LC_ALL": "ja_JP.EUC-JP", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1", "COLUMNS": "20"},
)
FOLDER = "Grüße \N{SNOWMAN} \u0628\u202e 'quoted' %20 $HOME"


def test_other_locales(study, tmp_path, size, count):
    tally, expected = count("other locales"), _page(study.place("whole").out)
    for number, locale in enumerate(LOCALES[: size(2, len(LOCALES))]):
        place, faults = study.place(f"{FOLDER}{number}"), {}
        place.arguments[-2:] = [f"store.dir='{_quoted(place.store)}'", f"hydra.sweep.dir='{_quoted(place.out)}'"]
        try:
            _, faults = study.again(place, tmp_path / f"locale{number}.log", fork=False, env=locale)
            if not any(faults.values()) and _page(place.out) != expected:
                faults["wrong"] = "the page has other elements"
        except Hang as hang:
            faults["hang"] = str(hang)
        tally.trial(locale["LC_ALL"], **faults)
    tally.check(size(2, len(LOCALES)))


NAMES = {
    "control characters": "red\x1b[31m\x07 and\x9b2J",
    "HTML": "<img src=x onerror=alert(1)></script><script>alert(2)</script>",
    "200 characters": "n" * 200,
    "right to left": "\u202eevil\u202c \u2066name\u2069\u200f",
    "mathematics": r"$\frac{x$ and $\undefined$",
    "a formula": "=HYPERLINK(0)|a`b",
    "two lines": "one\ntwo\r\nthree\u2028four",
    "a quotation": 'it\'s "so", {said} & [done]; #1 %s ${x:y}'.replace("$", "S"),
}
NO_SIGNS = {chr(i) for i in (*range(32), 127, *range(128, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)}
NO_SIGNS -= {"\n"}


def test_hostile_names(study, tmp_path, size, count):
    """Of a model, a series, a task: they stand on the page and in tables as text, and do nothing to a terminal."""
    tally = count("hostile names")
    for number, (kind, name) in enumerate(list(NAMES.items())[: size(4, len(NAMES))]):
        place, faults = study.place(f"name{number}"), {}
        place.arguments += [f"model.name='{_quoted(name)}'", f"chat.name='{_quoted(name)}'", f"task.name='{_quoted(name)}'"]
        try:
            command = run(place.arguments, tmp_path / f"name{number}.log")
            faults["traceback"] = command.traceback()
            said = command.log.read_bytes().decode("utf-8", "replace")
            if found := sorted(NO_SIGNS & set(said)):
                faults["other"] = f"it printed {found}"
            if command.status == 0:
                page = _page(place.out)
                if set(page) != set(_page(study.place("whole").out)):
                    faults["wrong"] = f"the page has the elements {sorted(set(page))}"
                rows = list(csv.DictReader((place.out / "cells.csv").open(encoding="utf-8", newline="")))
                if [row["model"] for row in rows] != [name] * 3:
                    faults["wrong"] = f"cells.csv has the models {[row['model'] for row in rows]}"
                lines = (place.out / "summary.md").read_text(encoding="utf-8")
                if "<img" in lines or "<script" in lines or NO_SIGNS & set(lines):
                    faults["wrong"] = "summary.md holds it as it is"
            elif command.status != 2 or len(command.said().splitlines()) > 3:
                faults["other"] = f"it ended with {command.status}: {said[-1000:]}"
        except Hang as hang:
            faults["hang"] = str(hang)
        tally.trial(f"{kind}: {'shown' if command.status == 0 else 'refused'}", **faults)
    tally.check(size(4, len(NAMES)))


def _quoted(text: str | Path) -> str:
    """Inside single quotes of Hydra's grammar."""
    return str(text).replace("\\", "\\\\").replace("'", "\\'") if str(text).endswith("\\") else str(text).replace("'", "\\'")


class _Elements(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, *sorted(name for name, _ in attributes if name.startswith("on"))))


def _page(out: Path) -> list[tuple[str, ...]]:
    """The elements of a report page, with what they do on events."""
    return sorted(_Elements((out / "report.html").read_text(encoding="utf-8")).found)
