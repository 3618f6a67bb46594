"""Killed and started again: the same results, and nothing that was stored is decoded again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from s1x.streams import upkeep
from s1x.streams.store import Store

from .conftest import NO_LOCAL

ROOT = Path(__file__).parent.parent
SCRIPTED = ["engine=scripted", "engine.tokens_per_poll=1", "task.limit=60", "model=tiny_s1", "method.string=Wait"]
TINY = ["task.limit=60"]


def command(place: Path, settings: list[str], name: str) -> list[str]:
    return [
        sys.executable, "run.py", "+experiment=budget_sweep", "tracking=none", f"store.dir={place / 'store'}",
        f"hydra.sweep.dir={place / name}", *NO_LOCAL, *settings,
    ]  # fmt: skip


def results(directory: Path) -> dict:
    """Everything a sweep wrote but what this very run did."""
    summary = json.loads((directory / "summary.json").read_text())
    del summary["cost"]["run"], summary["command"]
    for cell in summary["cells"]:
        del cell["overrides"]
    samples = {p.parent.name: p.read_text() for p in directory.glob("*/samples_*.jsonl")}
    return {"summary": summary, "samples": samples}


def stored_tokens(place: Path, reads: dict[bytes, int]) -> int:
    total = 0
    for folder in upkeep.folders(place / "store"):
        store = Store(place / "store", upkeep.fingerprint_of(folder))
        for key in reads:
            if stored := store.load(key):
                total += len(stored.ids)
        store.close()
    return total


def check_kills(tmp_path: Path, settings: list[str], kills: int) -> None:
    clean = tmp_path / "clean"
    began = time.time()
    subprocess.run(command(clean, settings, "out"), cwd=ROOT, check=True, capture_output=True)
    whole = time.time() - began
    expected = results(clean / "out")

    place, rng = tmp_path / "killed", random.Random(0)
    for attempt in range(kills):
        process = subprocess.Popen(
            command(place, settings, f"out{attempt}"),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(rng.uniform(0.3, 0.95) * whole)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    reads: dict[bytes, int] = {}
    for text in expected["samples"].values():
        for line in text.splitlines():
            for key, n in json.loads(line)["reads"].items():
                reads[bytes.fromhex(key)] = max(n, reads.get(bytes.fromhex(key), 0))
    kept = stored_tokens(place, reads) if (place / "store").exists() else 0
    subprocess.run(command(place, settings, "last"), cwd=ROOT, check=True, capture_output=True)
    assert results(place / "last") == expected
    run = json.loads((place / "last" / "run.json").read_text())
    assert run["decode_tokens"] + kept <= 1.02 * sum(reads.values())


@pytest.mark.long
def test_killed_and_started_again(tmp_path):
    check_kills(tmp_path, SCRIPTED, 2)


@pytest.mark.campaign
def test_killed_again_and_again_on_the_tiny_model(tmp_path, request):
    check_kills(tmp_path, TINY, 20 if request.config.getoption("--full-campaign") else 3)


@pytest.mark.long
def test_ctrl_c_ends_quickly_and_says_how_to_go_on(tmp_path):
    settings = [*SCRIPTED, "task.limit=400"]
    process = subprocess.Popen(
        command(tmp_path, settings, "out"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    deadline = time.time() + 120
    while not list((tmp_path / "store").rglob("*.streams")) and time.time() < deadline:
        time.sleep(0.1)
    began = time.time()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130, out
    assert "goes on from here" in out
    assert time.time() - began < 10  # two seconds on a quiet machine
