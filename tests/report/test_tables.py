"""Tables: described once, written three ways; what does not vary is said once; no terminal breaks a word."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from jinja2 import Environment, FileSystemLoader
from rich.cells import cell_len
from rich.console import Console

from s1x.report import html, tables
from s1x.report.render import markdown, terminal
from s1x.report.tables import Column, Table

from . import narrow

COLUMNS = (
    Column("task", key=True), Column("cell", always=True, key=True), Column("settings", key=True),
    Column("budget", "count", key=True),
    Column("accuracy % [95%]", "percent", always=True), Column("no answer %", "share", rank=1), Column("tries", "mean", rank=4),
)  # fmt: skip


def figure(value, low, high):
    return {"value": value, "ci95": [low, high]}


def table(*settings, name="token conditional (budget forcing, forced)"):
    rows = [
        ["tiny_math", name, text, 10**at, figure(0.5, 0.25, 0.75), at / 9, 1.5] for at, text in enumerate(settings)
    ]  # fmt: skip
    return Table("cells", COLUMNS, rows, ["A note."])


def printed(made, width):
    out = StringIO()
    terminal(made, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_columns_that_do_not_vary_are_said_once():
    made = table("", "", "")
    assert [made.columns[at].title for at in made.shown] == ["cell", "budget", "accuracy % [95%]", "no answer %"]
    assert made.remarks() == ["In every row: task tiny_math, tries 1.5.", "A note."]
    assert markdown(made).splitlines()[:3] == [
        "| cell | budget | accuracy % [95%] | no answer % |",
        "| --- | ---: | ---: | ---: |",
        "| token conditional (budget forcing, forced) | 1 | 50.0 [25.0, 75.0] | 0.0 |",
    ]


def test_a_row_alone_shows_what_it_has():
    made = table("")
    assert [made.columns[at].title for at in made.shown] == [
        "task", "cell", "budget", "accuracy % [95%]", "no answer %", "tries",
    ]  # fmt: skip
    assert made.remarks() == ["A note."]


@pytest.mark.parametrize("width", [200, 100, 80, 60, 50])
@pytest.mark.parametrize(
    "settings",
    [
        ["string=Wait", "string=Alternatively", "string=null"],
        ["every=32, agree=2", "every=128, agree=3", "model.path=/data/models/qwen2.5-32b-instruct"],
        ["", "", "", ""],
        ["", "x"],
    ],
    ids=str,
)
def test_no_word_is_broken_and_no_line_is_too_long(settings, width):
    made = table(*settings)
    text = printed(made, width)
    assert max(map(len, text.splitlines())) <= width
    whole = [column.title for column in COLUMNS] + [
        column.write(row[at]) for row in made.rows for at, column in enumerate(COLUMNS)
    ]
    known = set(" ".join([*whole, *made.remarks()]).split())
    assert set(text.split()) <= known
    assert text.count("50.0 [25.0, 75.0]") == len(settings)  # an interval is not folded


def test_wide_signs_take_two_columns():
    made = table("a=1", "b=2", name="数学的推理能力評価方法第一版 数学的推理能力評価方法第二版")
    text = printed(made, 60)
    assert "第一版" in text and "第二版" in text and max(map(cell_len, text.splitlines())) <= 60


def test_a_narrow_terminal_parts_the_least_important_columns_first():
    made = table("a=1", "b=2", "c=3")
    made = Table(made.name, made.columns, [[*row[:-1], number] for number, row in enumerate(made.rows)])
    assert "tries" in printed(made, 120).splitlines()[0]
    first, second = printed(made, 80).split("\n\n")[:2]
    assert "tries" not in first and "accuracy" in first and "tries" in second.splitlines()[0]
    rows = [line.split() for line in second.splitlines()[:4]]  # the columns that tell the rows apart stand there again
    assert rows == [["settings", "tries"], ["a=1", "0"], ["b=2", "1"], ["c=3", "2"]]
    turned = printed(Table(made.name, made.columns, made.rows[:2]), 60)
    assert re.search(r"^tries +1$", turned, re.M)  # few rows stand one below the other


@pytest.mark.parametrize(
    ("value", "kind", "text", "tone"),
    [
        (figure(0.1, 0.05, 0.2), "difference", "+10.0 [+5.0, +20.0]", "up"),
        (figure(-0.1, -0.2, -0.05), "difference", "-10.0 [-20.0, -5.0]", "down"),
        (figure(0, -0.1, 0.1), "difference", "+0.0 [-10.0, +10.0]", ""),
        ({"value": None, "ci95": None}, "whole percent", "-", ""),
        (None, "count", "-", ""),
        (12345, "count", "12,345", ""),
        (0, "count", "0", ""),
        ("a|b", "text", "a|b", ""),
    ],
)
def test_values_are_written_by_kind(value, kind, text, tone):
    column = Column("x", kind, always=True)
    assert (column.write(value), column.tone(value)) == (text, tone)
    made = Table("t", [column], [[value]])
    assert f"| {text.replace('|', chr(92) + '|')} |" in markdown(made)
    page = Environment(loader=FileSystemLoader(html.TEMPLATES), autoescape=True).get_template("table.html.jinja")
    cell = str(page.module.show(made)).split("<td")[1].split("</td>")[0]
    assert cell == f' class="{"l" if kind == "text" else tone}">{text}'


def test_ours_stand_beside_published_rows_of_the_same_series():
    paper = {
        "source": "s1, Table 3",
        "note": "",
        "table": [{"series": "bf", "method": "BF", "control": "100%"}, {"method": "CC"}],
    }
    ours = {
        "series": "bf",
        "task": "aime24",
        "model": "m32",
        "n_points": 2,
        "control": figure(None, 0, 0),
        "scaling": figure(3, 1, 5),
        "performance": figure(0.5, 0, 1),
    }
    text = markdown(tables.published(paper, [ours]))
    assert "| BF | 100% | 3.0 [1.0, 5.0] | 50.0 [0.0, 100.0] |" in text and "| CC | - | - | - |" in text
    assert text.endswith("Published: s1, Table 3.")
    assert "here" not in markdown(tables.published(paper, []))
    for other in ({"task": "math500"}, {"model": "m1"}):  # whose would it be?
        assert "here" not in markdown(tables.published(paper, [ours, ours | other]))
    of = paper | {"table": [row | {"task": "aime24"} for row in paper["table"]]}
    there = [ours, ours | {"task": "math500", "scaling": figure(9, 8, 10)}]
    assert "| 3.0 [1.0, 5.0] |" in markdown(tables.published(of, there))


def test_a_whole_report_fits_80_columns(aggregated):
    for made in tables.of_summary(aggregated[1]):
        assert narrow.faults(made, narrow.printed(made)) == []


def test_what_is_lost_or_broken_would_be_noticed():
    made = table("a=1", "b=2", "c=3")
    text = narrow.printed(made)
    assert narrow.faults(made, text) == []
    assert narrow.faults(made, text.replace("11.1", "11.")) == ["1 times missing: 11.1"]
    assert narrow.faults(made, text.replace("conditional", "condi tional", 1))
    assert narrow.faults(made, text + "x" * 81) == [f"81 columns: {'x' * 81}"]
