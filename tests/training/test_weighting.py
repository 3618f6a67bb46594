"""What a step's loss weighs alike, against the definition written out by hand, on real ranks."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import asdict

import pytest
from omegaconf import OmegaConf

pytest.importorskip("deepspeed")
from s1x.training.examples import UNLEARNED, Encoded  # noqa: E402

from .conftest import BASE, CONF  # noqa: E402
from .runs import ROOT  # noqa: E402

pytestmark = pytest.mark.deepspeed


@pytest.fixture(scope="module")
def sixteen() -> Encoded:
    """Sequences of 8 to 200 tokens of which 1 to all but one are learned, one of them with a hole."""
    rng = random.Random(0)
    ids, labels = [], []
    for length in [8, 200, *(rng.randrange(9, 200) for _ in range(14))]:
        ids.append([rng.randrange(500) for _ in range(length)])
        learned = rng.randrange(1, length)
        labels.append([UNLEARNED] * (length - learned) + ids[-1][length - learned :])
    labels[1][150:180] = [UNLEARNED] * 30
    return Encoded(ids, labels, cut=0, longest=200)


def by_hand(encoded: Encoded, weighting: str) -> tuple[float, dict]:
    """Loss and gradients of one step: one sequence after the other, no padding, no batch."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).train()
    sums, counts = [], []
    for ids, labels in zip(encoded.input_ids, encoded.labels):
        logits = model(torch.tensor([ids])).logits[0, :-1]
        sums.append(cross_entropy(logits, torch.tensor(labels[1:]), ignore_index=UNLEARNED, reduction="sum"))
        counts.append(sum(label != UNLEARNED for label in labels[1:]))
    if weighting == "sequence":
        loss = sum(s / n for s, n in zip(sums, counts)) / len(sums)
    else:
        loss = sum(sums) / sum(counts)
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("weighting", "ranks", "at_once", "zero"),
    [
        ("sequence", 16, 1, None),  # s1's sixteen devices
        ("sequence", 4, 1, 3),  # and four passes
        pytest.param("sequence", 4, 4, 3, marks=pytest.mark.slow),
        ("sequence", 1, 16, None),
        pytest.param("sequence", 1, 1, None, marks=pytest.mark.slow),
        ("token", 2, 4, 3),
    ],
)
def test_a_step_is_the_mean_that_its_setting_says(tmp_path, settings, sixteen, weighting, ranks, at_once, zero):
    import torch

    with_zero = OmegaConf.to_container(OmegaConf.load(CONF / "distributed" / "zero3.yaml"))["deepspeed"]
    own = settings(
        on_gpu=False, epochs=1, device_batch_size=at_once, loss_weighting=weighting, max_grad_norm=1e9, max_length=None,
        gradient_checkpointing=False, dir=str(tmp_path),
    )  # fmt: skip
    sixteen.save(tmp_path / "examples.parquet")
    job = {
        "model": str(BASE), "revision": None, "tokenizer": None, "settings": asdict(own), "devices": ranks, "identity": "one",
        "examples": str(tmp_path / "examples.parquet"), "folder": str(tmp_path), "deepspeed": with_zero if zero else None,
    }  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    program = [sys.executable, "-m", "tests.training.gradients", str(tmp_path / "job.json"), str(ranks)]
    done = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    (row,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    loss, gradients = by_hand(sixteen, weighting)
    assert row["loss"] == pytest.approx(loss, abs=1e-5)
    found = torch.load(tmp_path / "gradients.pt")
    assert found.keys() == gradients.keys()
    assert max((found[name] - gradients[name]).abs().max().item() for name in found) < 1e-5


def test_the_two_means_are_far_apart_on_these_sequences(sixteen):
    (one, g), (other, h) = by_hand(sixteen, "sequence"), by_hand(sixteen, "token")
    assert abs(one - other) > 1e-3 and max((g[name] - h[name]).abs().max().item() for name in g) > 1e-3
