"""Which token ids each slot of a KV cache holds, and which slot a new stream should take.

Everything here is bookkeeping in numpy on the CPU; the tensors live in kv_cache.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Match(NamedTuple):
    """The slot that shares the longest leading run with a prefix, and that run's length in tokens."""

    slot: int
    length: int


class SlotTable:
    """Per slot: its ids, how many of them are `known` (cached, or waiting to be fed) and how many are `cached` in the KV cache.

    A slot with `known == cached + 1` decodes, one with more to feed is being prefilled. A slot without an owner is idle: its
    ids stay as a reusable prefix until another stream overwrites them.
    """

    def __init__(self, slots: int, length: int) -> None:
        self.ids = np.zeros((slots, length), dtype=np.int64)
        self.known = np.zeros(slots, dtype=np.int64)
        self.cached = np.zeros(slots, dtype=np.int64)
        self.owner = np.full(slots, -1, dtype=np.int64)  # a stream's handle, -1 when idle
        self.used = np.zeros(slots, dtype=np.int64)  # when it was last taken or freed, by a clock that counts these
        self._clock = 0

    def grow(self, length: int) -> None:
        """Make room for `length` ids per slot."""
        extra = length - self.ids.shape[1]
        if extra > 0:
            self.ids = np.pad(self.ids, ((0, 0), (0, extra)))

    def keep(self, slots: np.ndarray) -> None:
        """Drop all other slots and number these anew, in the given order."""
        self.ids, self.known, self.cached = self.ids[slots], self.known[slots], self.cached[slots]
        self.owner, self.used = self.owner[slots], self.used[slots]

    def idle(self) -> np.ndarray:
        return np.flatnonzero(self.owner < 0)

    def shared(self, prefix: np.ndarray) -> np.ndarray:
        """[slots]: length of the leading run of known ids that each slot shares with `prefix`."""
        n = min(len(prefix), self.ids.shape[1])
        same = self.ids[:, :n] == prefix[:n]
        run = np.where(same.all(axis=1), n, same.argmin(axis=1)) if n else np.zeros(len(self.owner), dtype=np.int64)
        return np.minimum(run, self.known)

    def best(self, prefix: np.ndarray, reusable: int) -> tuple[Match, int]:
        """The best cached match of `prefix` (idle slots win ties), and the longest run once pending prefills are done.

        `reusable`: how many ids may count as cached; those behind must be fed, as their logits are asked for.
        """
        run = self.shared(prefix)
        cached = np.minimum(np.minimum(run, self.cached), reusable)
        slot = int((cached * 2 + (self.owner < 0)).argmax())
        return Match(slot, int(cached[slot])), min(int(run.max()), reusable)

    def choose(self, match: Match, needed: np.ndarray) -> int:
        """The idle slot a stream should take, when its prefix is best matched by `match`.

        `needed` [slots] is how many of each slot's ids waiting streams still hope to reuse. In order: run on in the matched
        slot if nobody needs what would be overwritten; else the least recently used slot that nobody needs; else the matched
        slot; else the least recently used one. There is always an answer while one slot is idle, so streams never deadlock.
        """
        idle = self.idle()
        in_place = match.length > 0 and self.owner[match.slot] < 0
        if in_place and needed[match.slot] <= match.length:
            return match.slot
        free = idle[needed[idle] == 0]
        if in_place and not len(free):
            return match.slot
        candidates = free if len(free) else idle
        return int(candidates[self.used[candidates].argmin()])

    def take(self, slot: int, owner: int, prefix: np.ndarray, cached: int) -> None:
        """Give `slot` to `owner`: `prefix` is known, its first `cached` ids are in the KV cache."""
        self.grow(len(prefix))
        self.ids[slot, : len(prefix)] = prefix
        self.known[slot], self.cached[slot], self.owner[slot] = len(prefix), cached, owner
        self._tick(slot)

    def append(self, slots: np.ndarray, tokens: np.ndarray) -> None:
        """Add one known id to each of `slots`."""
        if self.known[slots].max() >= self.ids.shape[1]:
            self.grow(2 * self.ids.shape[1])
        self.ids[slots, self.known[slots]] = tokens
        self.known[slots] += 1

    def free(self, slot: int) -> None:
        """The owner is done; what is cached stays."""
        self.owner[slot], self.known[slot] = -1, self.cached[slot]
        self._tick(slot)

    def _tick(self, slot: int) -> None:
        self._clock += 1
        self.used[slot] = self._clock


@dataclass(eq=False)
class Stream:
    """An open stream, or a scoring that is read like a prefix; `best` is the slot it hopes to reuse while it waits."""

    handle: int
    request: Any  # Open or Scoring
    prefix: np.ndarray
    best: Match = Match(0, 0)
    slot: int = -1
    produced: int = 0
    wanted: np.ndarray | None = None  # of a scoring: after how many ids its next rows come

    @property
    def reusable(self) -> int:
        """How many ids may come out of a cache; behind them come logits."""
        return len(self.prefix) - 1 if self.wanted is None else int(self.wanted[0]) - 1

    @property
    def rank(self) -> tuple:
        """Its place in the queue."""
        return self.request.priority, -len(self.prefix), self.handle
