"""W&B offline: one run per cell and one for the sweep, in files; nothing leaves the machine; errors stay warnings."""

import logging
import shlex
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from s1x import tracking
from s1x.cell import Cell
from s1x.errors import SettingError
from s1x.tracking import dashboard, names, runs, thread

from .reading import runs_of, table

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from pathlib import Path
def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        print("looked up", arguments, file=sys.stderr)
sys.addaudithook(refuse)
from tests.conftest import CONF, NO_LOCAL
from tests.report.sweep import write_sweep
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from s1x import tracking
from s1x.composition import BASE
from s1x.cell import Cell
from s1x.report.aggregate import aggregate
sweep = write_sweep(Path(sys.argv[1]), questions=20)
trained = Path("trained/mine-1")
trained.mkdir(parents=True)
(trained / "training.json").write_text("{}")
with initialize_config_dir(str(CONF), **BASE):
    cfg = compose("config", [*NO_LOCAL, "name=a:b", "seed=3", "tracking.samples=7", f"model.path={trained}",
                             "tracking.tags=[x:y,' ',x:y," + 70 * "z" + "]"])
for job in range(2):
    record = json.loads((sweep / str(job) / "cell.json").read_text())
    tracking.log_cell(Cell(cfg, sweep / str(job), sweep, job, [f"job={job}"]), record)
# as Hydra hands it to callbacks at the end of a sweep: with its own node, in which values are missing
with open_dict(cfg):
    cfg.hydra = {"sweep": {"subdir": "${hydra.job.num}"}, "job": {"num": "???"}}
tracking.finish_sweep(cfg, aggregate(sweep), sweep)
tracking.end(cfg, sweep)
"""

AGENT = """
import sys
from pathlib import Path
from tests.conftest import CONF, NO_LOCAL
from hydra import compose, initialize_config_dir
from s1x import tracking
from s1x.cell import Cell
from s1x.composition import BASE
with initialize_config_dir(str(CONF), **BASE):
    cfg = compose("config", [*NO_LOCAL, "name=mine"])
place = Path(sys.argv[1])
training = tracking.Training(cfg, place, "tiny:1,2;3", {})
training.log({"step": 1, "steps": 1, "loss": 0.5})
training.finish()
tracking.log_cell(Cell(cfg, place, place), {"cell_id": "a", "accuracy": 0.5, "thinking_tokens": {"mean": 3.0}})
tracking.end(cfg, place)
"""


def script(text, place, directory, **environment):
    """Run a script at home in `place`, without a login."""
    home = {"HOME": str(place), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run([sys.executable, "-c", text, str(directory)], env=home, cwd=place, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")  # quiet, and no host was looked up


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A sweep of test data, two of its cells logged."""
    place = tmp_path_factory.mktemp("offline")
    sweep = place / "2026-01-01_00-00-00"
    script(SCRIPT, place, sweep)
    return sweep, runs_of(sweep)


@pytest.mark.long
def test_an_agents_run_is_its_cell_and_a_training_before_that_one_of_its_own(tmp_path):
    script(AGENT, tmp_path, tmp_path, WANDB_SWEEP_ID="sweep1", WANDB_RUN_ID="given")
    found = {run["type"]: run for run in runs_of(tmp_path)}
    assert (found["eval"]["id"], found["train"]["id"]) == ("given", "tiny-1-2-3")
    assert {run["group"] for run in found.values()} == {"mine-sweep1"}
    assert runs.recall(tmp_path)["cell"] == "given" and "run" not in runs.recall(tmp_path)


@pytest.mark.long
def test_there_is_one_run_per_cell_and_one_for_the_sweep(logged):
    sweep, found = logged
    assert sorted(run["type"] for run in found) == ["aggregate", "eval", "eval"]
    assert {run["group"] for run in found} == {run["config"]["s1x_sweep"] for run in found} == {"a-b-2026-01-01_00-00-00"}
    for run in found:
        assert run["tags"][0] == "x-y" and len(run["tags"]) == 2 and len(run["tags"][1]) == 64
    assert runs.recall(sweep) | {"run": ""} == {
        "entity": None, "project": "s1x", "group": "a-b-2026-01-01_00-00-00", "run": "", "url": None, "mode": "offline",
    }  # fmt: skip
    assert runs.unsent(sweep) == f"{sweep}/wandb/offline-run-*"


