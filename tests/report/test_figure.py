from pathlib import Path

import pytest

from s1x.report.figure import draw
from s1x.report.labels import cell_labels, series_names
from s1x.report.load import ignored_ends
from s1x.report.paper import load_paper

TABLE3 = Path(__file__).parents[1] / "metrics" / "table3.yaml"


def png_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and b"tIME" not in data
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_figure_is_wide_enough_and_has_no_time_stamp(aggregated):
    directory, _ = aggregated
    assert png_size(directory / "scaling.png")[0] >= 1200
    svg = (directory / "scaling.svg").read_text()
    assert "<dc:date>" not in svg and "Matplotlib v" not in svg


@pytest.fixture
def svg_of(tmp_path):
    def render(*args, **settings):
        draw(*args, tmp_path / "a.png", tmp_path / "a.svg", **settings)
        return (tmp_path / "a.svg").read_text()

    return render


def test_published_points_get_a_panel_of_their_own_or_join_the_same_task(aggregated, svg_of):
    records = aggregated[1]["cells"]
    paper = load_paper(TABLE3) | {"points": [p for p in load_paper(TABLE3)["points"] if p["series"] == "BF"]}
    assert 'id="axes_2"' in svg_of(records, paper=paper)
    assert 'id="axes_2"' not in svg_of([r | {"task": "aime24"} for r in records], paper=paper)


def test_total_tokens_move_the_points(aggregated, svg_of):
    assert svg_of(aggregated[1]["cells"], x="path_tokens") != (aggregated[0] / "scaling.svg").read_text()


@pytest.mark.parametrize(
    ("overrides", "waits", "expected"),
    [
        (["method.ignore_end=4"], 2.0, 4),
        (["+method.inner.ignore_end=1"], 0, 1),
        (["method.ignore_end=0"], 0, 0),
        ([], 1.98, 2),
        (None, 0, 0),
    ],
)
def test_ignored_ends(overrides, waits, expected):
    assert ignored_ends({"overrides": overrides, "waits_mean": waits}) == expected


def test_labels_show_what_differs():
    records = [
        {"task": "t", "model": m, "series": "bf", "overrides": ["seed=0", "task=t", f"method.string={s}"]}
        for m, s in (("a", "Wait"), ("a", "Hmm"), ("b", "Wait"))
    ]
    assert cell_labels(records) == ["string=Wait", "string=Hmm", "string=Wait"]
    assert list(series_names(records).values()) == ["bf", "b"]
    records.append(
        records[-1] | {"series": "none(thinking=false)", "overrides": ["method.thinking=false", "method.max_thinking_tokens=8"]}
    )
    assert list(series_names(records + records[:1]).values()) == ["bf", "bf (b)", "none(thinking=false)"]
    assert cell_labels(records)[-1] == ""  # the series says it, and the budget has a column


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("points: []", "need `source`"),
        ("source: x\npoints: [{series: a, task: t, tokens: 5}]", "point 1 lacks accuracy"),
        ("source: x\npoints: [{series: a, task: t, tokens: 5, accuracy: 50}]", "accuracy is a fraction"),
        ("source: x\npoints: [{series: a, task: t, tokens: 0, accuracy: 1/2}]", "tokens are above 0"),
        ("source: x\npoints: [{series: a, task: t, tokens: 5, accuracy: 1/2, colour: red}]", "unknown keys colour"),
    ],
)
def test_faulty_published_numbers_are_sentences(tmp_path, text, message):
    path = tmp_path / "paper.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_paper(path)
