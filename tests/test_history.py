"""stage=list: past runs from what their directories hold, newest first, and nothing is left behind."""

from __future__ import annotations

import json
import shutil

import pytest

from s1x.report import past

from .report.sweep import write_sweep

COLUMNS = ["date", "experiment", "model", "cells", "best %", "thinking", "directory"]


def listed(text: str) -> list[dict[str, str]]:
    """The rows of a list that is printed wide."""
    head, *lines = [line for line in text.splitlines() if line.strip()]
    starts = [head.index(title) for title in COLUMNS[:3]]
    assert head.split()[0] == "#" and starts == sorted(starts)
    rows = [line for line in lines if line.strip()[0].isdigit()]
    return [dict(zip(["#", "date", "time", "experiment"], line.split(), strict=False)) | {"line": line} for line in rows]


@pytest.fixture
def runs(tmp_path):
    """Four runs: a finished sweep with a report, one of ten cells of which three are there, a training, a new one."""
    done = write_sweep(tmp_path / "multirun" / "budget_sweep" / "2026-01-02_03-04-05", questions=6)
    records = [json.loads(path.read_text()) for path in done.glob("*/cell.json")]
    (done / "summary.json").write_text(json.dumps({"experiment": "budget_sweep", "cells": records}))
    half = write_sweep(tmp_path / "multirun" / "budget_sweep" / "2026-01-03_00-00-00", questions=6)
    for job in range(3, 10):
        (half / str(job) / "cell.json").unlink()
    (half / "run.json").unlink()
    (half / "multirun.yaml").write_text("")
    config = "name: wait_sweep\nstage: evaluate\nmodel: {name: tiny-s1}\n"
    for job in half.glob("*/.hydra"):
        (job / "config.yaml").write_text(config)
    for name, told in (("tiny_sft", "stage: train"), ("run", "stage: [train, evaluate]")):
        (tmp_path / "outputs" / name / "2026-01-01_00-00-00" / ".hydra").mkdir(parents=True)
        text = f"name: {name}\n{told}\nmodel: {{name: tiny-base}}\n"
        (tmp_path / "outputs" / name / "2026-01-01_00-00-00" / ".hydra" / "config.yaml").write_text(text)
    return tmp_path


def files(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_runs_are_listed_newest_first(command, runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    before = files(runs)
    assert command("stage=list") == (0, "")
    assert files(runs) == before and set(path.name for path in runs.iterdir()) == {"multirun", "outputs"}
    rows = listed(command.out)
    assert [row["experiment"] for row in rows[:2]] == ["wait_sweep", "budget_sweep"]
    assert {row["experiment"] for row in rows[2:]} == {"tiny_sft", "run"}
    assert [row["date"] for row in rows] == ["2026-01-03", "2026-01-02", "2026-01-01", "2026-01-01"]
    half, done = rows[0]["line"], rows[1]["line"]
    assert " 3 of 10 " in half and half.endswith("multirun/budget_sweep/2026-01-03_00-00-00")
    summary = json.loads((runs / "multirun/budget_sweep/2026-01-02_03-04-05/summary.json").read_text())
    best = max(cell["accuracy"] for cell in summary["cells"])
    assert f" {100 * best:.1f} " in done and "tiny-s1, tiny-base" in done and f"  {len(summary['cells'])} " in done
    training, new = sorted((row["line"] for row in rows[2:]), key=lambda line: "tiny_sft" not in line)
    assert " train " in training and " 0 of 1 " in new


@pytest.mark.long
def test_a_directory_narrows_the_list(command, runs):
    assert command("stage=list", "report.of=outputs/tiny_sft") == (0, "")
    assert "tiny_sft" in command.out and "budget_sweep" not in command.out
    assert command("stage=list", "report.of=[outputs/tiny_sft,multirun]") == (0, "") and "budget_sweep" in command.out
    assert command("stage=list", "report.of=nowhere") == (2, "report.of=nowhere: there is no such directory\n")
    shutil.rmtree(runs / "multirun"), shutil.rmtree(runs / "outputs")
    assert command("stage=list") == (0, "") and command.out.startswith("No runs in outputs, multirun; report.of=DIR")


@pytest.mark.long
def test_places_are_those_of_the_configuration(command, tmp_path):
    write_sweep(tmp_path / "elsewhere" / "mine" / "2026-01-02_03-04-05", questions=2)
    assert command("stage=list", "hydra.sweep.dir='elsewhere/${name}/${now:%Y}'") == (0, "")
    assert "elsewhere/mine/2026-01-02_03-04-05" in "".join(command.out.split())


@pytest.mark.parametrize("broken", ["[1]", "{", '{"cells": [{"accuracy": "x"}], "experiment": 3}', "null"])
def test_damaged_files_end_no_list(tmp_path, broken):
    write_sweep(tmp_path / "a", questions=2)
    (tmp_path / "a" / "summary.json").write_text(broken)
    (tmp_path / "a" / "0" / "cell.json").write_text(broken)
    (tmp_path / "a" / "1" / ".hydra" / "config.yaml").write_text("{")
    (run,) = past.runs([tmp_path])
    assert run.cells == "9 of 10" and 0 <= run.best["accuracy"] <= 1
