"""How many streams the devices of a plan hold at once, and how many tokens a second follow; from sizes alone.

A step of decoding makes one token of each stream under way. It reads the weights, and the keys and values of all streams, and
multiplies: the longer of both, and `step_ms` of everything else, is what it takes. `scale.plan` says what a device reads
(`gb_per_second`) and computes (`tflops`) in practice. Of a mixture of experts all weights count, so it is rather faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engines.build import facts_of, needs_model
from ..engines.placement import GIB, Need, Placement, placed
from ..files import is_local
from ..models.device import cuda_devices, device_memory, resolve_dtype
from ..models.known import KNOWN

CPU_SHARE, GPU_SHARE = 0.5, 0.85  # of a device's memory that the embedded engine gives to keys and values (models.device)
CPU_KV_GIB = 1  # of vLLM without a GPU, where engine.kv_cache_gib does not say
SERVED = {"tensor_parallel_size": None, "pipeline_parallel_size": 1, "gpu_memory_utilization": None, "max_num_seqs": 256}
UNBOUND = 1_000_000  # streams of an engine that has no such setting
CAPACITY = ("slots", "max_num_seqs", "in_flight", "capacity")  # settings that bound the streams under way


@dataclass(frozen=True)
class Devices:
    """What there is: of this machine where it has GPUs, else what `scale.plan` says, else this machine's processor. memory:
    bytes of each; `here`: it is this machine."""

    count: int
    memory: float
    gpu: bool
    here: bool

    @classmethod
    def of(cls, plan: Mapping[str, Any]) -> Devices:
        if count := cuda_devices():
            return cls(count, device_memory(), True, True)
        if plan.get("devices") and plan.get("device_gib"):
            return cls(plan["devices"], plan["device_gib"] * GIB, True, False)
        return cls(1, device_memory(), False, True)


@dataclass(frozen=True)
class Room:
    """What one model has under one engine. said: the sentence about it. streams: of `mean` tokens that run at once, 0 where
    none fits or nothing is known. devices: how many are used. fits: None where that is not known."""

    said: str
    fits: bool | None
    streams: int = 0
    devices: int = 1
    mean: int = 1
    weights: float = 0
    kv_token: float = 0
    parameters: float = 0
    replicas: int = 1

    def rate(self, plan: Mapping[str, Any], streams: float) -> float | None:
        """Tokens a second that are decoded while so many streams are wanted; `plan.tokens_per_second` where that is set. None
        where it is not known."""
        if plan.get("tokens_per_second"):
            return float(plan["tokens_per_second"])
        speeds = [plan.get(key) for key in ("gb_per_second", "tflops", "step_ms")]
        if not self.streams or None in speeds:
            return None
        bandwidth, computes, rest = (speed * unit for speed, unit in zip(speeds, (1e9, 1e12, 1e-3), strict=True))
        at_once = max(1.0, min(streams, self.streams))
        each, devices = at_once / self.replicas, self.devices / self.replicas
        read = self.weights + each * self.kv_token * self.mean / 2  # streams are half written on average
        return at_once / (rest + max(read / (devices * bandwidth), 2 * self.parameters * each / (devices * computes)))

    def scored(self, plan: Mapping[str, Any]) -> float | None:
        """Tokens a second that are read to be scored; `plan.scored_per_second` where that is set."""
        if plan.get("scored_per_second"):
            return float(plan["scored_per_second"])
        return plan["tflops"] * 1e12 * self.devices / (2 * self.parameters) if plan.get("tflops") and self.parameters else None


def room(engine: Mapping[str, Any], model: Mapping[str, Any], mean: int, plan: Mapping[str, Any]) -> Room:
    """engine, model: the resolved groups. mean: tokens of a stream."""
    there, replicas = Devices.of(plan), engine.get("replicas") or 1
    capacity = next((engine[key] for key in CAPACITY if engine.get(key)), UNBOUND) * replicas
    if not needs_model(engine):
        return Room("no model, so nothing to hold.", True, capacity, mean=mean, replicas=replicas)
    served = "urls" in engine
    if served and not there.gpu:
        return Room("on servers whose devices are not known here; scale.plan.tokens_per_second=NUMBER says their speed.", None)
    path = model["path"]
    if path not in KNOWN and not is_local(path):
        said = "sizes that are not known here, so neither is whether it fits (a folder with its config.json and weights says)."
        return Room(said, None)
    try:
        sizes = KNOWN.get(path) or facts_of(engine, model)
        settings = {**SERVED, **engine} if served else engine
        spread = "tensor_parallel_size" in settings and there.gpu
        on = placed(settings, sizes, there.count // replicas, there.memory) if spread else _alone(engine, sizes, there)
    except (ValueError, FileNotFoundError) as error:
        return Room(f"{str(error).rstrip('.')}.", False)
    used = replicas * on.tensor * on.pipeline
    if spread and used > there.count:
        needs = f"engine.replicas={replicas} of {on.tensor * on.pipeline} GPUs each need {used}; there are {there.count}."
        return Room(needs, False)
    context = engine.get("max_model_len") or sizes["context_length"]
    whole, usual = (min(on.tokens // tokens * replicas, capacity) for tokens in (context, min(mean, context)))
    dtype = resolve_dtype(engine.get("dtype"), "cuda" if there.gpu else "cpu")
    size = f"{there.memory / GIB:,.0f} GiB"
    where = f"on {used} of {there.count} GPUs of {size} (replicas {replicas} x tensor {on.tensor} x pipeline {on.pipeline})"
    said = f"{dtype} {where if there.gpu else f'in this machine of {size}'}, {on}. "
    said += f"At once: {usual:,} streams of {min(mean, context):,} tokens, {whole:,} of the whole context."
    need = _need(settings, sizes, there)
    return Room(
        said, usual > 0, usual, used, min(mean, context), need.weights, need.kv_token, sizes["parameters"], replicas
    )  # fmt: skip


def _need(engine: Mapping[str, Any], sizes: Mapping[str, Any], there: Devices) -> Need:
    dtype = resolve_dtype(engine.get("dtype"), "cuda" if there.gpu else "cpu")
    kv_dtype = (engine.get("arguments") or {}).get("kv_cache_dtype", "auto")
    context = engine.get("max_model_len") or sizes["context_length"]
    return Need.of(sizes, dtype, context, engine.get("quantization"), kv_dtype)


def _alone(engine: Mapping[str, Any], sizes: Mapping[str, Any], there: Devices) -> Placement:
    """One copy on one GPU, or on the processor. Raises ValueError where there is no room for one stream."""
    need, given = _need(engine, sizes, there), engine.get("kv_cache_gib")
    if given is None and "max_num_seqs" in engine:
        given = CPU_KV_GIB
    free = there.memory - need.weights
    cache = given * GIB if given else GPU_SHARE * free if there.gpu else min(CPU_SHARE * there.memory, free)
    if need.weights + cache > there.memory or cache < need.kv_token * 2:
        size = f"{there.memory / GIB:,.0f} GiB"
        what = f"one GPU of {size}" if there.gpu else f"this machine of {size}, which has no GPU"
        raise ValueError(
            f"the model does not fit in {what}: it has {need.weights / GIB:,.1f} GiB of weights, beside keys and values; "
            f"engine=vllm spreads it over GPUs, engine=server asks other machines, engine.dtype=bfloat16 halves float32"
        )
    return Placement(1, 1, need.weights, cache, int(cache / need.kv_token))
