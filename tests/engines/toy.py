"""An engine of our own, as docs and tests make one: its five verbs, and a constructor that names what it wants of the rest."""

from __future__ import annotations

from itertools import count

from s1x.streams.engine import Chunk, Counters


class Parrot:
    """Says the last id of the prefix again and again, and then the first of the ids that end."""

    scores: frozenset[str] = frozenset()

    def __init__(self, *, stop_ids: tuple[int, ...], words: int = 3, context_length: int = 2048) -> None:
        self.stop_ids, self.words, self.context_length = stop_ids, words, context_length
        self.fingerprint, self.capacity, self.counters = f"parrot-{words}", 1000, Counters()
        self._handles, self._open = count(), {}

    def open(self, request):
        handle = next(self._handles)
        self._open[handle] = request
        return handle

    def score(self, request):
        raise NotImplementedError

    def poll(self):
        chunks = []
        for handle, request in self._open.items():
            ids = [*[request.prefix[-1]] * self.words, self.stop_ids[0]][: request.limit]
            self.counters.decoded += len(ids)
            chunks.append(Chunk(handle, ids, [0.0] * len(ids) if request.logprobs else None, True))
        self._open.clear()
        return chunks

    def cancel(self, handle):
        self._open.pop(handle, None)

    def close(self):
        self._open.clear()
