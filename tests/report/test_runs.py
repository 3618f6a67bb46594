"""report.compare=[A,B]: cells of two runs are paired, and compared question by question."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from ..importing.tables import OF, imported, jsonl, rows
from .sweep import write_sweep


def summary(path):
    return json.loads((path / "summary.json").read_text())


def answers(path, model, scores, *, budget=None, first=0, **more):
    listed = [
        {**OF, "model": model, "question": first + n, "correct": score, "thinking_tokens": 9, "budget": budget, **more}
        for n, score in enumerate(scores)
    ]
    jsonl(path.with_suffix(".jsonl"), listed)
    return listed


def test_two_models_on_the_same_questions(command, tmp_path):
    """The difference is that of the questions both answered, in the second's favour where it is positive."""
    rng = np.random.default_rng(0)
    first, second = rng.random(60) < 0.5, rng.random(50) < 0.7
    answers(tmp_path / "a", "one", map(float, first))
    answers(tmp_path / "b", "two", map(float, second))
    for name in "ab":
        imported(tmp_path / name, format="table", files=str(tmp_path / f"{name}.jsonl"))
    assert command("stage=report", "report.compare=[a,b]", "hydra.run.dir=out") == (0, "")
    found = summary(tmp_path / "out")
    (row,) = found["comparisons"]
    assert (row["kind"], row["n_questions"]) == ("runs", 50)
    assert row["difference"] == pytest.approx(np.mean(second.astype(float) - first[:50]), abs=1e-6)
    low, high = row["ci95"]
    assert low < row["difference"] < high
    assert "two against one" in (tmp_path / "out" / "summary.md").read_text()
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert command("stage=report", "report.of=out") == (0, "")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == before


def test_two_weeks_of_one_sweep(command, tmp_path):
    """Cells that are called the same stay apart, and each goes with the one of its budget and ignored ends."""
    write_sweep(tmp_path / "monday", questions=20)
    shutil.copytree(tmp_path / "monday", tmp_path / "friday")
    shutil.rmtree(tmp_path / "friday" / "3")  # one did not finish
    path = tmp_path / "friday" / "0" / "samples_tiny_math.jsonl"
    lines = [json.loads(line) | {"score": 1.0} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert command("stage=report", "report.compare=[monday,friday]", "hydra.run.dir=out") == (0, "")
    found = summary(tmp_path / "out")
    ends = {row["a"].rpartition("@") for row in found["comparisons"]}
    assert all(row["b"] == row["a"].replace("@monday", "@friday") for row in found["comparisons"]) and len(ends) > 5
    changed = [row for row in found["comparisons"] if row["difference"] != 0]
    assert len(changed) == 1 and changed[0]["difference"] == pytest.approx(1 - np.mean([
        json.loads(line)["score"] for line in (tmp_path / "monday" / "0" / "samples_tiny_math.jsonl").read_text().splitlines()
    ]), abs=1e-6)  # fmt: skip
    assert any("of the cells of monday go with none" in problem for problem in found["problems"])
    assert {row["series"] for row in found["metrics"]} >= {"budget_forcing (monday)", "budget_forcing (friday)"}


def test_what_both_vary_alike_pairs_cells(command, tmp_path):
    for name, model, flip in (("a", "one", 0.0), ("b", "two", 1.0)):
        listed = []
        for effort, right in (("low", 0.0), ("high", 1.0)):
            listed += answers(tmp_path / "x", model, [abs(flip - right)] * 5, effort=effort)
        jsonl(tmp_path / f"{name}.jsonl", listed)
        imported(tmp_path / name, format="table", files=str(tmp_path / f"{name}.jsonl"), columns={"setting": "effort"})
    assert command("stage=report", "report.compare=[a,b]", "hydra.run.dir=out") == (0, "")
    assert [row["difference"] for row in summary(tmp_path / "out")["comparisons"]] == [1.0, -1.0]


def test_other_questions_under_the_same_names_are_noticed(command, tmp_path):
    for name, target in (("a", "4"), ("b", "5")):
        jsonl(tmp_path / f"{name}.jsonl", [row | {"target": target, "model": name} for row in rows()])
        imported(tmp_path / name, format="table", files=str(tmp_path / f"{name}.jsonl"))
    assert command("stage=report", "report.compare=[a,b]", "hydra.run.dir=out") == (0, "")
    (problem,) = summary(tmp_path / "out")["problems"]
    assert problem.startswith("6 of 6 questions of t have another target in b than in a")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("report.compare=[a,a]", "report.compare=['a', 'a']: must be two directories"),
        ("report.compare=[a]", "report.compare=['a']: must be two directories"),
        ("report.compare=[a,nowhere]", "report.compare=nowhere: there is no such directory"),
        ("report.compare=[a,empty]", "holds no measured cell"),
        ("report.compare=[a,other]", "no cell of one goes with one of the other"),
        ("report.compare=a", "report.compare=a: must be a list, such as [a,b], or null"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(command, tmp_path, typed, said):
    for name, task in (("a", "t"), ("other", "u")):
        jsonl(tmp_path / f"{name}.jsonl", [row | {"task": task} for row in rows()])
        imported(tmp_path / name, format="table", files=str(tmp_path / f"{name}.jsonl"))
    (tmp_path / "empty").mkdir()
    status, err = command("stage=report", typed, "hydra.run.dir=out")
    assert status == 2 and said in err and err.count("\n") == 1, err
