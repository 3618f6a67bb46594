"""How much memory a device needs, before anything is loaded: weights, gradients, optimizer and activations.

Mixed-precision Adam keeps 16 bytes per parameter: 2 for the weight, 2 for its gradient, and 12 for the optimizer's float32
copy and two moments (Rajbhandari et al. 2020, section 3.1); ZeRO spreads them over the devices. One process without DeepSpeed
keeps float32 weights and gradients, also 16 bytes. Activations follow Korthikanti et al. 2022 (section 4) with attention that
keeps no score matrix; TRL's fused output layer never holds all logits. An estimate, some 10% rough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..models.device import cuda_devices, device_memory
from .ranks import Ranks
from .settings import Settings

GB = 1e9
WORKSPACE = 3 * GB  # CUDA context, communication and prefetch buffers, fragmentation
HOST_BYTES = 18  # per parameter in the hosts' memory with zero3_offload: 16 as above, and a buffer (DeepSpeed's own estimate)
WORKSPACE_CPU = 0.6 * GB  # the Python process with torch and transformers


@dataclass(frozen=True)
class Estimate:
    """Bytes per device."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    workspace: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations + self.workspace

    def __str__(self) -> str:
        parts = (f"{name} {getattr(self, name) / GB:,.1f}" for name in ("weights", "gradients", "optimizer", "activations"))
        return f"{self.total / GB:,.1f} GB ({', '.join(parts)}, workspace {self.workspace / GB:,.1f})"


def estimate(
    facts: Mapping[str, Any],
    *,
    devices: int,
    stage: int | None,
    offload: bool,
    length: int,
    examples: int,
    checkpointing: bool,
    precision: str,
    on_gpu: bool,
    trained: int | None = None,
) -> Estimate:
    """Memory of one device at its peak.

    facts: sizes of the model (models.facts.model_facts). stage: of ZeRO, None without DeepSpeed. length: tokens of the
    longest example; examples: how many a device takes at a time. trained: parameters with a gradient (LoRA), None for all.
    """
    n = facts["parameters"]
    learned = n if trained is None else trained
    half = precision == "bf16" and stage is not None
    weight, gradient, state = (2, 2, 12) if half else (4, 4, 8)
    shared = {
        name: devices if stage is not None and stage >= least else 1
        for name, least in (("weights", 3), ("gradients", 2), ("optimizer", 1))
    }
    layer = n / facts["layers"] * weight if shared["weights"] > 1 else 0  # what ZeRO-3 gathers while a layer computes
    return Estimate(
        weights=(0 if offload else weight * n / shared["weights"]) + 2 * layer,
        gradients=gradient * learned / shared["gradients"],
        optimizer=0 if offload else state * learned / shared["optimizer"],
        activations=_activations(facts, length * examples, checkpointing, 2 if precision == "bf16" else 4),
        workspace=WORKSPACE if on_gpu else WORKSPACE_CPU,
    )


def _activations(facts: Mapping[str, Any], tokens: int, checkpointing: bool, width: int) -> float:
    """Kept for the backward pass; with checkpointing each layer's input, and one layer in full while it is recomputed.

    A layer in full: about 6 vectors of the hidden size (norms, residuals, projections), queries, keys, values and the
    attention's output, and 4 of the MLP's width.
    """
    hidden = facts["hidden_size"]
    heads = (2 * facts["heads"] + 2 * facts["kv_heads"]) * facts["head_dim"]
    whole = tokens * width * (6 * hidden + heads + 4 * facts["intermediate_size"])
    kept = facts["layers"] * tokens * hidden * width
    return kept + whole if checkpointing else facts["layers"] * whole


def of(settings: Settings, ranks: Ranks, facts: Mapping[str, Any], length: int) -> Estimate:
    """The estimate for a training whose longest example, as it is trained on, has `length` tokens."""
    return estimate(
        facts,
        devices=ranks.devices,
        stage=ranks.stage,
        offload=ranks.offload,
        examples=settings.device_batch_size,
        length=length,
        checkpointing=settings.gradient_checkpointing,
        precision=settings.precision,
        on_gpu=cuda_devices() > 0 or settings.precision == "bf16",
        trained=_adapters(facts, settings.lora["r"]) if settings.lora else None,
    )


def _adapters(facts: Mapping[str, Any], rank: int) -> int:
    """Parameters of LoRA adapters on all linear layers."""
    hidden, heads, kv_heads = facts["hidden_size"], facts["heads"] * facts["head_dim"], facts["kv_heads"] * facts["head_dim"]
    inner = facts["intermediate_size"]
    return rank * facts["layers"] * (2 * (hidden + heads) + 2 * (hidden + kv_heads) + 3 * (hidden + inner))


def disk(settings: Settings, ranks: Ranks, facts: Mapping[str, Any]) -> int:
    """Bytes that the model and two checkpoints (weights, optimizer) take."""
    weight, state = (2, 12) if settings.precision == "bf16" and ranks.deepspeed else (4, 8)
    learned = _adapters(facts, settings.lora["r"]) if settings.lora else facts["parameters"]
    return facts["parameters"] * weight + 2 * learned * (weight + state)


def warning(needed: Estimate, capacity: float | None = None) -> str | None:
    """A sentence when a device has less than is needed. capacity: GB of a device, None to ask it."""
    there = capacity * GB if capacity else device_memory()
    if needed.total <= there:
        return None
    return (
        f"This needs about {needed.total / GB:,.1f} GB per device and there are {there / GB:,.1f}: use more devices, "
        "distributed=zero3_offload, a shorter train.max_length, train.device_batch_size=1 or train.lora"
    )
