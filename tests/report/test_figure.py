from pathlib import Path

import pytest

from s1x.report.figure import _part_labels, draw
from s1x.report.labels import cell_labels, complete, ignored_ends, series_names
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
    ("record", "expected"),
    [
        ({"declared": {"ignored_ends": 4}, "waits_mean": 2.0}, 4),
        ({"declared": {"ignored_ends": 0}, "overrides": ["method.ignore_end=3"]}, 0),
        ({"waits_mean": 1.98, "overrides": ["method.ignore_end=3"]}, 2),  # a record of an older version
        ({"declared": None, "settings": None}, 0),
    ],
)
def test_ignored_ends(record, expected):
    assert ignored_ends(complete(record)) == expected


def cell(model="a", series="bf", budget=None, ignored=0, **settings):
    named = {key.replace("__", "."): value for key, value in settings.items()}
    record = {"task": "t", "model": model, "series": series, "budget": budget, "settings": named}
    return record | {"declared": {"ignored_ends": ignored}}


def test_labels_show_what_the_other_columns_do_not():
    records = [cell(m, method__string=s) for m, s in (("a", "Wait"), ("a", "Hmm"), ("b", "Wait"))]
    assert cell_labels(records) == ["string=Wait", "string=Hmm", "string=Wait"]
    assert list(series_names(records).values()) == ["bf", "b"]
    records.append(cell("b", "none(thinking=false)", 8, method__thinking=False, method__max_thinking_tokens=8))
    assert list(series_names(records + records[:1]).values()) == ["bf", "bf (b)", "none(thinking=false)"]
    assert cell_labels(records)[-1] == ""  # the series says it, and the budget has a column


@pytest.mark.parametrize(
    ("records", "labels"),
    [
        ([cell(budget=b, method__limit=b) for b in (8, 16)], ["", ""]),
        ([cell(seed=s, model__path=f"/m/{s}", train__name=f"m{s}") for s in (0, 1)], ["seed=0", "seed=1"]),
        (
            [cell(seed=s, train__seed=t) for s in (0, 1) for t in (0, 1)],
            ["seed=0, train.seed=0", "seed=0, train.seed=1", "seed=1, train.seed=0", "seed=1, train.seed=1"],
        ),
        ([cell(ignored=n, method__ignore_end=n, sampling__temperature=1.0) for n in (0, 2)], ["", ""]),
        ([cell(series=s, sampling__temperature=t) for s, t in (("bf", 0.0), ("votes", 1.0))], ["", ""]),
        ([cell(method__length=w) for w in ("short", "long")], ["length=short", "length=long"]),
        ([cell(), cell(method__a=None), cell(method__a=True)], ["", "a=null", "a=true"]),  # the first is an older version's
    ],
)
def test_labels_are_as_few_settings_as_will_do(records, labels):
    assert cell_labels(records) == labels


def test_a_pool_has_its_votes_for_a_curve_whatever_the_method_is_called(aggregated, svg_of):
    records = [r for r in aggregated[1]["cells"] if r["budget"] and not r["declared"]["ignored_ends"]]
    votes = [{"cell_id": r["cell_id"], "k": k, "maj": {"value": 0.5}} for r in records for k in (1, 2)]
    renamed = [r | {"method": "majority_voting"} for r in records]
    assert svg_of(renamed) == svg_of(records) != svg_of(records, pools=votes)


@pytest.mark.parametrize("at", [(100, 104), (100, 101, 140), (1, 999), (995, 998)])
def test_labels_do_not_lie_on_one_another_or_outside(at):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    FigureCanvasAgg(figure := Figure())
    axis = figure.subplots()
    axis.scatter(at, [5] * len(at))
    axis.set(xlim=(0, 1000), ylim=(0, 10))
    for x in at:
        axis.annotate("1,024", (x, 5), (6, -5), textcoords="offset points", ha="left", va="top")
    _part_labels(axis)
    boxes = [label.get_window_extent(figure.canvas.get_renderer()) for label in axis.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(axis.bbox.x0 <= box.x0 and box.x1 <= axis.bbox.x1 for box in boxes)


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


def test_many_series_are_told_apart(aggregated, tmp_path):
    """Of twenty no two have colour and mark alike, and their names stand beside the points, not over them."""
    from s1x.report import figure

    marks = {(number % len(figure.COLOURS), figure._marker(number)) for number in range(20)}
    assert len(marks) == 20 and [figure._marker(n) for n in range(8)] == list(figure.MARKERS)
    record = aggregated[1]["cells"][0]
    beside = []
    for names in (4, 20):
        records = [record | {"series": f"method {n}", "cell_id": str(n), "accuracy": 0.03 * n} for n in range(names)]
        draw(records, tmp_path / "a.png", tmp_path / "a.svg")
        svg = (tmp_path / "a.svg").read_text()
        frame = svg.split('id="patch_2"')[1].split('d="')[1].split('"')[0].split()
        beside.append(float(svg.split('viewBox="0 0 ')[1].split()[0]) - float(frame[4]))  # right of the axes
    assert beside[0] < 30 and beside[1] > 60
