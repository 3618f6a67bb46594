"""A store that lives and dies with its process: for tests, benchmarks and `store.dir=null`."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import nan

from .store import Stored
from .types import Read


@dataclass
class Kept:
    ids: array
    logprobs: list[float] | None
    confidences: dict[str, array] = field(default_factory=dict)  # as Stored has them


class MemoryStore:
    def __init__(self) -> None:
        self.streams: dict[bytes, Kept] = {}

    def load(self, key: bytes) -> Kept | None:
        return self.streams.get(key)

    def inherit(self, key: bytes, read: Read) -> Kept | Stored | None:
        """What other stores have of a stream that this one has not."""
        return None

    def append(self, key: bytes, ids, logprobs=None, confidences=None) -> None:
        old, given = self.streams.get(key) or Kept(array("i"), []), confidences or {}
        columns = {
            name: old.confidences.get(name, array("f", [nan]) * len(old.ids)) + array("f", given.get(name) or [nan] * len(ids))
            for name in old.confidences | given
        }
        both = None if logprobs is None or old.logprobs is None else [*old.logprobs, *logprobs]
        self.streams[key] = Kept(old.ids + array("i", ids), both, columns)  # all at once: an interrupt tears nothing

    def end(self, key: bytes) -> int:
        """Where the next append goes."""
        return len(self.streams[key].ids) if key in self.streams else 0

    def restart(self, key: bytes) -> None:
        """Let the next append begin at position 0 again."""
        self.streams.pop(key, None)

    def grown(self, key: bytes) -> bool:
        """Whether others have written more: there are no others."""
        return False

    def apart(self, keys: Iterable[bytes]) -> int:
        """How many of the streams have two continuations: none, with one writer."""
        return 0

    def refresh(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
