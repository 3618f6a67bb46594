"""A static KV cache of slots, and the attention over it that every Hugging Face causal LM can be told to use.

A model step is one packed sequence [1, tokens]: first the *rows* (one token per slot, decoded together), then the *spans*
(several tokens of one slot: prefill). Attention is the only place where tokens meet, so it alone knows about slots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NAME = "s1x_slots"


class Span(NamedTuple):
    """Tokens `start` .. `start + length` of `slot`, fed in one go."""

    slot: int
    start: int
    length: int


class Run(NamedTuple):
    """Slots `first` .. `last` (exclusive), one row each, that attend together over `longest` positions."""

    first: int
    last: int
    longest: int


@dataclass
class Step:
    """Where the tokens of one model step belong: first the rows of all runs, then the spans."""

    cache: KVCache
    runs: list[Run]
    lengths: np.ndarray  # [rows]: how many positions a row sees, its own included
    spans: list[Span]
    slot: Tensor  # [tokens]: where keys and values are written
    position: Tensor  # [tokens]
    _masks: dict[tuple, Tensor] = field(default_factory=dict)

    def row_mask(self, run: Run, offset: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """Additive [rows, 1, 1, longest] for the rows of `run`, the first of which is row `offset` of the step."""
        key = (run, window)
        if key not in self._masks:
            device = self.slot.device
            lengths = torch.from_numpy(self.lengths[offset : offset + run.last - run.first]).to(device)[:, None]
            position = torch.arange(run.longest, device=device)
            hidden = position >= lengths
            if window is not None:
                hidden |= position < lengths - window
            mask = torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, float("-inf"))
            self._masks[key] = mask[:, None, None, :]
        return self._masks[key]

    def span_mask(self, span: Span, window: int | None) -> Tensor:
        """Boolean [length, start + length]: causal, and within the window."""
        key = (span, window)
        if key not in self._masks:
            end = span.start + span.length
            query = torch.arange(span.start, end, device=self.slot.device)[:, None]
            position = torch.arange(end, device=self.slot.device)
            seen = position <= query
            self._masks[key] = seen if window is None else seen & (position > query - window)
        return self._masks[key]


class KVCache:
    """Keys and values [slots, kv_heads, length + 1, head_dim] per layer, allocated at the first step.

    The last position is scratch space: rows of idle slots inside a run write there.
    """

    def __init__(self, slots: int, length: int, device: torch.device) -> None:
        self.slots, self.length, self.device = slots, length, device
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def resize(self, keep: np.ndarray, length: int) -> None:
        """Keep the slots `keep`, renumbered in that order, with room for `length` positions each."""
        kept = torch.from_numpy(keep).to(self.device)
        for layer, pair in self._layers.items():  # one layer at a time: the old and the new cache never exist side by side
            self._layers[layer] = tuple(self._resized(old, kept, length) for old in pair)
        self.slots, self.length = len(keep), length

    def _resized(self, old: Tensor, kept: Tensor, length: int) -> Tensor:
        new = old.new_zeros(len(kept), old.shape[1], length + 1, old.shape[3])
        new[:, :, : self.length] = old[kept, :, : self.length] if len(kept) < self.slots else old[:, :, : self.length]
        return new

    def copy(self, source: int, target: int, length: int) -> None:
        for tensors in self._layers.values():
            for tensor in tensors:
                tensor[target, :, :length] = tensor[source, :, :length]

    def _layer(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if layer not in self._layers:
            # Zeros, not garbage: a masked position still takes part as 0 * value.
            self._layers[layer] = tuple(x.new_zeros(self.slots, x.shape[1], self.length + 1, x.shape[3]) for x in (key, value))
        return self._layers[layer]

    def attend(
        self, layer: int, step: Step, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """Write `key`, `value` [1, kv_heads, tokens, d], attend with `query` [1, heads, tokens, d] -> [1, tokens, heads, d]."""
        keys, values = self._layer(layer, key, value)
        kv_heads = keys.shape[1]
        keys[step.slot, :, step.position] = key[0].transpose(0, 1)
        values[step.slot, :, step.position] = value[0].transpose(0, 1)
        heads, out, offset = query.shape[1], [], 0
        for run in step.runs:
            n = run.last - run.first
            # A group of query heads shares one key head: its heads become query rows, so keys are never repeated.
            q = query[0, :, offset : offset + n].view(kv_heads, heads // kv_heads, n, -1).permute(2, 0, 1, 3)
            k, v = (x[run.first : run.last, :, : run.longest] for x in (keys, values))
            o = F.scaled_dot_product_attention(q, k, v, attn_mask=step.row_mask(run, offset, window, q.dtype), scale=scaling)
            out.append(o.reshape(n, heads, -1))
            offset += n
        for span in step.spans:
            end = span.start + span.length
            causal = span.start == 0 and (window is None or end <= window)
            o = F.scaled_dot_product_attention(
                query[:, :, offset : offset + span.length],
                keys[span.slot : span.slot + 1, :, :end],
                values[span.slot : span.slot + 1, :, :end],
                attn_mask=None if causal else step.span_mask(span, window),
                is_causal=causal,
                scale=scaling,
                enable_gqa=heads != kv_heads,
            )
            out.append(o[0].transpose(0, 1))
            offset += span.length
        return torch.cat(out)[None] if len(out) > 1 else out[0][None]


def attention(module, query, key, value, attention_mask=None, *, step: Step, scaling=None, sliding_window=None, **options):
    """transformers' attention interface over the slots of `step.cache`; shapes as in KVCache.attend."""
    for name in ("softcap", "s_aux"):  # soft-capped scores, attention sinks
        if options.get(name) is not None:
            raise NotImplementedError(
                f"{type(module).__name__} uses attention with {name}, which engine=transformers lacks; use engine=vllm."
            )
    return step.cache.attend(module.layer_idx, step, query, key, value, scaling, sliding_window), None
