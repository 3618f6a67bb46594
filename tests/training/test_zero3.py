"""Two real ZeRO-3 ranks without a GPU: the losses of one process, one model, and the same after a kill; then two "nodes"."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
from .test_train import ROOT, command, model, run, weights  # noqa: E402

pytestmark = pytest.mark.deepspeed

TWENTY = ("data.select.n=160", "train.epochs=2", "train.save_every=7")  # 20 steps
TWO = ("distributed=zero3", "distributed.processes=2")


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    place = tmp_path_factory.mktemp("one")
    run(place, *TWENTY)
    return place


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    place = tmp_path_factory.mktemp("two")
    return place, run(place, *TWENTY, *TWO)


def test_two_ranks_have_the_losses_of_one_process_and_its_model(one, two):
    place, output = two
    assert "20 steps of 16 examples on 2 devices" in output
    ours, theirs = losses(model(place)), losses(model(one))
    assert len(ours) == len(theirs) == 20
    assert max(abs(a - b) for a, b in zip(ours, theirs)) < 1e-3
    a, b = weights(model(place)), weights(model(one))
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}


def test_two_ranks_killed_go_on_to_the_same_weights(two, tmp_path):
    process = subprocess.Popen(command(tmp_path, *TWENTY, *TWO), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("models/*/checkpoints/checkpoint-7/COMPLETE")):
        assert process.poll() is None, "it ended before its first checkpoint"
        time.sleep(0.05)
    ranks = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    ended = time.monotonic() + 20
    while any(alive(pid) for pid in ranks):
        assert time.monotonic() < ended, "ranks outlive the command that started them"
        time.sleep(0.1)
    run(tmp_path, *TWENTY, *TWO)
    ours, whole = weights(model(tmp_path)), weights(model(two[0]))
    assert max((ours[k] - whole[k]).abs().max().item() for k in whole) < 1e-5


def test_two_agents_on_loopback_are_two_nodes(one, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = f"127.0.0.1:{free.getsockname()[1]}"
    shared = ("distributed=zero3", "distributed.processes=1", "distributed.nodes=2", f"distributed.rendezvous={meet}")
    nodes = []
    for rank in (0, 1):
        own = (f"distributed.node_rank={rank}", f"hydra.run.dir={tmp_path / f'out-{rank}'}")
        words = command(tmp_path, *TWENTY, *shared, *own)
        nodes.append(subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    for node in nodes:
        output, _ = node.communicate(timeout=600)
        assert node.returncode == 0, output
    assert max(abs(a - b) for a, b in zip(losses(model(tmp_path)), losses(model(one)))) < 1e-3


def test_a_rank_that_fails_is_one_clear_sentence(tmp_path):
    words = command(tmp_path, *TWO, "train.attention=flash_attention_2")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "The training failed on rank" in last and "the log of all ranks is" in last and "flash" in last.lower()


def children(pid: int) -> list[int]:
    """All processes below `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
