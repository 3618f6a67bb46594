"""All that goes to W&B, against a stand-in that knows the installed packages' documents and no other: what it is sent, and that
one which refuses, hangs or is broken changes no result and is waited for once."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import matplotlib
import pytest

from .documents import known
from .standin import ENTITY, Standin

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
SWEEP = ("-m", "name=mine", "method.max_thinking_tokens=8,16", "task.limit=4", "engine=scripted", "tracking.tags=[first]")


@pytest.fixture
def standin():
    with Standin() as standin:
        yield standin
        assert standin.unknown == []


def command(place: Path, url: str | None, *arguments: str, **environment: str) -> tuple[str, float]:
    """Run s1x, logged in to `url`, with a home of its own: what it printed, and the seconds from its results to its end."""
    own = {"HOME": str(place), "PATH": os.environ["PATH"], "MPLCONFIGDIR": matplotlib.get_cachedir(), "PYTHONUNBUFFERED": "1"}
    own |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": 40 * "k"} if url else {}
    where = [f"store.dir={place / 'store'}", f"hydra.sweep.dir={place / 'out'}"] if "-m" in arguments else []
    line, lines, there = [sys.executable, "run.py", *arguments, *where], [], 0.0
    with subprocess.Popen(line, env=own | environment, cwd=ROOT, stdout=PIPE, stderr=STDOUT, text=True) as process:
        for said in process.stdout:
            lines.append(said)
            there = time.monotonic() if said.startswith("Report: ") else there
    assert process.returncode == 0, "".join(lines)
    return "".join(lines), time.monotonic() - there


def results(place: Path) -> dict[str, Any]:
    """The result files of a sweep, without what this very run took, and where it was done and tracked."""
    found: dict[str, Any] = {}
    for path in (place / "out").rglob("*"):
        if path.name in ("cell.json", "results.json"):
            found[str(path.relative_to(place))] = _untracked(json.loads(path.read_text()))
        elif path.name in ("cells.csv", "summary.md"):
            found[path.name] = re.sub(r"decoded here.*| (tracking|store.dir)[.=][^ ,]*", "", path.read_text())
    assert len(found) == 6
    return found


def _untracked(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _untracked(value) for key, value in node.items()}
    return (
        [value for value in node if not str(value).startswith(("tracking", "store.dir="))] if isinstance(node, list) else node
    )


@pytest.fixture(scope="module")
def untracked(tmp_path_factory):
    """The results of the sweep without tracking."""
    place = tmp_path_factory.mktemp("untracked")
    command(place, None, *SWEEP, "tracking=none")
    return results(place)


def test_an_online_sweep_with_its_dashboard_and_again(standin, untracked, tmp_path):
    said, _ = command(tmp_path, standin.url, *SWEEP, "tracking.dashboard=true")
    assert results(tmp_path) == untracked
    assert sorted(run["jobType"] for run in standin.runs.values()) == ["aggregate", "eval", "eval"]
    (whole,) = (run for run in standin.runs.values() if run["jobType"] == "aggregate")
    assert {run["group"] for run in standin.runs.values()} == {"mine-out"} and whole["displayName"] == "out"
    assert all(run["tags"] == ["first"] for run in standin.runs.values())
    assert said.splitlines()[-1] == f"W&B: {standin.url}/{ENTITY}/s1x/runs/{whole['name']}"

    cells = {record["cell_id"]: record for path in tmp_path.glob("out/*/cell.json") if (record := json.loads(path.read_text()))}
    for run in (run for run in standin.runs.values() if run["jobType"] == "eval"):
        summary = standin.summaries[run["name"]]
        assert summary["accuracy"] == cells[run["displayName"]]["accuracy"] and summary["samples"]["nrows"] == 4
        assert json.loads(run["config"])["s1x_sweep"]["value"] == "mine-out"
    assert standin.summaries[whole["name"]]["best.cell"] in cells
    assert "media/images/scaling" in " ".join(standin.files)
    types = {name: made["artifactTypeName"] for name, made in standin.artifacts.items()}
    assert types["mine-out"] == "sweep" and {types[cell] for cell in cells} == {"cell"}
    assert {(whole["name"], standin.artifacts[cell]["id"]) for cell in cells} <= set(standin.used)

    (chart,) = standin.charts
    views = {view["type"]: json.loads(view["spec"]) for view in standin.views.values()}
    assert set(views) == {"project-view", "runs"} and all(chart in json.dumps(spec) for spec in views.values())
    place = json.loads((tmp_path / "out" / "wandb.json").read_text())
    assert place["chart"] == chart and place["run"] == whole["name"] and place["report"] in said

    before, standin.asked[:] = dict(standin.views), []
    again, _ = command(tmp_path, standin.url, "stage=dashboard", f"report.of={tmp_path / 'out'}")
    assert place["report"] in again.splitlines()[-1] and json.loads((tmp_path / "out" / "wandb.json").read_text()) == place
    assert standin.views.keys() == before.keys()  # the same two, and no chart or run more
    assert "CreateCustomChart" not in standin.asked and "UpsertBucket" not in standin.asked
    for number, view in standin.views.items():
        assert view["displayName"] == before[number]["displayName"]

    standin.views.clear()  # somebody has deleted them
    said, _ = command(tmp_path, standin.url, "stage=dashboard", f"report.of={tmp_path / 'out'}")
    assert said.count("is gone; it is made anew") == 2 and len(standin.views) == 2


@pytest.mark.parametrize("fault", ["refuse", "500", "hang", ("hang", "CreateRunFiles"), ("500", "CreateArtifact")])
def test_a_server_that_will_not_do_changes_no_result_and_is_waited_for_once(standin, untracked, tmp_path, fault):
    standin.fault = fault
    said, delay = command(tmp_path, standin.url, *SWEEP, "tracking.dashboard=true", "tracking.patience=5")
    assert results(tmp_path) == untracked
    assert delay < 5 + 15  # patience, and what W&B itself takes to begin and to end
    assert "W&B: " in said and "tracking=none turns W&B off" in said
    last = said.splitlines()[-1]
    assert last.startswith("W&B, in files; this sends them: wandb sync"), said
    for argument in last.partition("wandb sync ")[2].split():
        assert list(Path("/").glob(argument.lstrip("/"))), argument


def test_nobody_listens(untracked, tmp_path):
    said, delay = command(tmp_path, "http://127.0.0.1:9", *SWEEP, "tracking.patience=10")
    assert results(tmp_path) == untracked and delay < 10 + 10
    assert len(list((tmp_path / "out" / "wandb").glob("offline-run-*"))) == 3  # all of it can be sent later
    assert said.splitlines()[-1].endswith(f"wandb sync {tmp_path}/out/wandb/offline-run-*")


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_with_every_launcher_the_sweep_has_its_run(tmp_path, launcher):
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    from .reading import runs_of

    said, _ = command(tmp_path, None, *SWEEP, "tracking=wandb_offline", f"hydra/launcher={launcher}")
    found = runs_of(tmp_path / "out")
    assert sorted(run["type"] for run in found) == ["aggregate", "eval", "eval"] and {run["group"] for run in found} == {
        "mine-out"
    }
    assert said.splitlines()[-1].endswith(f"wandb sync {tmp_path}/out/wandb/offline-run-*")


def test_offline_files_are_sent_by_wandb_sync_and_then_have_a_dashboard(standin, tmp_path):
    said, _ = command(tmp_path, None, *SWEEP, "tracking=wandb_offline")
    login = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "WANDB_BASE_URL": standin.url, "WANDB_API_KEY": 40 * "k"}
    sync = said.splitlines()[-1].partition("this sends them: ")[2]
    done = subprocess.run(["bash", "-c", sync], env=login | {"WANDB_ERROR_REPORTING": "false"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(run["jobType"] for run in standin.runs.values()) == ["aggregate", "eval", "eval"]
    made = len(standin.runs)
    said, _ = command(tmp_path, standin.url, "stage=dashboard", f"report.of={tmp_path / 'out'}")
    assert len(standin.views) == 2 and len(standin.runs) == made and "still in files" not in said


def test_agents_runs_are_one_group_with_one_report(standin, tmp_path):
    for budget in (8, 16):
        cell = ["name=mine", f"method.max_thinking_tokens={budget}", "task.limit=4", "engine=scripted"]
        where = [f"hydra.run.dir={tmp_path / 'out' / str(budget)}", f"store.dir={tmp_path / 'store'}"]
        said, _ = command(tmp_path, standin.url, *cell, *where, WANDB_SWEEP_ID="sweep123", WANDB_RUN_ID=f"run{budget}")
        assert said.splitlines()[-1].endswith(f"/runs/run{budget}")
    assert {run["group"] for run in standin.runs.values()} == {"mine-sweep123"} and set(standin.runs) == {"run8", "run16"}
    said, _ = command(tmp_path, standin.url, "stage=[report,dashboard]", f"report.of={tmp_path / 'out'}")
    (whole,) = (run for run in standin.runs.values() if run["jobType"] == "aggregate")
    assert whole["group"] == "mine-sweep123" and len(standin.views) == 2 and "W&B report: " in said
    assert all("mine-sweep123" in view["spec"] for view in standin.views.values())


def test_not_logged_in_is_one_sentence(tmp_path):
    (tmp_path / "summary.json").write_text('{"cells": []}')
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "run.py", "stage=dashboard", f"report.of={tmp_path}"],
        env=home,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (2, "stage=dashboard: you are not logged in to W&B; run `wandb login` first\n")


def test_a_document_of_nobodys_is_not_answered():
    assert not known("query Viewer { viewer { id secrets } }")
    assert not known("mutation DeleteEverything { deleteEverything { ok } }")
