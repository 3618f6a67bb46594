"""What cells are called and how they are grouped: id, series, budget and limits, from the configuration alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from importlib import import_module
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..cell import Cell

NOT_KEYED = ("name", "stage", "store", "tracking", "report", "plan", "debug", "scale")  # settings that change no result
PLUMBING = ("_target_", "_partial_", "max_answer_tokens", "until", "answer_reserve")


def identity(cell: Cell) -> dict[str, Any]:
    """The identifying keys of a cell record (metrics/cell.py, IDENTITY)."""
    cfg = cell.cfg
    method = OmegaConf.to_container(cfg.method, resolve=True)
    low, high = limits(method)
    return {
        "cell_id": cell_id(cfg, method),
        "job": cell.job,
        "series": series(method),
        "model": cfg.model.name,
        "task": cfg.task.name,
        "method": method_name(method),
        "overrides": list(cell.overrides),
        "seed": cfg.seed,
        "temperature": cfg.sampling.temperature,
        "budget": high,
        "limit_tokens": [low, high],
    }


def method_name(method: Mapping[str, Any]) -> str:
    return method["_target_"].rpartition(".")[2]


def limits(method: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """(least, most) thinking tokens that the settings ask for (paper section 3.2, Control); None where they set none.

    A method module says so by a function `limits(settings)`; a method without one has those of the method inside it.
    """
    module = import_module(method["_target_"].rpartition(".")[0])
    if hasattr(module, "limits"):
        return module.limits(method)
    inner = method.get("inner")
    return limits(inner) if isinstance(inner, Mapping) else (None, None)


def series(method: Mapping[str, Any]) -> str:
    """The curve a cell belongs to: its method with the settings that are words or switches and not the default.

    Numbers (budgets, counts) are what a curve runs over, so they do not part series, nor do the settings that a method module
    names in `CURVE`. Where one method only asks for a limit and the method inside it enforces one, that is said: "forced".
    """
    import inspect

    path, _, name = method["_target_"].rpartition(".")
    module = import_module(path)
    defaults = {k: p.default for k, p in inspect.signature(getattr(module, name)).parameters.items()}
    words = []
    for key, value in method.items():
        if isinstance(value, Mapping):
            words.append(series(value))
            if hasattr(module, "limits") and limits(value)[1] is not None:
                words.append("forced")
        elif (
            key not in (*PLUMBING, *getattr(module, "CURVE", ()))
            and not _number(value)
            and not _number(defaults.get(key))
            and _plain(value) != _plain(defaults.get(key))
        ):
            if key != "max_thinking_tokens":
                words.append(value if isinstance(value, str) else f"{key}={json.dumps(value)}")
    return name + (f"({', '.join(words)})" if words else "")


def _plain(value: Any) -> Any:
    """Sequences alike, whether a signature or a YAML file holds them."""
    return list(value) if isinstance(value, tuple) else value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def cell_id(cfg: DictConfig, method: Mapping[str, Any]) -> str:
    """Readable, safe in file names, and different for different settings: the last part is a hash of all that is keyed."""
    plain = {k: v for k, v in OmegaConf.to_container(cfg, resolve=True).items() if k not in NOT_KEYED}
    for group in ("engine", "data", "train", "distributed"):
        plain.pop(group, None)
    tail = blake2b(json.dumps([plain, cfg.engine.name], sort_keys=True, default=str).encode(), digest_size=4).hexdigest()
    return "-".join([cfg.model.name, cfg.task.name, method_name(method), tail])
