"""The estimate against what is known of s1's training: 16 H100s are enough for 32B, 8 are not (issues #13 and #61 of s1)."""

from __future__ import annotations

from s1x.models.known import KNOWN
from s1x.training import memory
from s1x.training.ranks import Ranks

QWEN = KNOWN["Qwen/Qwen2.5-32B-Instruct"]
ZERO3 = {"zero_optimization": {"stage": 3}}


def of(settings, devices: int, deepspeed=ZERO3, length: int = 32768, **changes) -> memory.Estimate:
    return memory.of(settings(**changes), Ranks(devices, deepspeed=deepspeed), QWEN, length)


def test_sixteen_h100s_hold_what_eight_do_not(settings):
    assert of(settings, 16).total < 80e9 < of(settings, 8).total
    assert memory.warning(of(settings, 16), 80) is None
    assert "use more devices" in memory.warning(of(settings, 8), 80)


def test_sixteen_bytes_per_parameter_are_spread_by_stage(settings):
    n = QWEN["parameters"]
    three, two, one = (of(settings, 16, {"zero_optimization": {"stage": s}}) for s in (3, 2, 1))
    assert three.gradients + three.optimizer == 14 * n / 16
    assert three.weights < two.weights and two.gradients == three.gradients < one.gradients
    assert of(settings, 16, None).optimizer == 8 * n  # float32 weights, two moments, nothing shared


def test_offload_lora_and_checkpointing_save_memory(settings):
    offload = ZERO3["zero_optimization"] | {"offload_optimizer": {}, "offload_param": {}}
    assert of(settings, 8, {"zero_optimization": offload}).total < of(settings, 8).total / 2
    assert of(settings, 8, lora={"r": 16, "alpha": 32, "dropout": 0.0}).optimizer < of(settings, 8).optimizer / 100
    assert of(settings, 8, gradient_checkpointing=False).activations > 10 * of(settings, 8).activations
    assert of(settings, 8, length=4096).activations < of(settings, 8).activations / 7


def test_disk_holds_the_model_and_two_checkpoints(settings):
    assert memory.disk(settings(), Ranks(8, deepspeed=ZERO3), QWEN) == QWEN["parameters"] * (2 + 2 * 14)
