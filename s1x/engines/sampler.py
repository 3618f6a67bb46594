"""Draw next tokens from logits, with noise that depends on (noise key, position) alone.

The generator is counter-based: no state, so a stream draws the same noise however it is batched, resumed or reordered.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea, Flood 2014): the odd increment and the two multipliers, as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX2 = 0x94D049BB133111EB - (1 << 64)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX1
    x = (x ^ _shift(x, 27)) * _MIX2
    return x ^ _shift(x, 31)


def uniform(noise: Tensor, position: Tensor) -> Tensor:
    """Float64 in [0, 1) for int64 `noise` keys and absolute `position`s; 52 bits, the same on every device."""
    return _shift(_mix(_mix(noise + _GOLDEN) + position * _GOLDEN), 12).double() * 2.0**-52


def filtered(logits: Tensor, temperature: Tensor, top_p: Tensor, top_k: Tensor) -> Tensor:
    """[rows, vocabulary] float64 probabilities (each row up to a factor) after temperature, then top-k, then top-p.

    top_k = 0 and top_p = 1 keep everything. Among equal probabilities the lower id is kept first.
    """
    p = torch.softmax(logits.double() / temperature[:, None], dim=-1)
    if bool((top_k > 0).any()) or bool((top_p < 1).any()):
        values, order = p.sort(dim=-1, descending=True, stable=True)
        rank = torch.arange(p.shape[1], device=p.device)
        limit = torch.where(top_k > 0, top_k, p.shape[1])[:, None]
        values = values.masked_fill(rank >= limit, 0.0)
        before = values.cumsum(-1) - values
        # Kept while the mass of more likely tokens (of those top-k left) is below top_p; the first always stays.
        cut = (before >= top_p[:, None] * values.sum(-1, keepdim=True)) & (top_p[:, None] < 1) & (rank > 0)
        p = torch.zeros_like(p).scatter(1, order, values.masked_fill(cut, 0.0))
    return p


def draw(logits: Tensor, temperature: Tensor, top_p: Tensor, top_k: Tensor, noise: Tensor, position: Tensor) -> Tensor:
    """[rows] sampled ids: inverse of the cumulative distribution in float64 at `uniform(noise, position)`."""
    cumulative = filtered(logits, temperature, top_p, top_k).cumsum(-1)
    u = uniform(noise, position)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, u, right=True)[:, 0]


def logprob(logits: Tensor, ids: Tensor) -> Tensor:
    """[rows] log-probability of `ids` under the plain softmax of `logits` [rows, vocabulary]."""
    return logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(-1)


def top20(logits: Tensor) -> Tensor:
    """[rows] mean of -log p over the 20 likeliest ids of `logits` [rows, vocabulary]; of all where there are fewer."""
    return logits.logsumexp(-1) - logits.topk(min(20, logits.shape[1])).values.mean(-1)


def kl(logits: Tensor) -> Tensor:
    """[rows] KL(U || p) of the plain softmax p of `logits` [rows, vocabulary] from the uniform distribution U."""
    return logits.logsumexp(-1) - logits.mean(-1) - math.log(logits.shape[1])


CONFIDENCES = {"top20": top20, "kl": kl}


def confidences(logits: Tensor, asked: Sequence[Collection[str]]) -> list[dict[str, list[float]] | None]:
    """The measures that are `asked` of each row of `logits` [rows, vocabulary], as a list of one number each."""
    found: list[dict[str, list[float]] | None] = [None] * len(asked)
    for name in frozenset[str]().union(*asked):
        rows = [i for i, names in enumerate(asked) if name in names]
        of = logits if len(rows) == len(asked) else logits[rows]
        for i, value in zip(rows, CONFIDENCES[name](of).tolist(), strict=True):
            found[i] = {**(found[i] or {}), name: [value]}
    return found


def logprobs(logits: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """[pairs] log-probability of each of `ids` under the plain softmax of its row of `logits` [rows, vocabulary]."""
    return logits[rows, ids] - logits.logsumexp(-1)[rows]
