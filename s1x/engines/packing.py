"""From the state of the slots to the packed tokens of one model step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from .kv_cache import KVCache, Run, Span, Step
from .slots import SlotTable

_REPLAN_EVERY = 32  # steps after which unchanged rows are grouped anew
_ROWS_ASKED = 512  # logits for scorings in one step: 0.3 GB at a vocabulary of 150,000
_CALL_BYTES = {"cpu": 200e3, "cuda": 60e6}  # keys and values read in the time that one more attention call costs


class Pack(NamedTuple):
    """The tokens of one step. Each of `slots` gets a new id, from the logits at the first of `outputs`; the others are `asked`
    of slots that are read only, so many of each. `fed` counts tokens by slot.
    """

    step: Step
    tokens: np.ndarray  # [tokens]
    positions: np.ndarray  # [tokens]
    slots: np.ndarray  # [sampled]
    outputs: np.ndarray  # [sampled + asked]
    asked: list[tuple[int, int]]  # slot, how many outputs
    fed: np.ndarray  # [all slots]


class Packer:
    """Packs steps over `table` and `cache`; a step prefills at most `prefill` tokens, and asks for few logits besides those
    that draw an id: a row is as long as the vocabulary.

    position_bytes: keys and values of one position in one layer.
    """

    def __init__(self, table: SlotTable, cache: KVCache, prefill: int, position_bytes: int) -> None:
        self.table, self.cache, self.prefill = table, cache, prefill
        self._overhead = _CALL_BYTES[cache.device.type] / position_bytes
        self._key, self._age, self._ranges = b"", 0, []

    def pack(self, wanted: Mapping[int, np.ndarray]) -> Pack:
        """wanted: of slots that are read and draw nothing, after how many ids (rising) logits are asked for."""
        table = self.table
        pending = np.where(table.owner >= 0, table.known - table.cached, 0)
        decoding = pending == 1
        decoding[list(wanted)] = False
        spans = self._spans(np.where(decoding, 0, pending), wanted)
        lengths = np.where(decoding, table.cached + 1, 1)
        runs = [Run(a, b, int(lengths[a:b].max())) for a, b in self._group(lengths, decoding)]

        rows = np.concatenate([np.arange(r.first, r.last) for r in runs]) if runs else np.zeros(0, dtype=np.int64)
        real = decoding[rows]
        position = np.where(real, table.cached[rows], 0)
        tokens, positions = [np.where(real, table.ids[rows, position], 0)], [position]
        # Rows of slots that do not decode write to the scratch position.
        slots, places = [rows], [np.where(real, position, self.cache.length)]
        sampled, outputs = [rows[real]], [np.flatnonzero(real)]
        asked, asked_outputs = [], []
        fed, count = decoding.astype(np.int64), len(rows)
        for span in spans:
            end = span.start + span.length
            tokens.append(table.ids[span.slot, span.start : end])
            positions.append(np.arange(span.start, end))
            slots.append(np.full(span.length, span.slot))
            places.append(positions[-1])
            fed[span.slot] = span.length
            count += span.length
            if span.slot in wanted:
                at = wanted[span.slot]
                at = at[: np.searchsorted(at, end, side="right")]
                asked.append((span.slot, len(at)))
                asked_outputs.append(count - end + at - 1)
            elif end == table.known[span.slot]:
                sampled.append(np.array([span.slot]))
                outputs.append(np.array([count - 1]))
        slot, place = (torch.from_numpy(np.concatenate(x)).to(self.cache.device) for x in (slots, places))
        step = Step(self.cache, runs, lengths[rows], spans, slot, place)
        together = (np.concatenate(x) for x in (tokens, positions, sampled, outputs + asked_outputs))
        return Pack(step, *together, asked, fed)

    def _spans(self, pending: np.ndarray, wanted: Mapping[int, np.ndarray]) -> list[Span]:
        """Prefills, those taken first coming first, up to the bounds."""
        spans, left, rows = [], self.prefill, _ROWS_ASKED
        slots = np.flatnonzero(pending)
        for slot in slots[self.table.used[slots].argsort()].tolist():
            start = int(self.table.cached[slot])
            length = min(int(pending[slot]), left)
            if slot in wanted:
                at = wanted[slot]
                if rows < np.searchsorted(at, start + length, side="right"):
                    length = int(at[rows]) - 1 - start
                rows -= int(np.searchsorted(at, start + length, side="right"))
            if length > 0:
                spans.append(Span(slot, start, length))
                left -= length
        return spans

    def _group(self, lengths: np.ndarray, decoding: np.ndarray) -> list[tuple[int, int]]:
        """Ranges of slots that attend together; kept while the same slots decode, as their lengths grow alike."""
        key = decoding.tobytes()
        if key != self._key or self._age >= _REPLAN_EVERY:
            self._key, self._age, self._ranges = key, 0, partition(lengths, decoding, self._overhead)
        self._age += 1
        return self._ranges


def partition(lengths: np.ndarray, active: np.ndarray, overhead: float) -> list[tuple[int, int]]:
    """Cut the slots into runs that cost least: a run [first, last) costs `overhead` plus slots times its longest length.

    `lengths` and `active` are [slots]; slots outside all runs are inactive, those inside may be either. `overhead` is what one
    more attention call costs, in tokens of keys read. Exact, by dynamic programming over the slots.
    """
    n = len(lengths)
    if not active.any():
        return []
    longest = np.where(active, lengths, 0)
    cost = np.zeros(n + 1)
    begin = np.zeros(n + 1, dtype=np.int64)
    for end in range(1, n + 1):
        if not active[end - 1]:
            cost[end], begin[end] = cost[end - 1], end  # left out: costs nothing, and no run ends here
            continue
        tops = np.maximum.accumulate(longest[:end][::-1])
        total = cost[:end][::-1] + overhead + tops * np.arange(1, end + 1)
        k = int(total.argmin())
        cost[end], begin[end] = total[k], end - 1 - k
    runs, end = [], n
    while end > 0:
        first = int(begin[end])
        if first == end:
            end -= 1
            continue
        runs.append((first, end))
        end = first
    return runs[::-1]
