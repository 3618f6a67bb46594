"""From a configuration to an engine: which class, which settings. Nothing heavy is imported before the first missing token."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from ..streams.engine import Engine


def build(engine: dict[str, Any], model: dict[str, Any], stop_ids: tuple[int, ...] = ()) -> Engine:
    """The engine of the resolved groups `engine` and `model`. `stop_ids` are what the scripted engine ends with."""
    settings = {k: v for k, v in engine.items() if k != "name"}
    name = engine["name"]
    if settings.pop("replicas", 1) > 1:
        return _replicas(engine, model, stop_ids)
    if name == "transformers":
        from .transformers import TransformersEngine

        return TransformersEngine(model["path"], revision=model["revision"], tokenizer=model["tokenizer"], **settings)
    if name == "vllm":
        from .vllm import VllmEngine

        return VllmEngine(model["path"], revision=model["revision"], tokenizer=model["tokenizer"], **settings)
    if name == "server":
        from .server import ServerEngine

        return ServerEngine(model["path"], revision=model["revision"], tokenizer=model["tokenizer"], **settings)
    if name == "scripted":
        from .scripted import ScriptedEngine

        chance = settings.pop("end_chance")
        return ScriptedEngine(ends=dict.fromkeys(stop_ids, chance), **settings)
    raise ValueError(f"engine={name}: there is no such engine; choose one of transformers, vllm, server, scripted")


def _replicas(engine: dict[str, Any], model: dict[str, Any], stop_ids: tuple[int, ...]) -> Engine:
    """`engine.replicas` processes, each with its share of the visible devices."""
    from .fingerprint import cuda_devices
    from .replicas import Replicas, device_groups

    n = engine["replicas"]
    size = engine.get("tensor_parallel_size", 1) * engine.get("pipeline_parallel_size", 1)
    count = 0 if engine["name"] == "scripted" or engine.get("device") == "cpu" else cuda_devices()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    devices = device_groups(visible.split(",") if count else [], n, size)
    return Replicas(partial(build, engine | {"replicas": 1}, model, stop_ids), n, devices)
