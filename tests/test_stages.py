"""The table of stages, and those that only read: a report made again is the same, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from s1x.errors import SettingError
from s1x.stages import STAGES, quietly, stages

from .report.sweep import write_sweep

ROOT = Path(__file__).parents[1]
SWEEP = ("engine=scripted", "tracking=none", "task.limit=5", "store.dir=store")
HEAVY = ("torch", "transformers", "vllm", "lm_eval", "wandb")
MADE = ("summary.json", "summary.md", "cells.csv", "scaling.png", "scaling.svg", "scaling.pdf", "report.html", "report.json")


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_there(name):
    module = STAGES[name].load()
    assert callable(module.run)
    assert callable(getattr(module, "evaluate", None)) == STAGES[name].together


def files(directory):
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_finished_sweep_is_reported_again_byte_for_byte(command, tmp_path):
    status, said = command("-m", *SWEEP, "name=budget_sweep", "method.max_thinking_tokens=16,64", "report.x=path_tokens",
                           "report.compat=s1", "hydra.sweep.dir=sweep")  # fmt: skip
    assert (status, said) == (0, "")
    before, around = files(tmp_path / "sweep"), set(tmp_path.iterdir())
    assert json.loads(before["report.json"])["published"]["source"].startswith("s1")  # the name's published numbers
    for name in MADE:
        (tmp_path / "sweep" / name).write_bytes(b"") if name != "report.json" else None
    assert command("stage=report", "report.of=sweep") == (0, "")
    assert files(tmp_path / "sweep") == before and set(tmp_path.iterdir()) == around
    shutil.move(tmp_path / "sweep", tmp_path / "elsewhere")
    assert command("stage=report", f"report.of={tmp_path / 'elsewhere'}") == (0, "")
    assert files(tmp_path / "elsewhere") == before


def test_a_single_job_too(command, tmp_path):
    assert command(*SWEEP, "method.max_thinking_tokens=16", "hydra.run.dir=alone") == (0, "")
    before = files(tmp_path / "alone")
    assert command("stage=[report]", "report.of=alone") == (0, "") and files(tmp_path / "alone") == before
    found = json.loads(before["results.json"])["results"]["tiny_math"]
    assert {"exact_match,answer", "exact_match_stderr,answer"} <= found.keys()  # as lm-eval's readers expect


def test_what_is_typed_wins(command, tmp_path):
    write_sweep(tmp_path / "sweep", questions=5)
    for typed, expected in [
        ("report.x=path_tokens", ("path_tokens", None)),
        ("report.compat=s1", ("path_tokens", "s1")),
        ("report.compat=paper", ("path_tokens", None)),
        ("report.x=thinking_tokens", ("thinking_tokens", None)),
    ]:
        assert command("stage=report", "report.of=sweep", typed) == (0, "")
        made = json.loads((tmp_path / "sweep" / "report.json").read_text())
        assert (made["x"], made["compat"]) == expected  # and is what the next one finds


def test_a_stopped_sweep_is_reported_as_its_jobs_were_configured(command, tmp_path):
    write_sweep(tmp_path / "sweep", questions=5)
    (tmp_path / "sweep" / "0" / ".hydra" / "config.yaml").write_text("name: wait_sweep\nreport: {x: path_tokens, compat: s1}\n")
    (tmp_path / "sweep" / "run.json").unlink()
    (tmp_path / "sweep" / "3" / "cell.json").unlink()
    assert command("stage=report", "report.of=sweep") == (0, "")
    made = json.loads((tmp_path / "sweep" / "report.json").read_text())
    assert (made["x"], made["compat"]) == ("path_tokens", "s1") and made["published"]
    assert json.loads((tmp_path / "sweep" / "summary.json").read_text())["problems"] == [
        "job 3 has no cell.json: it did not finish"
    ]


def test_two_halves_are_merged_into_a_new_directory(command, tmp_path):
    for half, budgets in (("a", "16,64"), ("b", "64,256")):
        assert command("-m", *SWEEP, f"method.max_thinking_tokens={budgets}", f"hydra.sweep.dir={half}") == (0, "")
    before = files(tmp_path / "a"), files(tmp_path / "b")
    assert command("stage=report", "report.of=[a,b]", "hydra.run.dir=both") == (0, "")
    assert (files(tmp_path / "a"), files(tmp_path / "b")) == before and set(files(tmp_path / "both")) == {*MADE, ".claim"}
    summary = json.loads((tmp_path / "both" / "summary.json").read_text())
    assert [cell["budget"] for cell in summary["cells"]] == [16, 64, 256]
    assert summary["metrics"][0]["n_points"] == 3 and summary["problems"] == []
    runs = [json.loads((tmp_path / half / "run.json").read_text()) for half in "ab"]
    assert summary["cost"]["run"]["decode_tokens"] == sum(run["decode_tokens"] for run in runs)
    merged = files(tmp_path / "both")
    assert command("stage=report", "report.of=both") == (0, "") and files(tmp_path / "both") == merged
    assert command("stage=report", "report.of=[a,b]") == (0, "")
    assert len(list((tmp_path / "outputs" / "report").glob("*/report.html"))) == 1


WRONG = {
    "": "report.of: stage=report needs a finished directory",
    "report.of=nowhere": "report.of=nowhere: there is no such directory",
    "report.of=[good,nowhere]": "report.of=nowhere: there is no such directory",
    "report.of=empty": "empty holds no measured cell",
    "report.of=stopped": "holds no measured cell (cell.json): job 0 has no cell.json",
    "report.of=[good,empty]": "/empty: holds no measured cell (cell.json), so there is nothing to merge",
    "report.of=[stopped,good]": "/stopped: holds no measured cell (cell.json), so there is nothing to merge",
    "report.of=[good,good,empty]": "/empty: holds no measured cell",
    "report.of=[good,other]": "report.x: the directories' reports were made with thinking_tokens and path_tokens",
    "report.of=good report.x=tokens": "report.x=tokens: must be null or one of thinking_tokens, path_tokens",
    "-m report.of=good,other": "stage=report: makes one report",
}


@pytest.mark.parametrize("typed", WRONG)
def test_wrong_input_gets_one_sentence(command, tmp_path, typed):
    for name, x in (("good", "thinking_tokens"), ("other", "path_tokens")):
        write_sweep(tmp_path / name, questions=2)
        (tmp_path / name / "report.json").write_text(json.dumps({"x": x, "compat": None, "of": [], "published": None}))
    (tmp_path / "empty").mkdir()
    (tmp_path / "stopped" / "0" / ".hydra").mkdir(parents=True)
    status, said = command(*typed.split(), "stage=report")
    assert (status, said.count("\n")) == (2, 1) and WRONG[typed] in said, said


@pytest.mark.parametrize(
    ("typed", "apart"),
    [
        ("store,evaluate", "store"),
        ("evaluate,report", "report"),
        ("data,train,list", "list"),
        ("bench,status,import", "status"),
    ],
)
@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1")])
def test_what_only_reads_or_keeps_house_is_a_command_of_its_own(command, tmp_path, typed, apart, sweep):
    status, said = command(*sweep, f"stage=[{typed}]")
    assert (status, said.count("\n")) == (2, 1) and said.startswith(f"stage=[{typed}]: {apart} is about what is there"), said
    assert not any(tmp_path.iterdir())


QUIET = ["hydra/job_logging=stdout", "hydra.output_subdir=null"]


@pytest.mark.parametrize(
    ("typed", "added"),
    [
        (["stage=evaluate"], []),
        (["stage=[report,evaluate]"], []),
        ([], []),
        (
            ["seed=1", "stage=report", "report.of=A"],
            ["hydra/job_logging=stdout", "hydra.output_subdir=null", "hydra.run.dir=."],
        ),
        (["stage=[report]", "hydra.run.dir=x"], ["hydra/job_logging=stdout", "hydra.output_subdir=null"]),
        (["method=none", "plan=true"], [*QUIET, "hydra.run.dir=."]),
        (["-m", "seed=0,1", "plan=True"], [*QUIET, "hydra.run.dir=."]),
        (["plan=false"], []),
        (["stage=list"], [*QUIET, "hydra.run.dir=."]),
        (["stage=list", "report.of=[A,B]"], [*QUIET, "hydra.run.dir=."]),
        (["report.of=[A,B]", "stage=report"], ["hydra/job_logging=stdout", "hydra.output_subdir=null", "name=report"]),
    ],
)
def test_stages_that_only_read_make_no_directory(typed, added):
    found = quietly(typed)
    assert [a for a in found if a not in typed] == added and [a for a in found if a in typed] == typed


def test_the_doctor_looks_at_the_stages_that_a_job_has():
    assert quietly(["+experiment=data_ablation", "stage=doctor"])[-1] == "plan=doctor"
    with pytest.raises(SettingError, match="stage=doctor: stands alone"):
        stages({"stage": ["doctor", "evaluate"]})


def test_a_report_needs_no_model(tmp_path):
    write_sweep(tmp_path / "sweep", questions=2)
    probe = (
        "import runpy, sys\n"
        f"sys.argv = {[str(ROOT / 'run.py'), 'stage=report', 'report.of=sweep']!r}; sys.path.insert(0, {str(ROOT)!r})\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        f"finally: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "[]"), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"sweep"}
