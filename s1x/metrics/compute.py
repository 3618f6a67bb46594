"""What a trace costs: tokens and floating-point operations, from ids and model facts alone.

One token at position t costs 2 N operations for the weights and 4 layers x hidden x t for attention (scores and weighted
sum; Kaplan et al. 2020, section 2.1, counting a multiply-add as two). The figures are deterministic: batch size, caches and
hardware do not enter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelFacts:
    """`parameters`: weights a token passes through (input embedding left out, output head counted); `hidden`: query width."""

    parameters: int
    layers: int
    hidden: int


def forward_flops(facts: ModelFacts, tokens: int, context: int | None = None) -> int:
    """Operations to run `tokens` tokens through the model, in paths of `context` tokens each (default: one path of them all).

    Along one path of T tokens the mean position is (T - 1) / 2, so that prefilling and decoding cost the same.
    """
    context = tokens if context is None else context
    return 2 * facts.parameters * tokens + 2 * facts.layers * facts.hidden * max(context - 1, 0) * tokens


def written_tokens(line: dict[str, Any], *kinds: str) -> int:
    """Ids in a sample line's segments of the given kinds (of every kind when none is given)."""
    return sum(len(s["ids"]) for s in line["segments"] if not kinds or s["kind"] in kinds)


def line_flops(line: dict[str, Any], facts: ModelFacts) -> int:
    """Operations of one sample line, pool members included: prompt once, put-in ids, and every token decoded for it.

    Decoded tokens are the line's `path_tokens`, each of its streams once. Tokens that are in no segment (rejected tries,
    probes) count at the mean position of the paths that are.
    """
    paths = _paths(line)
    prompt = line.get("prompt_tokens", 0)
    put_in = sum(written_tokens(path, "injected", "delimiter") for path in paths)
    context = prompt + sum(written_tokens(path) for path in paths) // len(paths)
    return forward_flops(facts, prompt + put_in + line["path_tokens"], context)


def scored_flops(line: dict[str, Any], facts: ModelFacts) -> int:
    """Operations of the model that scored for one sample line: every token it read once, in paths as long as its chains."""
    paths = _paths(line)
    context = line.get("prompt_tokens", 0) + sum(written_tokens(path) for path in paths) // len(paths)
    return forward_flops(facts, line.get("scored_tokens", 0), context)


def _paths(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The samples of a pool, and what was written beside them; a line without samples is its own path."""
    samples = line.get("samples") or []
    return [*samples, line] if line["segments"] or not samples else samples
