"""On how many devices one engine is spread: arithmetic of bytes, before anything is loaded.

Weights are parted over all devices of an engine, keys and values over tensor-parallel ones by heads (a device holds at least
one head, so more devices than heads hold copies) and over pipeline stages by layers. vLLM measures what this estimates.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..models.device import resolve_dtype

log = logging.getLogger(__name__)

Facts = Mapping[str, Any]  # of models.facts.model_facts
GIB = 2**30
WORKSPACE = 2 * GIB  # of a device: activations while a prompt is read, CUDA graphs, communication buffers
WHOLE = 0.9  # of a device's memory, for an engine that has it alone
STREAMS, SHARE = 32, 4  # wanted at once, of a quarter of the context each: AIME24 under s1-32B takes 7,000 of 32,768 tokens
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_QUANTIZED = {"fp8": 1.0, "int8": 1.0, "compressed-tensors": 1.0}  # bytes of a weight; 4 bits and a scale for all others


@dataclass(frozen=True)
class Need:
    """What a model needs. weights, kv_token (keys and values of one token): bytes over all devices. context: tokens of the
    longest stream. heads, kv_heads: of attention."""

    weights: float
    kv_token: float
    context: int
    heads: int
    kv_heads: int

    @classmethod
    def of(cls, facts: Facts, dtype: str, context: int, quantization: str | None = None, kv_dtype: str = "auto") -> Need:
        """facts: the model's sizes (kv_layers: those with keys and values, where not all have them). quantization: method, None
        for that of its files. kv_dtype: as vLLM has it."""
        method = quantization or facts.get("quantization")
        weight = _BYTES[dtype] if method is None else _QUANTIZED.get(method, 0.6)
        element = 1.0 if kv_dtype.startswith(("fp8", "int8")) else _BYTES[dtype]
        kv_token = 2 * facts.get("kv_layers", facts["layers"]) * facts["kv_heads"] * facts["head_dim"] * element
        return cls(facts["parameters"] * weight, kv_token, context, facts["heads"], facts["kv_heads"])


@dataclass(frozen=True)
class Placement:
    """`tensor` x `pipeline` devices. weights: bytes on each; cache: bytes for keys and values on each; tokens: how many fit."""

    tensor: int
    pipeline: int
    weights: float
    cache: float
    tokens: int

    def __str__(self) -> str:
        each = f" on each of {self.tensor * self.pipeline}" if self.tensor * self.pipeline > 1 else ""
        return (
            f"{self.weights / GIB:,.1f} GiB of weights and {max(self.cache, 0) / GIB:,.1f} GiB of keys and values{each}: room "
            f"for {self.tokens:,} tokens"
        )


def place(need: Need, tensor: int, pipeline: int, device_bytes: float, utilization: float) -> Placement:
    """What fits on `tensor` x `pipeline` devices."""
    weights = need.weights / (tensor * pipeline)
    cache = utilization * device_bytes - weights - WORKSPACE
    token = need.kv_token / need.kv_heads * max(1, need.kv_heads // tensor) / pipeline
    return Placement(tensor, pipeline, weights, cache, max(0, int(cache / token)))


def choices(need: Need, devices: int) -> list[int]:
    """The numbers of tensor-parallel devices that part the heads of attention evenly."""
    return [n for n in range(1, devices + 1) if need.heads % n == 0 and (need.kv_heads % n == 0 or n % need.kv_heads == 0)]


def choose(need: Need, devices: int, device_bytes: float, utilization: float = 0.9, pipeline: int = 1) -> Placement:
    """The fewest tensor-parallel devices that hold STREAMS streams of 1/SHARE of the context at once, else those that hold
    most.

    devices: that one engine may take; more replicas take their own. Raises ValueError where not even one whole stream fits.
    """
    placed = [place(need, n, pipeline, device_bytes, utilization) for n in choices(need, devices // pipeline)]
    if not placed:
        raise ValueError(f"engine.pipeline_parallel_size={pipeline} needs {pipeline} GPUs; there are {devices}.")
    most = max(placed, key=lambda p: p.tokens)
    chosen = next((p for p in placed if p.tokens >= max(need.context, STREAMS * need.context // SHARE)), most)
    if chosen.tokens < need.context:
        shorter = f", engine.max_model_len={most.tokens // 64 * 64}" if most.tokens >= 64 else ""
        raise ValueError(
            f"engine.tensor_parallel_size=null: the model does not fit on {devices} GPU{'s' * (devices > 1)} of "
            f"{device_bytes / GIB:,.0f} GiB: it has {need.weights / GIB:,.1f} GiB of weights, and one stream of "
            f"{need.context:,} tokens {need.context * need.kv_token / GIB:,.1f} GiB; use more GPUs, engine.dtype=bfloat16 or "
            f"engine.quantization{shorter}"
        )
    return chosen


def by_memory(need: Need, devices: int, device_bytes: float, utilization: float, pipeline: int) -> int:
    """How many tensor-parallel devices memory asks for, and say so. Raises ValueError where all of them are too few."""
    chosen = choose(need, devices, device_bytes, utilization, pipeline)
    more = devices // (chosen.tensor * pipeline)
    hint = f"; engine.replicas={more} would use all {devices} GPUs" if more > 1 else ""
    log.info("engine.tensor_parallel_size=%d is chosen: %s%s.", chosen.tensor, chosen, hint)
    return chosen.tensor


def check_parts(need: Need, tensor: int) -> None:
    """Raises ValueError for a number of tensor-parallel devices that does not part the heads of attention evenly."""
    if tensor not in choices(need, tensor):
        valid = ", ".join(map(str, choices(need, need.heads)))
        raise ValueError(
            f"engine.tensor_parallel_size={tensor}: must part {need.heads} attention heads and {need.kv_heads} of keys and "
            f"values evenly; valid are {valid} and null (chosen by memory)."
        )


def enough(there: int, tensor: int, pipeline: int) -> bool:
    """Whether there are devices at all. Raises ValueError when there are some, but not enough for one engine."""
    if 0 < there < tensor * pipeline:
        raise ValueError(
            f"engine.tensor_parallel_size={tensor} times engine.pipeline_parallel_size={pipeline} needs {tensor * pipeline} "
            f"GPUs; there are {there}."
        )
    return there > 0


def placed(engine: Mapping[str, Any], facts: Facts, devices: int, device_bytes: float) -> Placement:
    """How an engine with these settings (conf/engine/vllm.yaml) stands on some of `devices` GPUs: as it is set, else chosen.

    Raises ValueError where it cannot.
    """
    kv_dtype = (engine.get("arguments") or {}).get("kv_cache_dtype", "auto")
    context = engine.get("max_model_len") or facts["context_length"]
    need = Need.of(facts, resolve_dtype(engine["dtype"], "cuda"), context, engine.get("quantization"), kv_dtype)
    tensor, pipeline, share = (
        engine[key] for key in ("tensor_parallel_size", "pipeline_parallel_size", "gpu_memory_utilization")
    )
    share = WHOLE if share is None else share
    if tensor is None:
        return choose(need, devices, device_bytes, share, pipeline)
    check_parts(need, tensor)
    return place(need, tensor, pipeline, device_bytes, share)
