"""The dry run of trainings at paper scale, where neither GPUs, model nor data are: s1's steps, memory and commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import NO_LOCAL

ROOT = Path(__file__).parents[2]
S1 = ("stage=train", "train=s1", "data=s1k", "model=qwen2.5-32b-instruct", "plan=true", "tracking=none", "distributed=zero3")
STEPS = "Qwen2.5-32B-Instruct-s1k: 1,000 examples, 5 epochs, 315 steps of 16, 16 of them warm-up, then a cosine over 299"
TWO_NODES = ("distributed.nodes=2", "distributed.node_rank=1", "distributed.rendezvous=gpu-1:29500")


def plan(place: Path, *arguments: str, status: int = 0) -> str:
    """What the command prints, in an empty directory."""
    line = [sys.executable, str(ROOT / "run.py"), *arguments, *NO_LOCAL]
    done = subprocess.run(line, cwd=place, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def flat(output: str) -> str:
    """Without the ends of lines."""
    return " ".join(output.split())


def total(output: str, devices: int) -> float:
    """GB per device in the row of so many devices."""
    (row,) = re.findall(rf"^devices +{devices}$(.*?)^GB on each device", output, re.MULTILINE | re.DOTALL)
    return float(re.findall(r"^total +([\d.]+)$", row, re.MULTILINE)[0])


def test_eight_and_sixteen_devices_take_315_steps_of_16(tmp_path):
    output = plan(tmp_path, *S1, "distributed.processes=8")
    assert STEPS in flat(output) and "32,763,876,352 parameters, examples of 32,768 tokens, bf16" in flat(output)
    assert re.findall(r"^passes +(\d+)$", output, re.MULTILINE) == ["2", "1"]
    assert total(output, 16) < 80 < total(output, 8)
    assert "torch.distributed.run --standalone --nproc-per-node=8 -m s1x.training.rank .s1x/models/Qwen2.5-32B" in output


def test_two_nodes_of_eight(tmp_path):
    output = plan(tmp_path, *S1, "distributed.processes=8", *TWO_NODES)
    where = "--nnodes=2 --node-rank=1 --rdzv-backend=static --master-addr=gpu-1 --master-port=29500 --nproc-per-node=8"
    assert STEPS in flat(output) and "/ranks-1/job.json" in output
    assert f"torch.distributed.run {where} -m s1x.training.rank" in output


@pytest.mark.long
def test_an_experiment_plans_each_of_its_trainings_once(tmp_path):
    output = plan(tmp_path, "+experiment=data_ablation", "scale=paper", "plan=true", "tracking=none")
    assert flat(output).count(STEPS) == 1 and flat(output).count(" steps of 16") == 5
    assert output.count("The ranks of this node") == 1  # the same model, lengths and devices for all of them
    assert "Qwen2.5-32B-Instruct-full_59k: 58,986 examples" in flat(output)
    # s1's 1,000 examples took 7 H100 hours and all 59,000 394 (paper, section 5.1)
    small, large = (float(hours.replace(",", "")) for hours in re.findall(r"([\d.,]+) device hours", flat(output))[::4])
    assert 5 < small < 9 and 300 < large < 500


@pytest.mark.long
def test_what_would_fit_is_said(tmp_path):
    output = flat(plan(tmp_path, *S1, "distributed.processes=8"))
    said = re.search(r"Would fit: (.*?)\. The ranks", output)[1]
    assert said.split("; ")[:2] == ["16 devices", "distributed=zero3_offload (590 GB on the hosts)"]
    shorter = int(re.search(r"train\.max_length=(\d+)", said)[1])
    assert "Would fit" not in plan(tmp_path, *S1, "distributed.processes=8", f"train.max_length={shorter}")
    assert "Would fit" in plan(tmp_path, *S1, "distributed.processes=8", f"train.max_length={shorter + 1024}")


def test_a_batch_that_cannot_be_is_a_sentence_in_the_plan_too(tmp_path):
    output = plan(tmp_path, *S1, "distributed.processes=6", status=2)
    assert "train.global_batch_size=16 is no multiple of 6 devices" in output
