"""From a configuration to an engine: which class, which settings. Nothing heavy is imported before the first missing token."""

from __future__ import annotations

from typing import Any

from .base import Engine


def build(engine: dict[str, Any], model: dict[str, Any], stop_ids: tuple[int, ...] = ()) -> Engine:
    """The engine of the resolved groups `engine` and `model`. `stop_ids` are what the scripted engine ends with."""
    settings = {k: v for k, v in engine.items() if k != "name"}
    name = engine["name"]
    if name == "transformers":
        from .transformers import TransformersEngine

        return TransformersEngine(model["path"], revision=model["revision"], tokenizer=model["tokenizer"], **settings)
    if name == "scripted":
        from .scripted import ScriptedEngine

        chance = settings.pop("end_chance")
        return ScriptedEngine(ends=dict.fromkeys(stop_ids, chance), **settings)
    raise ValueError(f"engine={name}: there is no such engine; choose one of transformers, scripted")
