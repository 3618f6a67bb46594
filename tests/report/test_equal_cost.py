"""Cells and series at equal cost, from files: against whom, at which cost, and what is said where nothing can be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from s1x.metrics.crossfit import halves
from s1x.report.aggregate import aggregate
from s1x.report.equal_cost import UnknownSeries, cost_of, equal_cost
from s1x.report.load import Cell, load_cells

from .sweep import sample, write_job, write_sweep


def cell(series, tokens, scores, budget=None, task="t", questions=None, **record):
    scores = np.asarray(scores, dtype=float)
    return Cell(
        {
            "task": task, "model": "m", "series": series, "cell_id": f"{series}-{tokens}", "budget": budget, "settings": {},
            "thinking_tokens": {"mean": float(tokens)}, "n_questions": len(scores), "samples_per_question": 1,
            "declared": {"ignored_ends": 0}, **record,
        },
        list(range(len(scores))) if questions is None else questions, scores, np.full(len(scores), float(tokens)),
    )  # fmt: skip


RNG = np.random.default_rng(0)


def scores(p, n=300):
    return RNG.random(n) < p


BASE = [cell("base", tokens, scores(p)) for tokens, p in [(100, 0.2), (200, 0.7), (400, 0.4), (800, 0.9)]]


def test_a_cell_meets_the_best_that_costs_at_most_as_much():
    others = [cell("mine", tokens, scores(0.5)) for tokens in (50, 100, 199.9, 200, 799, 5000)]
    rows = {row["cost"]: row for row in equal_cost([*BASE, *others], "base", "thinking_tokens")["cells"]}
    against = {cost: row["chosen"] and list(dict.fromkeys(row["chosen"])) for cost, row in rows.items()}
    assert against == {
        50: None, 100: ["base-100"], 199.9: ["base-100"], 200: ["base-200"], 799: ["base-200"], 5000: ["base-800"],
    }  # fmt: skip
    assert rows[50]["difference"] is None and rows[50]["p_holm"] is None
    own = others[3].scores.mean() - BASE[1].scores.mean()
    assert rows[200]["difference"] == pytest.approx(own) and rows[200]["baseline_accuracy"] == BASE[1].scores.mean()
    assert rows[5000]["p_holm"] == pytest.approx(rows[5000]["p"] * 5) and rows[5000]["ci95"][1] < 0


def test_luck_is_not_counted():
    """Twelve equal cells: the best of them looks better than it is, but not on the half that did not choose it."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        base = [cell("base", t, rng.random(60) < 0.5) for t in range(1, 13)]
        found.append(equal_cost([*base, cell("mine", 50, rng.random(60) < 0.5)], "base", "thinking_tokens")["cells"][0])
    assert abs(np.mean([row["difference"] for row in found])) < 0.05
    assert len([row for row in found if row["chosen"][0] != row["chosen"][1]]) > 10


def test_budgets_name_the_best_series_and_its_lead():
    mine = [cell("mine", tokens, scores(p)) for tokens, p in [(90, 0.4), (300, 0.5), (1000, 0.6)]]
    rows = equal_cost([*BASE, *mine], "base", "thinking_tokens")["budgets"]
    assert [row["budget"] for row in rows] == [128, 256, 512, 1024]
    assert [set(row["cells"]) for row in rows] == [{"mine-90"}, {"base-200"}, {"base-200"}, {"base-800"}]
    assert [set(row["others"]) for row in rows] == [{"base-100"}, {"mine-90"}, {"mine-300"}, {"mine-1000"}]
    assert rows[1]["difference"] == pytest.approx(BASE[1].scores.mean() - mine[0].scores.mean())
    assert rows[1]["accuracy"]["value"] == pytest.approx(BASE[1].scores.mean()) and all(r["p_holm"] >= r["p"] for r in rows)


def test_a_budget_of_one_series_has_no_lead_and_a_task_of_one_no_budgets():
    rows = equal_cost([*BASE, cell("mine", 500, scores(0.5))], "base", "thinking_tokens")["budgets"]
    assert [row["others"] is None for row in rows] == [True, True, False, False]
    assert rows[0]["difference"] is None and rows[0]["accuracy"]["value"] == pytest.approx(BASE[0].scores.mean())
    assert equal_cost(BASE, "base", "thinking_tokens") == {
        "baseline": "base",
        "x": "thinking_tokens",
        "cells": [],
        "budgets": [],
    }


def test_tasks_stand_alone():
    other = cell("mine", 500, scores(0.5), task="u")
    found = equal_cost([*BASE, other], "base", "thinking_tokens")
    assert found["cells"][0]["chosen"] is None and found["budgets"] == []


def test_only_questions_that_all_answered_count():
    base = cell("base", 100, [1, 1, 0, 0, 1, 0], questions=[1, 2, 3, 4, 5, 6])
    mine = cell("mine", 100, [0, 1, 1, 1], questions=[6, 5, 4, 3])
    (row,) = equal_cost([base, mine], "base", "thinking_tokens")["cells"]
    assert len(set(halves([3, 4, 5, 6]).tolist())) == 2
    assert row["n_questions"] == 4 and row["difference"] == pytest.approx((3 - 1) / 4)


