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
        confidences, kept = confidences or {}, self.streams.setdefault(key, Kept(array("i"), []))
        for name in confidences:
            kept.confidences.setdefault(name, array("f", [nan]) * len(kept.ids))
        for name, column in kept.confidences.items():
            column.extend(confidences.get(name) or [nan] * len(ids))
        kept.ids.extend(ids)
        kept.logprobs = None if logprobs is None or kept.logprobs is None else kept.logprobs + list(logprobs)

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
