"""The chart's preset: complete once W&B has put in fields and words, sound Vega-Lite, and something to see."""

import json
import re
import zlib

import pytest

from s1x.tracking import content
from s1x.tracking.chart import FIELDS, NAME, SPEC, STRINGS

from ..report.sweep import write_sweep

WORDS = {"title": "budget_sweep", "x_title": "thinking tokens per question"}


def filled(rows, fields, strings=WORDS):
    """What W&B's page does: placeholders replaced, the table's rows inside."""
    text = json.dumps(SPEC)
    for kind, values in (("field", fields), ("string", strings)):
        for key, value in values.items():
            text = text.replace(f"${{{kind}:{key}}}", value)
    return json.loads(text) | {"data": {"values": rows}, "width": 620, "height": 380}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    sweep = write_sweep(tmp_path_factory.mktemp("chart"), questions=40)
    records = [json.loads(path.read_text()) for path in sweep.rglob("cell.json")]
    found = content.points([record | {"declared": {"ignored_ends": 0}} for record in records])
    return [row | {"thinking_tokens": row["thinking_tokens"] if row["model"] == "tiny-s1" else 0} for row in found]


@pytest.fixture
def fields():
    return dict(zip(FIELDS, ("thinking_tokens", "accuracy", "accuracy_lo", "accuracy_hi", "label"), strict=True))


def test_fields_and_words_are_all_that_is_left_open(rows, fields):
    open_ = re.findall(r"\$\{(field|string):(\w+)\}", json.dumps(SPEC))
    assert {key for kind, key in open_ if kind == "field"} == set(FIELDS)
    assert {key for kind, key in open_ if kind == "string"} == set(STRINGS) == set(WORDS)
    assert "${" not in json.dumps(filled(rows, fields))
    assert set(fields.values()) <= set(content.COLUMNS) and re.fullmatch(r"[a-z0-9-]+", NAME)


@pytest.mark.long
def test_it_is_sound_vega_and_draws_points_lines_and_intervals(rows, fields, tmp_path):
    vega = pytest.importorskip("vl_convert")
    drawn = filled(rows, fields)
    vega.vegalite_to_vega(json.dumps(drawn), vl_version="5.21")
    wrong = json.loads(json.dumps(drawn))
    wrong["layer"][0]["mark"] = "nonsense"
    with pytest.raises(ValueError):
        vega.vegalite_to_vega(json.dumps(wrong), vl_version="5.21")

    svg = vega.vegalite_to_svg(json.dumps(drawn), vl_version="5.21")
    placed = [row for row in rows if row["thinking_tokens"]]
    series = {row["label"] for row in placed}
    assert len(placed) < len(rows)  # a cell without thinking is a line of its own
    marks = {kind: svg.count(f'aria-roledescription="{kind}"') for kind in ("point", "rule mark", "line mark")}
    assert marks == {"point": len(placed), "rule mark": len(rows), "line mark": len(series)}
    png = vega.vegalite_to_png(json.dumps(drawn), vl_version="5.21")
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and len(zlib.compress(png)) > 10_000
