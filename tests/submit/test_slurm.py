"""On a real Slurm of two nodes: a sweep in shards, some told to save or killed; a training on both; Hydra's own launchers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..conftest import NO_LOCAL
from .cluster import Cluster, missing, wait_for

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).parents[2]
CI = os.environ.get("CI") == "true"
SLURM = ("submit=slurm", "submit.gpus=0", "submit.cpus=1", "submit.warning=5")
SWEEP = (
    "-m", "method.max_thinking_tokens=16,32,64,128,256,512", "engine=scripted", "engine.tokens_per_poll=1",
    "engine._target_=tests.submit.slow.SlowEngine", "engine.end_chance=5", "task.limit=24", "tracking=none", "store.dir=store",
    "hydra.sweep.dir=sweep", *NO_LOCAL,
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if found := missing():
        assert not CI, f"there is no {found[0]}"
        pytest.skip(f"there is no {found[0]} (apt-get install slurm-wlm)")
    slurm = Cluster(tmp_path_factory.mktemp("slurm"))
    yield slurm
    slurm.stop()


def start(place: Path, *typed: str, **how) -> subprocess.Popen:
    place.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *typed],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **how,
    )


def run(place: Path, *typed: str, **how) -> str:
    process = start(place, *typed, **how)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def task(directory: Path, name: str) -> dict:
    try:
        return json.loads((directory / "submit" / name / "task.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}


def logs(directory: Path) -> str:
    files = sorted((directory / "submit").glob("logs/*/*.out"))
    return "".join(f"\n== {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)


def at_work(directory: Path, name: str) -> bool:
    """It has begun to decode, and the shards have put something into the store."""
    progress = (directory / "submit" / name / "progress.json").is_file()
    return progress and task(directory, name)["state"] == "running" and any(directory.parent.glob("store/*/*.streams"))


def cells(directory: Path) -> dict[str, tuple[dict, bytes]]:
    """Records and samples of all cells; when they were made is no result."""
    return {
        file.parent.name: (json.loads(file.read_text()), next(file.parent.glob("samples_*.jsonl")).read_bytes())
        for file in sorted(directory.glob("*/cell.json"))
    }


def test_shards_one_told_to_save_and_one_killed_give_the_results_of_an_undisturbed_run(cluster, tmp_path):
    with_slurm = {"env": cluster.environment}
    began = time.monotonic()
    run(tmp_path / "help", "--help")
    helped, began = time.monotonic() - began, time.monotonic()
    said = run(tmp_path / "shared", *SWEEP, *SLURM, "submit.shards=4", **with_slurm)
    seconds = time.monotonic() - began
    alone = start(tmp_path / "alone", *SWEEP)
    sweep = tmp_path / "shared" / "sweep"
    jobs = json.loads((sweep / "submit" / "submit.json").read_text())["tasks"]
    assert list(jobs) == ["shard-0", "shard-1", "shard-2", "shard-3", "report"] and "Submitted: 4 shards" in said
    again = start(tmp_path / "shared", *SWEEP, *SLURM, "submit.shards=4", **with_slurm)
    assert "is under way already" in again.communicate(timeout=60)[0] and again.returncode == 2

    wait_for(lambda: at_work(sweep, "shard-0"), 90, lambda: logs(sweep))
    cluster.ask("scancel", "--signal=USR2", jobs["shard-0"])  # as Slurm warns before time is up
    wait_for(lambda: at_work(sweep, "shard-3"), 90, lambda: logs(sweep))
    cluster.ask("scontrol", "requeue", jobs["shard-3"])  # as when it is preempted
    status = run(tmp_path, "stage=status", f"report.of={sweep}", **with_slurm)
    assert "report   waiting" in status and "Cells written: 0 of 6." in status, status
    for name in ("shard-0", "shard-3"):
        cluster.start_now(jobs[name])
    wait_for(lambda: task(sweep, "report").get("state") == "done", 150, lambda: logs(sweep) + cluster.report())

    output, _ = alone.communicate(timeout=60)
    assert alone.returncode == 0, output
    restarts = [task(sweep, name)["restarts"] for name in jobs]
    assert restarts == [1, 0, 0, 1, 0], f"{restarts}\n{cluster.report()}\n{logs(sweep)}"
    assert cells(sweep) == cells(tmp_path / "alone" / "sweep") and len(cells(sweep)) == 6
    assert json.loads((sweep / "progress.json").read_text())["tokens"] == 0  # the report found everything
    summary = json.loads((sweep / "summary.json").read_text())
    whole = json.loads((tmp_path / "alone" / "sweep" / "summary.json").read_text())
    assert summary["problems"] == [] and summary["metrics"] == whole["metrics"]
    status = run(tmp_path, "stage=status", f"report.of={sweep}", **with_slurm)
    assert "shard-3  done" in status and "started 2 times" in status and status.endswith("Done.\n"), status
    assert seconds < max(5, 10 * helped)  # a machine on which --help takes half a second is fast enough for 5 s


def test_a_training_on_two_nodes_and_its_evaluation(cluster, tmp_path):
    pytest.importorskip("deepspeed") if not CI else None
    run(
        tmp_path, "stage=[train,evaluate]", "model=tiny_base", "train=tiny", "data=tiny_random_1k", "data.select.n=32",
        "train.epochs=1", "train.max_length=128", "distributed=zero3", "distributed.processes=1", "train.dir=models",
        "task.limit=2", "method.max_thinking_tokens=8", "tracking=none", "store.dir=store", "hydra.run.dir=out",
        *SLURM, "submit.shards=1", "submit.train.nodes=2", *NO_LOCAL, env=cluster.environment,
    )  # fmt: skip
    out = tmp_path / "out"
    wait_for(lambda: task(out, "report").get("state") == "done", 400, lambda: logs(out) + cluster.report())
    assert task(out, "train-0")["state"] == "done" and "2 steps of 16 examples on 2 devices" in logs(out)
    ranks = {file.name.split("_")[1] for file in (out / "submit" / "logs").glob("*/*_log.out")}
    assert ranks == {"0", "1"}  # a process of each node
    (model,) = [done.parent for done in (tmp_path / "models").glob("*/DONE")]
    cell = json.loads((out / "cell.json").read_text())
    assert cell["n_questions"] == 2 and cell["settings"]["model.path"] == str(model)


def test_a_training_that_fails_leaves_nothing_waiting(cluster, tmp_path):
    typed = ("stage=[train,evaluate]", "model=tiny_base", "train=tiny", "data=local", "data.sources.local.path=nowhere.jsonl")
    own = ("tracking=none", "store.dir=store", "train.dir=models", "hydra.run.dir=out", *NO_LOCAL)
    run(tmp_path, *typed, *own, *SLURM, "submit.shards=2", env=cluster.environment)
    out = tmp_path / "out"
    jobs = json.loads((out / "submit" / "submit.json").read_text())["tasks"]
    wait_for(lambda: not any(map(cluster.state, jobs.values())), 150, lambda: logs(out) + cluster.report())
    status = run(tmp_path, "stage=status", "report.of=out", env=cluster.environment)
    assert "train-0  failed" in status and "nowhere.jsonl" in logs(out), status
    assert not (out / "cell.json").exists()


def test_a_wrong_option_is_a_sentence(cluster, tmp_path):
    process = start(tmp_path, *SWEEP, *SLURM, "submit.partition=nowhere", env=cluster.environment)
    said, _ = process.communicate(timeout=60)
    last = said.strip().splitlines()[-1]
    assert process.returncode == 2 and last.startswith("submit=slurm: invalid partition specified: nowhere"), said


@pytest.mark.parametrize("launcher", ["submitit_slurm", "joblib", "basic"])
def test_hydra_launchers_go_on_working(launcher, cluster, tmp_path):
    typed = ("-m", "method.max_thinking_tokens=16,32", "engine=scripted", "task.limit=3", "tracking=none", "store.dir=store")
    said = run(tmp_path, *typed, f"hydra/launcher={launcher}", "hydra.sweep.dir=out", *NO_LOCAL, env=cluster.environment)
    assert sorted(cells(tmp_path / "out")) == ["0", "1"], said
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["problems"] == []


def test_processes_of_this_machine(tmp_path):
    quick = (*SWEEP, "engine._target_=s1x.engines.scripted.ScriptedEngine")
    alone = start(tmp_path / "alone", *quick)
    run(tmp_path / "shared", *quick, "submit=local", "submit.shards=2", "submit.gpus=0")
    sweep = tmp_path / "shared" / "sweep"
    wait_for(lambda: task(sweep, "report").get("state") == "done", 150, lambda: logs(sweep))
    assert alone.wait(60) == 0 and cells(sweep) == cells(tmp_path / "alone" / "sweep")
    assert run(tmp_path, "stage=status", f"report.of={sweep}").endswith("Done.\n")
    assert {path.name for path in (sweep / "submit" / "logs").iterdir()} == {"shard-0", "shard-1", "report"}
