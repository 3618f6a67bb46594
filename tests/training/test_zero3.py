"""Two real ZeRO-3 ranks without a GPU: the losses of one process, one model, and the same after a kill; then two "nodes"."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import time

import pytest

pytest.importorskip("deepspeed")
from .runs import (  # noqa: E402
    LORA,
    ROOT,
    TWENTY,
    TWO,
    alive,
    checkpoint,
    children,
    facts,
    furthest,
    losses,
    model,
    run,
    start,
    wait_for,
    weights,
)

pytestmark = pytest.mark.deepspeed


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Twenty steps on two ranks: (where, what was printed)."""
    place = tmp_path_factory.mktemp("two")
    return place, run(place, *TWENTY, *TWO)


def test_two_ranks_have_the_losses_of_one_process_and_its_model(two, tmp_path):
    place, output = two
    assert "20 steps of 16 examples on 2 devices" in output
    assert re.search(r"train.max_length=256: \d+ of 160 examples \(\d+%\) are cut; the longest has [\d,]+ tokens", output)
    run(tmp_path, *TWENTY)
    ours, theirs = losses(place), losses(tmp_path)
    assert len(ours) == len(theirs) == 20
    assert max(abs(a - b) for a, b in zip(ours, theirs)) < 1e-3
    assert furthest(weights(model(place)), weights(model(tmp_path))) < 1e-3
    assert {f.name for f in model(place).iterdir() if f.is_dir()} == set()


def test_two_ranks_killed_go_on_to_the_same_weights(two, tmp_path):
    step = random.choice([3, 6, 9])
    process = start(tmp_path, *TWENTY, *TWO)
    wait_for(checkpoint(tmp_path, step), process)
    time.sleep(random.random())
    ranks = children(process.pid)
    assert len(ranks) >= 3  # the agent and two ranks
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(map(alive, ranks)), seconds=20)  # ranks do not outlive the command that started them
    run(tmp_path, *TWENTY, *TWO)
    assert facts(tmp_path)["resumed_at"] >= step and facts(tmp_path)["steps"] == 20
    assert max(abs(a - b) for a, b in zip(losses(tmp_path), losses(two[0]), strict=True)) < 1e-5  # the same data order
    assert furthest(weights(model(tmp_path)), weights(model(two[0]))) < 1e-5


def test_two_agents_on_loopback_are_two_nodes(four_steps, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = f"127.0.0.1:{free.getsockname()[1]}"
    shared = (
        "distributed=zero3",
        "distributed.processes=1",
        "distributed.nodes=2",
        f"distributed.rendezvous={meet}",
        f"train.dir={tmp_path / 'models'}",
    )
    nodes = [start(tmp_path / str(rank), *shared, f"distributed.node_rank={rank}") for rank in (0, 1)]
    assert [node.wait(200) for node in nodes] == [0, 0], [(tmp_path / n / "output").read_text() for n in "01"]
    assert max(abs(a - b) for a, b in zip(losses(tmp_path), losses(four_steps[0]), strict=True)) < 1e-3
    assert furthest(weights(model(tmp_path)), weights(model(four_steps[0]))) < 1e-3


def test_lora_on_two_ranks_saves_the_merged_model(tmp_path):
    run(tmp_path, *TWO, LORA)
    merged, base = weights(model(tmp_path)), weights(ROOT / "s1x/tiny/models/tiny-base")
    changed = {k for k in base if not (merged[k] == base[k]).all()}
    assert merged.keys() == base.keys() and changed and all("proj.weight" in k for k in changed)


def test_ctrl_c_ends_all_ranks_and_keeps_their_steps(tmp_path):
    process = start(tmp_path, *TWENTY, *TWO, "train.save_every=1000")
    wait_for(lambda: any(f.read_text() for f in tmp_path.glob("models/*/ranks-0/progress.jsonl")), process)
    ranks = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does; the ranks have a group of their own
    assert process.wait(60) == 130
    assert not any(map(alive, ranks)) and "Stopped." in (tmp_path / "output").read_text()
    assert list(tmp_path.glob("models/*/checkpoints/checkpoint-*/COMPLETE"))


def test_a_rank_that_fails_is_one_clear_sentence(tmp_path):
    last = run(tmp_path, *TWO, "train.attention=flash_attention_2", status=1).strip().splitlines()[-1]
    assert "The training failed on rank" in last and "the log of all ranks is" in last and "flash" in last.lower()