@pytest.mark.long
def test_a_command_given_again_goes_on_with_its_runs(logged, tmp_path):
    """Also where both were files; a directory of the same name that is made anew has runs of its own."""
    sweep = tmp_path / logged[0].name
    script(SCRIPT, tmp_path, sweep)
    first = {run["id"]: run["name"] for run in runs_of(sweep)}
    for made in (*sweep.glob("[0-9]*"), tmp_path / "trained"):
        shutil.rmtree(made)  # by the script, which wants to make it again
    script(SCRIPT, tmp_path, sweep)
    assert {run["id"]: run["name"] for run in runs_of(sweep)} == first and len(first) == 3
    assert len(list((sweep / "wandb").glob("offline-run-*"))) == 3
    assert set(first).isdisjoint(run["id"] for run in logged[1])


@pytest.mark.long
def test_a_cell_has_its_configuration_its_point_its_samples_and_its_files(logged):
    sweep, found = logged
    cells = [run for run in found if run["type"] == "eval"]
    assert {tuple(run["config"]["overrides"]) for run in cells} == {("job=0",), ("job=1",)}
    for run in cells:
        assert run["config"]["seed"] == 3 and run["config"]["training"] == "mine-1" and "hydra" not in run["config"]
        (point,) = (row for row in run["logged"] if "accuracy" in row)
        assert point["accuracy_lo"] < point["accuracy"] < point["accuracy_hi"] and point["thinking_tokens"] > 0
        assert run["summary"]["accuracy"] == point["accuracy"] and run["summary"]["n_questions"] == 20
        assert run["artifacts"] == {run["name"]: ["cell.json", "samples_tiny_math.jsonl"]}
        assert run["used"] == ["mine-1"]
        for other in found:  # what one logs and another uses is the same version
            assert other["digests"] | run["digests"] == run["digests"] | other["digests"]
        rows = table(sweep, run["id"], "samples")
        assert len(rows) == 7 and rows[0]["question"].startswith("Start at") and "answer" in rows[0]["trace"]


@pytest.mark.long
def test_the_sweep_has_points_by_series_its_files_and_a_summary_of_its_own(logged):
    sweep, found = logged
    (whole,) = (run for run in found if run["type"] == "aggregate")
    rows = table(sweep, whole["id"], "points")
    assert len({row["cell_id"] for row in rows}) == len(rows) == 9  # of ten jobs two are the same
    series = {row["label"] for row in rows}
    assert len(series) > 1
    for row in rows:
        assert row["accuracy_lo"] <= row["accuracy"] <= row["accuracy_hi"] and row["path_tokens"] > 0
        assert any(logged.get(f"{names.metric(row['label'])}/accuracy_lo") == row["accuracy_lo"] for logged in whole["logged"])
    assert {"control", "scaling_lo", "performance_hi"} <= set(table(sweep, whole["id"], "metrics")[0])
    best = max(rows, key=lambda row: row["accuracy"])
    assert whole["summary"]["best.accuracy"] == best["accuracy"] and whole["summary"]["best.cell"] == best["cell_id"]
    assert not {key for key in whole["summary"] if key.endswith("/accuracy") or key == "accuracy"}  # no last cell's
    assert any(key.endswith("scaling.value") for key in whole["summary"])
    assert whole["artifacts"] == {
        "a-b-2026-01-01_00-00-00": [
            "cells.csv",
            "report.html",
            "scaling.pdf",
            "scaling.png",
            "scaling.svg",
            "summary.json",
            "summary.md",
        ]
    }
    assert sorted(whole["used"]) == sorted(row["cell_id"] for row in rows)


def test_without_samples_no_text_of_them_is_logged(composed, tmp_path):
    from s1x.tracking import content

    from ..report.sweep import write_sweep

    sweep = write_sweep(tmp_path / "sweep", questions=3)
    record = {"cell_id": "a:b", "accuracy": 0.5, "thinking_tokens": {"mean": 3.0}}
    files = {path for path in content.cell_artifact(sweep / "0", record, with_samples=False).manifest.entries}
    assert files == {"cell.json"} and content.samples(sweep / "0", 0) == []
    (sweep / "report.html").write_text("traces")
    assert not content.sweep_artifact(sweep, "a b", with_samples=False).manifest.entries


