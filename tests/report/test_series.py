"""Which cells are one series, and which of them are compared: what a method varies is along a curve, all else beside it."""

import itertools
import json

import numpy as np
import pytest

from s1x.report.aggregate import aggregate
from s1x.report.equal_cost import UnknownSeries
from s1x.report.labels import series_names
from s1x.report.load import _identities

from .sweep import sample, write_job

QUESTIONS = 200


def write_grid(directory, chances, seeds=(0, 1), **also):
    """Cells of budgets times temperatures times seeds; chances: by budget and temperature. Luck is that of the seed."""
    for job, ((budget, temperature), seed) in enumerate(itertools.product(chances, seeds)):
        luck = np.random.default_rng(seed).random(QUESTIONS)
        right = [float(x < chances[budget, temperature]) for x in luck]
        lines = [sample(q, 16, 0) | {"score": right[q], "thinking_tokens": budget} for q in range(QUESTIONS)]
        set_ = {"method.max_thinking_tokens": budget, "sampling.temperature": temperature, "seed": seed}
        own = {"cell_id": f"{budget} {temperature} {seed}", "series": "bf", "budget": budget, "seed": seed}
        write_job(directory / str(job), job, lines, settings=set_, temperature=temperature, **own)
    return aggregate(directory, **also)


def test_temperatures_are_series_and_seeds_one_point(tmp_path):
    """A budget that changes nothing stays without a verdict, however much a temperature does."""
    chances = {(budget, t): 0.3 + 0.4 * t for budget in (64, 128, 512) for t in (0, 1)}
    summary = write_grid(tmp_path, chances)
    assert [row["series"] for row in summary["metrics"]] == ["bf (temperature=0)", "bf (temperature=1)"]
    assert {row["n_points"] for row in summary["metrics"]} == {3}
    found = [(row["kind"], row["a"], row["b"]) for row in summary["comparisons"]]
    assert found == [
        (kind, f"{a} {t} 0", f"{b} {t} 0")
        for t in (0, 1)
        for kind, a, b in (("step", 64, 128), ("step", 128, 512), ("ends", 64, 512))
    ] + [("reference", "512 0 0", "512 1 0")]
    along, between = summary["comparisons"][:-1], summary["comparisons"][-1]
    assert {(row["difference"], row["p_holm"]) for row in along} == {(0, 1)}
    cells = {c["cell_id"]: c["accuracy"] for c in summary["cells"]}
    assert between["difference"] == pytest.approx(
        np.mean([cells[f"512 1 {s}"] - cells[f"512 0 {s}"] for s in (0, 1)]), abs=1e-6
    )
    assert between["p_holm"] < 0.001
    assert {row["longest"]["p_holm"] for row in summary["metrics"]} == {1}


def test_a_baseline_may_be_called_what_it_was_before_it_was_parted(tmp_path):
    chances = {(budget, t): 0.5 for budget in (64, 128) for t in (0, 1)}
    summary = write_grid(tmp_path / "all", chances, baseline="bf")
    assert summary["equal_cost"]["baseline"] == series_names(summary["cells"])["tiny_math", "tiny-s1", "bf (temperature=0)"]
    found = aggregate(tmp_path / "all", baseline="bf (temperature=1)")["equal_cost"]["baseline"]
    assert found.endswith("(temperature=1)")
    with pytest.raises(UnknownSeries, match=r"valid are bf \(temperature=0\), bf \(temperature=1\)"):
        aggregate(tmp_path / "all", baseline="other")


def test_other_settings_of_the_method_part_comparisons_not_series(tmp_path):
    for job, (n, budget) in enumerate(itertools.product((4, 16), (64, 128))):
        lines = [sample(q, budget, 0) for q in range(20)]
        own = {"settings": {"method.n": n, "method.inner.max_thinking_tokens": budget}, "budget": budget, "series": "mv"}
        write_job(tmp_path / str(job), job, lines, cell_id=f"{n} {budget}", **own)
    summary = aggregate(tmp_path)
    assert [(row["a"], row["b"]) for row in summary["comparisons"]] == [("4 64", "4 128"), ("16 64", "16 128")]
    assert len(summary["metrics"]) == 1


def test_no_point_is_the_longest_where_several_are(tmp_path):
    for job, (name, right) in enumerate({"a": 0.1, "b": 0.9, "c": 0.5}.items()):
        lines = [
            sample(q, 16, 0) | {"score": float(q < 20 * right), "thinking_tokens": 9 - 5 * (name == "c")} for q in range(20)
        ]
        write_job(tmp_path / str(job), job, lines, cell_id=name, series="bf", settings={"method.every": job})
    assert aggregate(tmp_path)["metrics"][0]["longest"] is None


def test_inner_methods_with_equal_settings_are_other_cells():
    one = {"method": "prompted", "series": "prompted(dvts)", "settings": {"method.inner.n": 4}, "cell_id": "1"}
    assert not _identities(one) & _identities(one | {"series": "prompted(beam_search)", "cell_id": "2"})
    assert _identities(one) & _identities(json.loads(json.dumps(one | {"cell_id": "3"})))
