"""The table of trainings, from files: who is compared with whom, and what the intervals hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from s1x.metrics.intervals import paired_differences
from s1x.report import tables
from s1x.report.ablation import ablation as of_cells
from s1x.report.ablation import difference
from s1x.report.load import Cell, load_cells
from s1x.report.render import markdown


def ablation(directory):
    return of_cells(load_cells(directory)[0])


def job(directory, number: int, model: str, seed: int, scores, task: str = "tiny_math") -> None:
    place = directory / str(number)
    place.mkdir(parents=True)
    lines = [{"doc_id": i, "score": float(s), "thinking_tokens": 100} for i, s in enumerate(scores)]
    (place / f"samples_{task}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = {
        "task": task,
        "model": model,
        "series": "budget_forcing",
        "accuracy": float(np.mean(scores)),
        "seed": 0,
        "thinking_tokens": {"mean": 100.0},
        "n_questions": len(scores),
        "settings": {"train.seed": seed, "data.name": model, "number": number},
        "declared": {"limits": [0, None], "ignored_ends": 0, "relative": None, "free": True},
    }
    (place / "cell.json").write_text(json.dumps(record))
    training = {
        "data": {"examples": 1000, "cut_share": 0.0, "tokens": 5000},
        "steps": 252,
        "seconds": 1800,
        "devices": 2,
        "content": {"data": model, "train": {"epochs": 4, "seed": seed}},
    }
    (place / "training.json").write_text(json.dumps(training))


def test_models_are_compared_with_the_first_and_seeds_are_pooled(tmp_path):
    rng = np.random.default_rng(0)
    for number, (model, share) in enumerate([("s1k", 0.8), ("s1k", 0.8), ("random", 0.4), ("random", 0.4)]):
        job(tmp_path, number, model, number, rng.random(200) < share)
    first, second = ablation(tmp_path)
    assert (first["model"], first["seeds"], first["ci95"]) == ("s1k", 2, None)
    assert (first["tokens"], first["device_hours"]) == (20_000, 1.0)
    assert second["difference"] == pytest.approx(second["accuracy"] - first["accuracy"]) and second["ci95"][1] < -0.2
    text = markdown(tables.ablation([first, second]))
    assert f"| s1k | {100 * first['accuracy']:.1f} | - |" in text and f" [{100 * second['ci95'][0]:+.1f}," in text
    assert "In every row: examples 1,000, cut % 0.0, seeds 2, thinking 100, trained on 0.02M" in text


def test_one_training_under_several_methods_is_no_ablation(tmp_path):
    for number in (0, 1):
        job(tmp_path, number, "m", 0, [0, 1])
    assert ablation(tmp_path) == []


def test_a_sweep_without_trainings_has_no_such_table(tmp_path):
    job(tmp_path, 0, "m", 0, [0, 1])
    (tmp_path / "0" / "training.json").unlink()
    assert ablation(tmp_path) == []


def cell(scores) -> Cell:
    return Cell({}, list(range(len(scores))), np.asarray(scores, float), np.ones(len(scores)))


def test_with_one_seed_it_is_the_papers_paired_bootstrap():
    rng = np.random.default_rng(1)
    a, b = rng.random(300) < 0.5, rng.random(300) < 0.6
    value, (low, high) = difference([cell(a)], [cell(b)])
    (known,) = paired_differences(a, b)
    assert value == pytest.approx(known["difference"])
    assert (low, high) == pytest.approx(known["ci95"], abs=0.01)


def test_seeds_that_disagree_widen_the_interval():
    rng = np.random.default_rng(2)
    a = [cell(rng.random(400) < 0.5) for _ in range(3)]
    steady = [cell(rng.random(400) < p) for p in (0.6, 0.6, 0.6)]
    lucky = [cell(rng.random(400) < p) for p in (0.4, 0.6, 0.8)]
    widths = [np.ptp(difference(a, b)[1]) for b in (steady, lucky)]
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_training_without_its_samples_is_left_out(tmp_path, lost):
    for number, model in enumerate(("s1k", "random", "longest")):
        job(tmp_path, number, model, 0, np.ones(20))
    (tmp_path / str(lost) / "samples_tiny_math.jsonl").unlink()
    found = ablation(tmp_path)
    assert len(found) == 2 and found[1]["difference"] == 0


def test_trainings_that_share_no_question_are_not_compared(tmp_path):
    job(tmp_path, 0, "s1k", 0, np.ones(20))
    job(tmp_path, 1, "random", 0, np.zeros(20))
    lines = [{"doc_id": 100 + i, "score": 0.0, "thinking_tokens": 100} for i in range(20)]
    (tmp_path / "1" / "samples_tiny_math.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [row["difference"] for row in ablation(tmp_path)] == [None, None]
