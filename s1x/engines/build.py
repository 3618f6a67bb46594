"""From a configuration to an engine: the class that `engine._target_` names, with the settings beside it.

A class says by its parameters what it needs of the rest: `model`, `revision` and `tokenizer` (of the group `model`) where it
runs a model, and `stop_ids` (the tokens that end thinking or answer) where it writes no model's words.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from ..models.device import cuda_devices, device_memory
from ..models.facts import model_facts
from ..streams.engine import Engine, can_say
from ..streams.types import CONFIDENCES
from .placement import placed
from .replicas import Replicas, device_groups

_OURS = ("_target_", "name", "replicas")  # settings that no engine sees
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str, int, float), "text"),  # a version may look like a number
    "bool": ((bool,), "true or false"),
    "None": ((type(None),), "null"),
}


def build(engine: Mapping[str, Any], model: Mapping[str, Any], stop_ids: tuple[int, ...] = ()) -> Engine:
    """The engine of the resolved groups `engine` and `model`. Raises ValueError for settings that will not do."""
    _check_types(engine)
    if (engine.get("replicas") or 1) > 1:
        return _replicas(engine, model, stop_ids)
    kind, settings = _class(engine), {key: value for key, value in engine.items() if key not in _OURS}
    parameters = inspect.signature(kind).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key, value in settings.items():
        if key not in parameters and not takes_all:
            raise ValueError(f"engine.{key}={value}: {kind.__name__} has no such setting; it has {', '.join(parameters)}.")
    given = {"model": model["path"], "revision": model["revision"], "tokenizer": model["tokenizer"], "stop_ids": stop_ids}
    return kind(**{key: value for key, value in given.items() if key in parameters}, **settings)


def needs_model(engine: Mapping[str, Any]) -> bool:
    """Whether the engine of the group `engine` runs a model (and not, say, a script)."""
    return "model" in inspect.signature(_class(engine)).parameters


def takes(engine: Mapping[str, Any], setting: str) -> bool:
    """Whether the engine of the group `engine` has such a setting. Raises ValueError where there is no such engine."""
    parameters = inspect.signature(_class(engine)).parameters
    return setting in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def check_confidences(engine: Mapping[str, Any], needed: Collection[str], built: Engine | None = None) -> None:
    """Raises ValueError where the engine of the group `engine` does not say what `needed` measures of confidence are made of.

    built: that engine, which may know better than its class; servers are asked.
    """
    for name in sorted(needed):
        if built is not None:
            said = can_say(built, name)
        else:  # a property is known of the engine itself alone
            there = getattr(_class(engine), "confidences", frozenset())
            said = not isinstance(there, Collection) or name in there
        if not said:
            raise ValueError(
                f"engine={engine.get('name')}: it does not say the {CONFIDENCES[name]}, which this method needs; choose "
                + ("another, such as engine=transformers or engine=vllm" if name == "top20" else "engine=transformers")
            )


def context_length(engine: Mapping[str, Any], model: Mapping[str, Any]) -> int:
    """Tokens that a stream may have, known without making the engine: what its settings say, else what the model's files say.

    `context_length` is the setting of an engine without a model, `max_model_len` that of one that runs a model.
    """
    _check_types(engine)
    if "context_length" in engine:
        return engine["context_length"]
    facts = facts_of(engine, model)
    return min(facts["longest_context"], engine.get("max_model_len") or facts["context_length"])


def facts_of(engine: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of the model (models.facts) as the engine has it."""
    return model_facts(model["path"], model["revision"], (engine.get("arguments") or {}).get("hf_overrides"))


def _check_types(engine: Mapping[str, Any]) -> None:
    """Raises ValueError for a setting that is of no type that its engine's class names, where these are plain ones."""
    if "_target_" not in engine:  # some settings alone; whoever builds an engine of them says so
        return
    named = {key: str(p.annotation) for key, p in inspect.signature(_class(engine)).parameters.items()}
    for key, value in engine.items():
        kinds = "int | None" if key == "replicas" else named.get(key, "")
        valid = [_KINDS[kind] for kind in kinds.split(" | ") if kind in _KINDS]
        if len(valid) < len(kinds.split(" | ")):
            continue
        if not any(isinstance(value, types) and (not isinstance(value, bool) or bool in types) for types, _ in valid):
            shown = "null" if value is None else value
            raise ValueError(f"engine.{key}={shown}: must be {' or '.join(words for _, words in valid)}")


def _class(engine: Mapping[str, Any]) -> type:
    target = engine.get("_target_")
    module, _, name = str(target).rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"engine._target_={target}: there is no such class ({error}).") from None


def _replicas(engine: Mapping[str, Any], model: Mapping[str, Any], stop_ids: tuple[int, ...]) -> Engine:
    """`engine.replicas` processes, each with its share of the visible devices."""
    n = engine["replicas"]
    count = cuda_devices() if needs_model(engine) and engine.get("device") != "cpu" else 0
    if "tensor_parallel_size" in engine and engine["tensor_parallel_size"] is None:
        chosen = placed(engine, facts_of(engine, model), count // n, device_memory()).tensor if count >= n else 1
        engine = {**engine, "tensor_parallel_size": chosen}
    size = engine.get("tensor_parallel_size", 1) * engine.get("pipeline_parallel_size", 1)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    devices = device_groups(visible.split(",") if count else [], n, size)
    return Replicas(partial(build, {**engine, "replicas": 1}, model, stop_ids), n, devices)
