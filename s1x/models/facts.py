"""Sizes of a model from its files alone: what memory, FLOPs and the length of streams are computed from."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from . import files

_GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
    "max_position_embeddings": "n_positions",
}


def model_facts(model: str, revision: str | None = None) -> dict[str, Any]:
    """Sizes from config.json and the weight headers.

    Keys: model_type, context_length (tokens), layers, hidden_size, intermediate_size (of the MLP), heads, kv_heads, head_dim,
    vocab_size (rows of the embedding, padding included), tied_embeddings, dtype (of the checkpoint), quantization (method or
    None), parameters (exact from safetensors headers of an unquantized checkpoint, else counted from the sizes for a gated-MLP
    decoder).
    """
    folder = files.locate(model, revision).folder
    config = files.config(folder)
    text = config.get("text_config", config)
    hidden, heads = _size(text, model, "hidden_size"), _size(text, model, "num_attention_heads")
    facts = {
        "model_type": config.get("model_type"),
        "context_length": _size(text, model, "max_position_embeddings"),
        "layers": _size(text, model, "num_hidden_layers"),
        "hidden_size": hidden,
        "heads": heads,
        "kv_heads": text.get("num_key_value_heads") or heads,
        "head_dim": text.get("head_dim") or hidden // heads,
        "vocab_size": _size(text, model, "vocab_size"),
        "intermediate_size": text.get("intermediate_size") or 4 * hidden,
    }
    facts["tied_embeddings"] = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    facts["dtype"] = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or "float32"
    facts["quantization"] = files.quantization(config)
    headers = [] if facts["quantization"] else [f for f in files.weights(folder) if f.suffix == ".safetensors"]
    facts["parameters"] = sum(map(_header_parameters, headers)) or _count_parameters(facts)
    return facts


def _size(config: dict[str, Any], model: str, name: str) -> int:
    """A size from config.json under its usual name or GPT-2's."""
    value = config.get(name) or config.get(_GPT2_NAMES.get(name, name))
    if not isinstance(value, int):
        raise ValueError(f"model.path={model}: config.json has no {name}; a decoder-only language model is needed.")
    return value


def _header_parameters(file: Path) -> int:
    """Elements in a safetensors file, from its header (8 bytes of length, then JSON)."""
    with file.open("rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _count_parameters(facts: dict[str, Any]) -> int:
    hidden, head_dim = facts["hidden_size"], facts["head_dim"]
    attention = hidden * head_dim * 2 * (facts["heads"] + facts["kv_heads"])
    mlp = 3 * hidden * facts["intermediate_size"]
    embeddings = facts["vocab_size"] * hidden * (1 if facts["tied_embeddings"] else 2)
    return facts["layers"] * (attention + mlp + 2 * hidden) + embeddings + hidden
