"""What stands beside and below the tables, so that a reader knows what to conclude."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from s1x.metrics.significance import holm
from s1x.report import tables
from s1x.report.aggregate import aggregate
from s1x.report.load import load_cells
from s1x.report.pools import pools, variances
from s1x.report.render import markdown

from .sweep import sample, write_job


def test_each_table_is_corrected_for_its_own_comparisons(aggregated):
    directory, summary = aggregated
    rows, found = summary["comparisons"], {table.name: table for table in tables.of_summary(summary)}
    for step in (False, True):
        own = [row for row in rows if (row["kind"] == "step") == step]
        assert [row["p_holm"] for row in own] == pytest.approx(holm([row["p"] for row in own]), abs=1e-5)
        assert len(own) == (4 if step else 5)
    page = (directory / "report.html").read_text()
    assert page.count(">p (Holm)<") == 2 and "budget 64 against 32" in page
    assert len(found["comparisons"].rows) == 5 and "steps" not in found


def comparison(p, kind="reference", mcnemar=None, smallest=0.05):
    return {
        "kind": kind, "task": "t", "a": "a", "b": "b", "difference": 0.1, "ci95": [0, 0.2], "n_questions": 90, "p": p,
        "p_bootstrap": p, "p_mcnemar": mcnemar, "smallest_difference": smallest,
    }  # fmt: skip


RECORDS = [
    {
        "cell_id": name, "task": "t", "model": "m", "series": name, "settings": {}, "budget": None,
        "declared": {"ignored_ends": 0}, "thinking_tokens": {"mean": 10.0},
    }
    for name in "ab"
]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(0.001, None, 0.05), (0.02, None, 0.081)], "p: bootstrap. After Holm's correction 2 of 2 differences hold at 0.05."),
        ([(0.03, None, 0.05), (0.04, None, 0.08)], "After Holm's correction 0 of 2 differences hold at 0.05."),
        ([(0.03, 0.03, 0.2), (0.9, 0.9, 0.2)], "p: exact McNemar test. After"),
        ([(0.03, 0.03, 0.2), (0.9, None, 0.2)], "p: exact McNemar test below 50 questions or 10 that differ, else bootstrap."),
        ([(0.03, None, 0.05), (0.04, None, 0.0812)], "(80% power, alpha 0.05): 5.0 to 8.1 points."),
        ([(0.03, None, 0.05), (0.04, None, 0.05)], "(80% power, alpha 0.05): 5.0 points."),
    ],
)
def test_the_sentences_below_paired_differences(rows, said):
    from s1x.metrics.significance import corrected

    text = markdown(tables.comparisons(corrected([comparison(p, "reference", m, s) for p, m, s in rows]), RECORDS))
    assert said in text


def votes(right, n=4):
    members = [q < right for q in range(n)]
    return {"maj": {"1": right / n, str(n): float(right > n / 2)}, "pass": {"1": right / n, str(n): float(any(members))}}


def test_pools_say_how_stable_they_are_and_whether_more_samples_help(tmp_path):
    rights = [0, 1, 3, 4, 4, 2, 0, 4]
    lines = [sample(q, 64, 0) | {"votes": votes(right)} for q, right in enumerate(rights)]
    write_job(tmp_path / "0", 0, lines, cell_id="vote", series="majority_voting", overrides=[], budget=64)
    cells, _ = load_cells(tmp_path)
    one, four = pools(cells, None)
    assert (one["gpass_all"]["value"], one["mgpass"]["value"]) == pytest.approx((np.mean(rights) / 4,) * 2)
    assert four["gpass_all"]["value"] == pytest.approx(3 / 8) and four["gpass_half"]["value"] == pytest.approx(5 / 8)
    assert four["mgpass"]["value"] == pytest.approx(np.mean([2 / 4 * max(0, right - 2) for right in rights]))
    assert four["bayes"]["value"] == pytest.approx(np.mean([(right + 1) / 6 for right in rights])) and one["bayes"] is None
    (split,) = variances(cells)
    p = np.array(rights) / 4
    within = np.mean(p * (1 - p)) * 4 / 3
    assert split["within"] == pytest.approx(within) and split["between"] == pytest.approx(p.var(ddof=1) - within / 4)
    aggregate(tmp_path)
    share = f"{100 * split['share_between']:.0f}"
    for file in ("summary.md", "report.html"):
        text = (tmp_path / file).read_text()
        assert "mG-Pass@k" in text and "Bayes@N" in text
        assert f"More samples will not help majority voting, budget 64: {share}% of the variance is between questions." in text


@pytest.mark.parametrize(
    ("chances", "said"),
    [((0.5,), "More samples would help bf, budget 16"), ((0, 1), "More samples will not help bf, budget 16")],
)
def test_repeats_are_samples_too(tmp_path, chances, said):
    rng = np.random.default_rng(0)
    lines = [
        sample(q, 16, 0) | {"score": float(rng.random() < chances[q % len(chances)]), "repeat": repeat}
        for q in range(40)
        for repeat in range(3)
    ]
    write_job(tmp_path / "0", 0, lines, cell_id="a", series="bf", overrides=[], budget=16, temperature=1.0)
    cells, _ = load_cells(tmp_path)
    (row,) = variances(cells)
    assert row["samples"] == 3 and said in markdown(tables.variance([row], [cells[0].record]))


def test_one_sample_has_no_such_table(aggregated):
    assert aggregated[1]["variance"] == [] and "More samples" not in (aggregated[0] / "report.html").read_text()


def test_a_close_pair_is_named_with_its_tokens(tmp_path):
    rng = np.random.default_rng(0)
    luck = rng.random(300)
    for job, budget in enumerate((439, 460, 900, 1800)):
        own = np.where(rng.random(300) < 0.3, rng.random(300), luck) < 0.05 * np.log2(budget)
        lines = [sample(q, 16, 0) | {"score": float(s), "thinking_tokens": budget} for q, s in enumerate(own)]
        settings = {"method.max_thinking_tokens": budget}
        write_job(tmp_path / str(job), job, lines, settings, cell_id=str(budget), series="bf", budget=budget)
    summary = aggregate(tmp_path)
    assert summary["metrics"][0]["scaling"]["close_pair"]["cells"] == ["439", "460"]
    text = (tmp_path / "summary.md").read_text()
    assert "Scaling of bf hangs on one pair: the cells of 439 and 460 thinking tokens, 0.07 doublings apart" in text
    assert "| Theil-Sen |" in text and json.loads((tmp_path / "summary.json").read_text()) == summary


def test_the_page_on_statistics_explains_every_column(aggregated):
    text = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    summary = aggregated[1]
    records = summary["cells"]
    shown = [tables.cells(records), tables.metrics(summary["metrics"], records), tables.pools([], RECORDS)]
    shown += [tables.comparisons(summary["comparisons"], records)]
    titles = {column.title for table in shown for column in table.columns}
    said = set(re.findall(r"\*\*[^*]+\*\*", text.replace("\n", " ")))
    names = {"task", "cell", "settings", "budget", "Wait", "series", "pool", "k", "paired difference", "questions"}
    assert {title for title in titles - names if not {f"**{t}**" for t in (title, title.removesuffix(" %"))} & said} == set()
