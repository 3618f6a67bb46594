"""What a model's generation_config.json says of sampling. Nothing here follows it: sampling is that of the configuration."""

from __future__ import annotations

from typing import Any

from ..files import read_json
from . import files

NEUTRAL: dict[str, float] = {  # what has the same effect as not to be there, beside temperature, top_p and top_k
    "min_p": 0,
    "typical_p": 1,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
    "repetition_penalty": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "no_repeat_ngram_size": 0,
}


def unused(model: str, revision: str | None, used: dict[str, float]) -> dict[str, Any]:
    """The values in the model's generation_config.json that differ from those `used` (temperature, top_p, top_k; top_k of 0 or
    -1: all tokens), and penalties. Empty where there is no such file."""
    try:
        said = read_json(files.locate(model, revision).folder / files.GENERATION)
    except FileNotFoundError:  # whoever needs the model says so
        return {}
    values = {key: said.get(key) for key in used | NEUTRAL} if isinstance(said, dict) else {}
    if values.get("top_k") == -1:
        values["top_k"] = 0
    return {key: value for key, value in values.items() if value not in (None, (used | NEUTRAL)[key])}