def test_none_starts_nothing_and_imports_nothing(composed, tmp_path, monkeypatch):
    monkeypatch.setattr(thread.threading, "Thread", lambda *_, **__: pytest.fail("tracking=none must not start anything"))
    cfg = composed("tracking=none")
    tracking.start_sweep(cfg, tmp_path)
    tracking.progress(cells_done=1)
    tracking.log_cell(Cell(cfg, tmp_path, tmp_path), {})
    tracking.finish_sweep(cfg, {}, tmp_path)
    tracking.Training(cfg, tmp_path, "mine", {}).finish()
    assert list(tmp_path.iterdir()) == []


def test_runs_that_a_timeout_left_are_told_however_their_directory_is_named(composed, tmp_path, monkeypatch):
    """A sweep's is relative, and W&B goes to another one where it cannot write."""
    monkeypatch.chdir(tmp_path)
    place, link = Path("multirun/my sweep"), Path("link")
    left, offline, elsewhere = (tmp_path / place / "wandb" / name for name in ("run-1-a", "offline-run-2-b", "../../run-3-c"))
    for path in (left, offline, elsewhere):
        (path / "files").mkdir(parents=True)
    link.symlink_to(place)
    monkeypatch.setattr(runs._Told, "unsent", [left, offline, elsewhere, tmp_path / "gone"])
    for directory in (place, tmp_path / place, link, link.absolute()):
        said = shlex.split(runs.unsent(directory))
        assert said == [f"{directory}/wandb/offline-run-*", str(left), str(elsewhere)]
    monkeypatch.setattr(runs, "_init", lambda *_, **__: SimpleNamespace(dir=str(place / "wandb" / "run-1-a" / "files")))
    monkeypatch.setattr(runs._Told, "unsent", [])
    runs.start(composed("tracking=wandb_offline"), place, name="a", id="a", job_type="train", config={})
    assert runs._Told.unsent == [left]


def test_errors_become_warnings(composed, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(thread._State, "said", set())
    monkeypatch.setattr(runs, "_init", lambda *_, **__: 1 / 0)
    cfg = composed("tracking=wandb_offline")
    with caplog.at_level(logging.WARNING):
        tracking.log_cell(Cell(cfg, tmp_path, tmp_path), {"cell_id": "a"})
        tracking.finish_sweep(cfg, {}, tmp_path)
        tracking.end(cfg, tmp_path)
    assert caplog.text.count("W&B: ZeroDivisionError") == 1 and "tracking=none turns W&B off" in caplog.text


@pytest.mark.parametrize("files_will_do", [True, False])
def test_what_files_refuse_as_well_was_not_the_servers_fault(composed, tmp_path, monkeypatch, files_will_do):
    """One run with something odd in it must not send all others into files."""

    def init(*_, mode, id, **__):
        asked.append((mode, id))
        if mode == "online" or not files_will_do:
            raise ValueError("no")
        return SimpleNamespace(dir=str(tmp_path / "wandb" / "offline-run-1" / "files"))

    asked = []
    monkeypatch.setattr(runs, "_init", init)
    monkeypatch.setattr(thread._State, "failed", False)
    monkeypatch.setattr(runs._Told, "unsent", [])
    identity = {"name": "a", "id": "x" * 60, "job_type": "train", "config": {}}
    with nullcontext() if files_will_do else pytest.raises(ValueError, match="no"):
        runs.start(composed("tracking.mode=online"), tmp_path, **identity)
    assert thread.has_failed() == files_will_do
    assert [mode for mode, _ in asked] == ["online", "offline"] and asked[0][1] != asked[1][1] and len(asked[1][1]) <= 64


def test_a_login_that_cannot_be_one_is_said_once_and_runs_are_files(monkeypatch, caplog):
    """With `auto`: a WANDB_API_KEY that is too short."""
    settings = SimpleNamespace(settings=SimpleNamespace(mode="online"))
    module = SimpleNamespace(setup=lambda: settings, login=lambda **_: (_ for _ in ()).throw(ValueError("has 3 characters")))
    monkeypatch.setattr(runs, "wandb", lambda: module)
    monkeypatch.setattr(thread._State, "said", set())
    runs.mode_of.cache_clear()
    assert [runs.mode_of("auto"), runs.mode_of("auto")] == ["offline", "offline"]
    assert caplog.text.count("W&B: ValueError: has 3 characters (runs are kept in files") == 1
    runs.mode_of.cache_clear()
    with pytest.raises(SettingError, match=r"W&B cannot log you in \(has 3 characters\)"):
        pytest.importorskip("wandb_workspaces") and dashboard.check()
