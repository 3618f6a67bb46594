"""Figures: what they show, and that nothing in them lies on anything else."""

import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s1x.report.figures import draw, parted
from s1x.report.figures.style import look
from s1x.report.paper import load_paper

from ..test_sweeper import EXPERIMENTS, at_scales, cells  # noqa: F401
from .drawn import ROOT, TABLE3, drawn, fills, identities, measured, overlaps, summary_of

long = pytest.mark.long


def png_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and b"tIME" not in data
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_figures_are_wide_enough_and_the_same_input_gives_the_same_bytes(aggregated, tmp_path):
    directory, summary = aggregated
    assert png_size(directory / "scaling.png")[0] >= 1200
    svg, pdf = (directory / "scaling.svg").read_text(), (directory / "scaling.pdf").read_bytes()
    assert "<dc:date>" not in svg and "Matplotlib v" not in svg
    assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf and b"/Type3" not in pdf
    draw(tmp_path, summary, None, "thinking_tokens")
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {name: (directory / name).read_bytes() for name in made} and len(made) == 3


def test_an_svg_has_dark_colours_for_dark_pages(aggregated):
    svg = (aggregated[0] / "scaling.svg").read_text()
    assert "@media (prefers-color-scheme: dark)" in svg and '[style*="fill: #1f2328"]{fill:#e6edf3!important}' in svg
    assert "fill: #1f2328" in svg.split("</style>", 1)[1]


def test_a_pointer_reads_what_a_mark_is(aggregated):
    directory, summary = aggregated
    titles = re.findall("<g><title>(.*?)</title>", (directory / "scaling.svg").read_text())
    told = "; ".join(titles)
    assert 0 < len(titles) <= len(summary["cells"]) and 'id="mark-' not in (directory / "scaling.svg").read_text()
    for cell in summary["cells"]:
        assert f": {100 * cell['accuracy']:.1f}% [{100 * cell['accuracy_ci95'][0]:.1f}, " in told
        assert f"{cell['thinking_tokens']['mean']:,.0f} tokens" in told


def test_published_points_stand_beside_cells_of_their_model_and_task_alone(aggregated):
    summary = aggregated[1] | {"pools": [], "metrics": [], "ablation": []}
    paper = load_paper(TABLE3)
    points = [p | {"model": "tiny-s1"} for p in paper["points"] if p["series"] == "BF"]
    assert set(drawn(summary, paper | {"points": points})) == {"scaling", "published"}
    there = summary | {"cells": [r | {"task": "aime24"} for r in summary["cells"]]}
    page = drawn(there, paper | {"points": points})
    assert set(page) == {"scaling"} and "BF (published)" in legend(page["scaling"])
    assert set(drawn(there, paper)) == {"scaling", "published"}  # another model
    assert parted(points, there["cells"]) == (points, []) and set(drawn(there, paper, "flops")) == {"scaling"}


def test_total_tokens_move_the_points(aggregated):
    assert fills(drawn(aggregated[1])["scaling"]) != fills(drawn(aggregated[1], x="path_tokens")["scaling"])


def record(at, right, **own):
    said = {"task": "t", "model": "m", "series": "s", "cell_id": f"{at} {right} {own}", "settings": {}, "budget": at}
    told = {"n_questions": 100, "samples_per_question": 1, "thinking_tokens": {"mean": at}, "forced_end_rate": 0.0}
    declared = {"declared": {"ignored_ends": own.pop("ignored", 0)}}
    return said | told | declared | {"accuracy": right, "accuracy_ci95": [right, right]} | own


def legend(page):
    return "; ".join(text.get_text().replace("\n", " ") for text in page.figure.legends[0].get_texts())


def only(*records):
    return drawn({"cells": list(records), "pools": [], "metrics": [], "ablation": []})["scaling"]


def test_natural_forced_and_extended_ends_are_told_apart_without_colour():
    page = only(record(10, 0.1, forced_end_rate=1.0), record(40, 0.4), record(90, 0.9, ignored=2))
    assert sorted(fill for _, _, fill in fills(page)) == ["full", "half", "hollow"]
    assert all(word in legend(page) for word in ("natural end", "end forced", "ignored"))


def test_cells_at_one_place_become_rings_with_one_label():
    page = only(record(64, 0.5), record(64, 0.5, budget=128, series="other"), record(8, 0.1), record(9, 0.8, series="other"))
    assert len({line.get_markersize() for line in page.figure.axes[0].lines if line.get_marker() == "s"}) == 2
    assert "2 cells: 64, 128" in {text.get_text() for text in page.figure.axes[0].texts}
    assert "cells at one place" in legend(page)


