"""A hash-function "language model" for tests and scheduler benchmarks: deterministic, instant, no dependencies.

The next token is a hash of everything before it (and, when sampling, of the noise key and the position), so it does not
matter how a stream was batched, resumed or shared. Log-probabilities depend on the token alone, measures of confidence on what
stands before it.
"""

from __future__ import annotations

import math
from itertools import count

from ..streams.engine import Chunk, Counters, Open, Rows, Scoring
from ..streams.types import CONFIDENCES, Ids, Sampling
from .common import check_scoring

_MASK = (1 << 64) - 1


def logprob(token: int) -> float:
    return -float(token % 7) / 4


def _number(state: int, salt: int) -> float:
    """A hash from -5 to 0."""
    h = (state ^ (salt + 1) * 0xBF58476D1CE4E5B9) & _MASK
    return -float(((h ^ (h >> 31)) * 0x94D049BB133111EB & _MASK) >> 44) / (1 << 20) * 5


_LEAST = {"top20": math.log(20), "kl": 0.0}  # that any distribution has
_SALTS = {"top20": -2, "kl": -3}  # beside those of labels, which are ids


class ScriptedEngine:
    """`tokens_per_poll` tokens for each of up to `capacity` streams per poll, served by (priority, arrival).

    ends: stop tokens and their chances per 10,000 tokens (None: each of `stop_ids` with `end_chance`).
    """

    confidences = frozenset(CONFIDENCES)
    scores = frozenset({"labels", "next", "head"}) | confidences
    outputs = 2  # of its value head

    def __init__(
        self,
        *,
        vocab: int = 1000,
        first_id: int = 0,
        ends: dict[int, int] | None = None,
        stop_ids: tuple[int, ...] = (),
        end_chance: int = 50,
        context_length: int = 1 << 20,
        capacity: int = 64,
        tokens_per_poll: int = 1,
        seed: int = 0,
    ):
        self.ends = dict.fromkeys(stop_ids, end_chance) if ends is None else dict(ends)
        self.vocab, self.first_id, self.seed = vocab, first_id, seed
        self.context_length, self.capacity, self.tokens_per_poll = context_length, capacity, tokens_per_poll
        self.fingerprint = f"scripted-{seed}-{vocab}-{first_id}-{sorted(self.ends.items())}"
        self.counters = Counters(starts=1)
        self._handles = count()
        self._scorings: dict[int, Scoring] = {}
        self._queue: list[tuple[tuple[int, ...], int, _Active]] = []
        self._active: dict[int, _Active] = {}

    def open(self, request: Open) -> int:
        handle = next(self._handles)
        self._queue.append((request.priority, handle, _Active(self, request)))
        return handle

    def cancel(self, handle: int) -> None:
        self._scorings.pop(handle, None)
        if self._active.pop(handle, None) is None:
            self._queue = [entry for entry in self._queue if entry[1] != handle]

    def score(self, request: Scoring) -> int:
        check_scoring(request, self.scores, self.context_length)
        handle = next(self._handles)
        self._scorings[handle] = request
        return handle

    def poll(self, wait: float = 1.0) -> list[Chunk | Rows]:
        if self._queue and len(self._active) < self.capacity:
            self._queue.sort(key=lambda entry: entry[:2])
            free = self.capacity - len(self._active)
            for _, handle, active in self._queue[:free]:
                self._active[handle] = active
                self.counters.prefill += active.position
            del self._queue[:free]
        chunks: list[Chunk | Rows] = []
        for handle, request in self._scorings.items():
            self.counters.scored += request.at[-1]
            chunks.append(Rows(handle, self.rows(request), True))
        self._scorings.clear()
        for handle, active in list(self._active.items()):
            sure: dict[str, list[float]] = {name: [] for name in active.request.confidences}
            ids, done = active.take(self.tokens_per_poll, sure)
            self.counters.decoded += len(ids)
            if done:
                del self._active[handle]
            chunks.append(Chunk(handle, ids, [*map(logprob, ids)] if active.request.logprobs else None, done, sure or None))
        return chunks

    def close(self) -> None:
        self._active.clear()
        self._queue.clear()
        self._scorings.clear()

    def rows(self, request: Scoring) -> list[tuple[float, ...]]:
        """What it says of the ids of a scoring: hashes of what was read."""
        if request.of == "next":
            return [(logprob(request.ids[n]),) for n in request.at]
        salts = range(self.outputs) if request.of == "head" else request.of
        rows, reader, read = [], _Active(self, Open((), 0)), 0
        for n in request.at:
            for token in request.ids[read:n]:
                reader.push(token)
            read = n
            if isinstance(salts, str):
                rows.append((reader.confidence(salts),))
            else:
                rows.append(tuple(_number(reader.state, salt) for salt in salts))
        return rows

    def confidence(self, name: str, ids: Ids) -> float:
        """The model's confidence in what follows `ids`."""
        return _Active(self, Open(ids, 1)).confidence(name)

    def next_token(self, ids: Ids, sampling: Sampling = Sampling(), forbidden: frozenset[int] = frozenset()) -> int:
        """The model itself, one token at a time: what follows `ids`."""
        return _Active(self, Open(ids, 1, sampling)).draw(forbidden)


class _Active:
    """A rolling hash over the ids of one stream."""

    def __init__(self, engine: ScriptedEngine, request: Open):
        self.engine, self.request = engine, request
        self.state = engine.seed + 0x9E3779B97F4A7C15
        for i in request.prefix:
            self.push(i)
        self.position, self.made = len(request.prefix), 0

    def push(self, token: int) -> None:
        self.state = (self.state * 6364136223846793005 + token + 1442695040888963407) & _MASK

    def draw(self, forbidden: frozenset[int] = frozenset()) -> int:
        noise, engine = self.request.sampling.noise, self.engine
        h = self.state if noise is None else self.state ^ ((noise + self.position * 0xBF58476D1CE4E5B9) & _MASK)
        while True:
            h = ((h ^ (h >> 29)) * 0x94D049BB133111EB) & _MASK
            low = (h >> 40) % 10_000
            token = engine.first_id + (h >> 17) % engine.vocab
            for stop, chance in engine.ends.items():
                if low < chance:
                    token = stop
                    break
                low -= chance
            if token not in forbidden:
                return token

    def confidence(self, name: str) -> float:
        return _LEAST[name] - _number(self.state, _SALTS[name])

    def take(self, n: int, sure: dict[str, list[float]]) -> tuple[list[int], bool]:
        """Up to `n` ids, and whether these were the last; adds to `sure` the confidences at each."""
        request, ids = self.request, []
        room = self.engine.context_length - len(request.prefix)
        limit = min(request.limit, room)
        while len(ids) < n and self.made < limit:
            banned = request.forbid.ids if request.forbid and self.made < request.forbid.first else frozenset()
            token = self.draw(banned)
            for name, values in sure.items():
                values.append(self.confidence(name))
            self.push(token)
            self.position += 1
            self.made += 1
            ids.append(token)
            if token in request.stop_ids:
                return ids, True
        return ids, self.made >= limit
