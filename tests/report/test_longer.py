"""Whether thinking longer helps: the longest point of a series against its best, and wrong samples against right ones."""

import json

import numpy as np
import pytest

from s1x.metrics.crossfit import against_best, halves
from s1x.report import tables
from s1x.report.aggregate import aggregate

from .sweep import sample, write_job

QUESTIONS = 200


def write_series(directory, chances):
    """Points of rising length, whose accuracies are about `chances`; a question's luck is the same in all."""
    rng = np.random.default_rng(0)
    luck = rng.random(QUESTIONS)
    for at, chance in enumerate(chances):
        lines = [sample(q, 16, 0) | {"score": float(luck[q] < chance), "thinking_tokens": 16 * 2**at} for q in range(QUESTIONS)]
        own = {"cell_id": f"{at}", "series": "bf", "budget": 16 * 2**at, "settings": {"method.n": at}}
        write_job(directory / str(at), at, lines, **own)
    return aggregate(directory)


def test_a_series_that_falls_again_says_by_how_much(tmp_path):
    summary = write_series(tmp_path, (0.2, 0.7, 0.5, 0.4))
    (row,) = summary["metrics"]
    scores = {c["cell_id"]: c["accuracy"] for c in summary["cells"]}
    found = row["longest"]
    assert found["difference"] == pytest.approx(scores["3"] - scores["1"], abs=1e-6)  # both halves find the best point
    assert found["ci95"][1] < 0 and found["p_holm"] == found["p"] < 0.05 and found["n_questions"] == QUESTIONS
    table = next(table for table in tables.of_summary(summary) if table.name == "metrics")
    assert "longest against best" in [column.title for column in table.columns]
    for name in ("summary.md", "report.html"):
        assert "longest against best" in (tmp_path / name).read_text()
    assert json.loads((tmp_path / "summary.json").read_text())["metrics"][0]["longest"] == found


def test_a_series_that_rises_does_not_fall(tmp_path):
    found = write_series(tmp_path, (0.2, 0.4, 0.6, 0.8))["metrics"][0]["longest"]
    assert found["difference"] == 0 and found["ci95"] == [0, 0] and found["p_holm"] == 1


def test_equal_points_are_no_fall():
    """The longest of points that are all alike lies above what half of the questions choose as often as below."""
    rng = np.random.default_rng(1)
    found = [against_best((rng.random((100, 6)) < 0.5).astype(float), halves(range(100)), 5) for _ in range(16)]
    assert abs(np.mean([row["difference"] for row in found])) < 0.05
    assert sum(row["p"] < 0.05 for row in found) <= 2
    assert against_best(np.ones((3, 2)), np.ones(3, dtype=bool), 1) is None


@pytest.mark.parametrize(("right", "wrong", "expected"), [(10, 30, 20.0), (30, 10, -20.0), (10, None, None)])
def test_wrong_samples_are_compared_with_right_ones_of_the_same_question(tmp_path, right, wrong, expected):
    lines = []
    for q in range(8):
        members = [
            {"thinking_tokens": right + 100 * q, "score": 1.0},
            {"thinking_tokens": (wrong or 0) + 100 * q, "score": 0.0},
        ]
        members = members if wrong and q < 6 else members[:1] * 2  # the last two have no wrong ones
        votes = {"maj": {"1": 0.5, "2": 0.5}, "pass": {"1": 0.5, "2": 1.0}}
        whole = sample(q, 64, 0)
        lines.append(whole | {"votes": votes, "samples": [whole | member for member in members]})
    write_job(tmp_path / "0", 0, lines, cell_id="vote", series="votes", overrides=[], budget=64)
    one, two = aggregate(tmp_path)["pools"]
    assert one["wrong_longer"] is None
    assert two["wrong_longer"] == (expected and {"value": expected, "ci95": [expected, expected]})
    assert ("wrong longer by" in (tmp_path / "summary.md").read_text()) == bool(expected)