def test_series_differ_in_grey():
    assert len({(str(look(n).line), look(n).marker) for n in range(44)}) == 44


def test_a_pool_has_its_votes_for_a_curve_whatever_the_method_is_called(aggregated):
    records = [r for r in aggregated[1]["cells"] if r["budget"] and not r["declared"]["ignored_ends"]]
    votes = [{"cell_id": r["cell_id"], "k": k, "maj": {"value": r["accuracy"], "ci95": None}} for r in records for k in (1, 2)]
    page = {"metrics": [], "ablation": []}
    plain = drawn(page | {"cells": records, "pools": []})
    renamed = drawn(page | {"cells": [r | {"method": "majority_voting"} for r in records], "pools": []})
    pooled = drawn(page | {"cells": records, "pools": votes})
    assert fills(plain["scaling"]) == fills(renamed["scaling"]) != fills(pooled["scaling"])
    assert "votes" in pooled and "votes" not in plain


@pytest.mark.parametrize("at", [(100, 104), (100, 101, 140), (1, 999), (995, 998), (64, 64, 64)])
def test_labels_do_not_lie_on_one_another_or_outside(at):
    assert (
        overlaps(only(*(record(x, 0.5, series=f"series {n}", cell_id=str(n)) for n, x in enumerate(at)), record(3, 0.4))) == []
    )


def test_labels_without_a_place_are_numbers_of_a_key():
    rng = random.Random(0)
    page = only(*(record(100 + rng.random() * 300, rng.random(), budget=10**70 + n) for n in range(45)))
    assert overlaps(page) == []
    assert any("1: s 10,000,000" in text.get_text().replace("\n", " ") for text in page.figure.texts)


def test_what_overlaps_is_found():
    page = only(record(64, 0.5), record(128, 0.7))
    axes = page.figure.axes[0]
    axes.text(64, 50, "on a point")
    assert [what for what in overlaps(page) if "on a point" in what]
    axes.text(128, 60, "one"), axes.text(128, 60, "other")
    assert "'one' on 'other'" in overlaps(page)
    page.figure.text(0.99, 0.5, "a long line at the edge")
    assert "'a long line at the edge' is cut off" in overlaps(page)


SIGNS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Mn", "Me")), min_size=1, max_size=60)


@st.composite
def summaries(draw_):
    """Of any number of cells, series, tasks and models, with names of any kind."""
    rng = random.Random(draw_(st.integers(0, 10**6)))
    names = draw_(st.lists(SIGNS, min_size=1, max_size=20, unique=True))
    said = []
    for number in range(draw_(st.integers(1, 45))):
        own = {
            "task": rng.choice(names[:2]),
            "model": rng.choice(names[:3]),
            "series": rng.choice(names),
            "cell_id": str(number),
        }
        own["settings"] = {"method.n": rng.choice((None, 4, 16)), "method.w": rng.choice(names)}
        own["declared"] = {"ignored_ends": rng.choice((0, 0, 0, 2))}
        said.append(own | {"cell_id": str(number), "budget": rng.choice((None, 16, 2**number))})
    return summary_of(measured(said, rng.randrange(99)), rng.randrange(99))


def nothing_overlaps(summary, paper=None, x="thinking_tokens"):
    return {name: found for name, page in drawn(summary, paper, x).items() if (found := overlaps(page))}


@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(summaries())
def test_nothing_overlaps(summary):
    assert nothing_overlaps(summary) == {}


@long
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(summaries(), st.sampled_from(("thinking_tokens", "path_tokens", "flops")))
def test_nothing_overlaps_however_many_and_whatever_they_are_called(summary, x):
    assert nothing_overlaps(summary, x=x) == {}


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        pytest.param(*at, marks=pytest.mark.slow if at[1] == "laptop" else long)  # other numbers of the same cells
        for at in at_scales(name for name in EXPERIMENTS if "bench" not in name and "tiny" not in name)
    ],
)
def test_nothing_overlaps_in_any_experiments_figures(cells, name, scale):  # noqa: F811
    _, configs = cells(None, f"+experiment={name}", f"scale={scale}", "plan=true")
    said, file = identities(configs), ROOT / "experiments" / name / "paper.yaml"
    paper = load_paper(file) if file.is_file() else None
    for seed, x in enumerate(("thinking_tokens", "path_tokens", "flops")):
        assert nothing_overlaps(summary_of(measured(said, seed), seed), paper, x) == {}
