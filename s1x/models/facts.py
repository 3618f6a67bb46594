"""Sizes of a model from its files alone: what memory, FLOPs and the length of streams are computed from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from . import files, weights

_GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
_CONTEXT_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_YARN = ("yarn", "deepseek_yarn")
_SCALED = ("su", "longrope", "llama3", "deepseek_llama_scaling")  # the context that config.json states is the scaled one


def model_facts(model: str, revision: str | None = None, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Sizes from config.json (with `overrides` in place of what stands there) and the weight headers.

    Keys: model_type, context_length (tokens), longest_context (what max_model_len may ask for), rope (types of scaled rotary
    embeddings), layers, hidden_size, intermediate_size (of the MLP), heads, kv_heads, head_dim, vocab_size (rows of the
    embedding, padding included), tied_embeddings, dtype (of the checkpoint), quantization (method or None), parameters (exact
    from safetensors headers of an unquantized checkpoint, each weight once, else counted from the sizes for a gated-MLP
    decoder). Raises FileNotFoundError or ValueError with one sentence.
    """
    folder = files.locate(model, revision).folder
    config = {**files.config(folder), **(overrides or {})}
    text = config.get("text_config", config)
    hidden, heads = _size(text, model, "hidden_size"), _size(text, model, "num_attention_heads")
    facts = {
        "model_type": config.get("model_type"),
        "layers": _size(text, model, "num_hidden_layers"),
        "hidden_size": hidden,
        "heads": heads,
        "kv_heads": text.get("num_key_value_heads") or heads,
        "head_dim": text.get("head_dim") or hidden // heads,
        "vocab_size": _size(text, model, "vocab_size"),
        "intermediate_size": text.get("intermediate_size") or 4 * hidden,
    }
    facts |= _context(config, text, model)
    facts["tied_embeddings"] = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    facts["dtype"] = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or "float32"
    facts["quantization"] = files.quantization(config)
    shapes: dict[str, int] = {}
    try:
        for file in [] if facts["quantization"] else files.checkpoint(folder):
            shapes |= {name: math.prod(tensor["shape"]) for name, tensor in weights.header(file).items()}
    except ValueError:  # a damaged file is named by whoever loads it (weights.py)
        shapes = {}
    facts["parameters"] = sum(shapes.values()) or _count_parameters(facts, _mlp_width(text, facts["intermediate_size"]))
    return facts


def _mlp_width(text: dict[str, Any], dense: int) -> int:
    """The width of a layer's MLP, of all its experts together."""
    experts = text.get("num_experts") or text.get("num_local_experts") or text.get("n_routed_experts")
    if not experts:
        return dense
    one = text.get("moe_intermediate_size") or dense
    shared = text.get("shared_expert_intermediate_size") or (text.get("n_shared_experts") or 0) * one
    return experts * one + shared


def _context(config: dict[str, Any], text: dict[str, Any], model: str) -> dict[str, Any]:
    """Positions that a model takes, as vLLM 0.32 derives them from config.json: scaled rotary embeddings reach `factor` times
    as far, unless the stated number has that in it already; longrope keeps to its original length unless more is asked for.

    Of YaRN vLLM 0.32 takes the number to be scaled; Qwen's instructions leave it as it was, so here the larger one counts.
    """
    stated = [n for name in _CONTEXT_NAMES if isinstance(n := text.get(name), int)]
    if not stated:
        raise ValueError(
            f"model.path={model}: config.json has no {_CONTEXT_NAMES[0]}; a decoder-only language model is needed."
        )
    longest = text["model_max_length"] if isinstance(text.get("model_max_length"), int) else min(stated)
    rope, factor = _rope(text), 1.0
    kinds = {kind for kind, _ in rope}
    for kind, given in rope:  # layers that are scaled are scaled alike
        scale = given.get("factor") or 1.0
        if kind in _YARN:
            longest = max(longest, int((given.get("original_max_position_embeddings") or longest) * scale))
        elif kind not in _SCALED and "gemma3" not in str(config.get("model_type")):
            factor = max(factor, scale)
    longest = int(longest * factor)
    original = config.get("original_max_position_embeddings") or text.get("original_max_position_embeddings")
    usual = original if "longrope" in kinds and original else longest
    return {"context_length": usual, "longest_context": longest, "rope": sorted(kinds - {"default"})}


def _rope(text: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The settings of rotary embeddings with their type, one for all layers or one for each type of layer."""
    given = text.get("rope_parameters") or text.get("rope_scaling") or {}
    nested = [value for value in given.values() if isinstance(value, dict)]
    return [(str(one.get("rope_type") or one.get("type") or "default"), one) for one in nested or [given]]


def _size(config: dict[str, Any], model: str, name: str) -> int:
    """A size from config.json under its usual name or GPT-2's."""
    value = config.get(name) or config.get(_GPT2_NAMES.get(name, name))
    if not isinstance(value, int):
        raise ValueError(f"model.path={model}: config.json has no {name}; a decoder-only language model is needed.")
    return value


def _count_parameters(facts: dict[str, Any], mlp_width: int) -> int:
    hidden, head_dim = facts["hidden_size"], facts["head_dim"]
    attention = hidden * head_dim * 2 * (facts["heads"] + facts["kv_heads"])
    mlp = 3 * hidden * mlp_width
    embeddings = facts["vocab_size"] * hidden * (1 if facts["tied_embeddings"] else 2)
    return facts["layers"] * (attention + mlp + 2 * hidden) + embeddings + hidden