@pytest.mark.parametrize("questions", [[], [1], [1, 1000]])
def test_too_few_questions_are_a_dash(questions):
    questions = [q for q in questions if halves([q])[0] == halves([1])[0]]  # all in one half
    base, mine = (cell(name, 100, np.ones(len(questions)), questions=questions) for name in ("base", "mine"))
    found = equal_cost([base, mine], "base", "thinking_tokens")
    assert found["cells"][0]["difference"] is None and found["budgets"] == []


def test_what_a_cell_costs():
    record = cell("a", 7, [0, 1])
    assert cost_of(record.record, "thinking_tokens") == 7
    assert cost_of(record.record | {"path_tokens": 50, "samples_per_question": 5}, "path_tokens") == 5
    assert cost_of(record.record | {"flops": None}, "flops") is None
    found = equal_cost([cell("base", 1, scores(0.5), flops=None), cell("mine", 1, scores(0.5), flops=9e9)], "base", "flops")
    assert found["cells"][0]["cost"] == pytest.approx(3e7) and found["cells"][0]["chosen"] is None


def test_a_baseline_that_is_not_there_is_a_sentence():
    with pytest.raises(UnknownSeries, match=r"report.baseline=nobody: there is no such series; valid are base, mine$"):
        equal_cost([*BASE, cell("mine", 1, scores(0.5))], "nobody", "thinking_tokens")


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path / "sweep", questions=15)


def test_both_tables_stand_in_summary_markdown_and_page(sweep, aggregated):
    summary = aggregate(sweep, baseline="tiny-base", x="path_tokens")
    assert (summary["equal_cost"]["baseline"], summary["equal_cost"]["x"]) == ("tiny-base", "path_tokens")
    assert len(summary["equal_cost"]["cells"]) == 8
    text, page = (sweep / "summary.md").read_text(), (sweep / "report.html").read_text()
    for word in ("decoded tokens", "best of tiny-base", "best series", "lead, points"):
        assert word in text and word in page
    cheap = next(line for line in text.split("best of tiny-base")[1].splitlines() if "| 16 |" in line)
    assert cheap.count("| - |") or cheap.endswith("| - |")  # nothing of the baseline is as cheap
    assert aggregated[1]["equal_cost"] is None and "At equal cost" not in (aggregated[0] / "report.html").read_text()


def test_the_same_report_again(command, sweep):
    assert command("stage=report", f"report.of={sweep}", "report.baseline=budget_forcing") == (0, "")
    before = (sweep / "summary.json").read_bytes()
    assert json.loads((sweep / "report.json").read_text())["baseline"] == "budget_forcing"
    assert command("stage=report", f"report.of={sweep}") == (0, "") and (sweep / "summary.json").read_bytes() == before


def test_null_takes_away_what_a_report_was_made_with(command, sweep):
    asked = ("report.baseline=budget_forcing", "report.target=0.5")
    assert command("stage=report", f"report.of={sweep}", *asked) == (0, "")
    assert command("stage=report", f"report.of={sweep}", "report.baseline=null", "report.target=null") == (0, "")
    summary, made = (json.loads((sweep / name).read_text()) for name in ("summary.json", "report.json"))
    assert summary["equal_cost"] is None and "target" not in summary and made["baseline"] is made.get("target") is None


@pytest.mark.parametrize("name", ["budget", "none(thinking=false)x", "TINY-BASE"])
def test_a_name_that_is_none_is_one_sentence(command, sweep, name):
    status, said = command("stage=report", f"report.of={sweep}", f"report.baseline='{name}'")
    assert (status, said.count("\n")) == (2, 1)
    assert f"report.baseline={name}: there is no such series; valid are budget_forcing, tiny-base" in said


GRID = ("-m", "engine=scripted", "tracking=none", "task.limit=6", "store.dir=store", "method.max_thinking_tokens=16,64")


def test_a_sweep_is_refused_before_it_begins(command, tmp_path):
    status, said = command(*GRID, "report.baseline=nobody")
    assert (status, said) == (2, "report.baseline=nobody: there is no such series; valid are budget_forcing\n")
    status, said = command(*GRID[1:5], "report.baseline=nobody")
    assert (status, said.count("\n")) == (2, 1) and "report.baseline=nobody" in said
    assert not list(tmp_path.rglob("summary.json"))


@pytest.mark.long
def test_a_sweep_with_its_baseline(command, tmp_path):
    method = "method=budget_forcing,none"
    assert command(*GRID[:5], method, "report.baseline=none", "hydra.sweep.dir=out") == (0, "")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["cell_id"].split("-")[-2] for row in summary["equal_cost"]["cells"]] == ["budget_forcing"]


def test_a_baseline_that_did_not_finish_costs_its_table_alone(tmp_path):
    from omegaconf import OmegaConf

    from s1x import callbacks

    write_job(tmp_path / "0", 0, [sample(q, 16, 0) for q in range(9)], {"a": 1}, cell_id="a", series="bf")
    callbacks.failures.clear()
    made = callbacks.aggregate(
        tmp_path, OmegaConf.create({"name": "x", "report": {"x": None, "compat": None, "baseline": "none", "target": None}})
    )
    assert made["equal_cost"] is None and (tmp_path / "report.html").is_file()
    assert callbacks.failures == ["report.baseline=none: there is no such series; valid are bf; the report is without it"]
    callbacks.failures.clear()
    assert load_cells(tmp_path)[0]
