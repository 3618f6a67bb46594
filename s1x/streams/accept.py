"""Stores that begin with what others hold: streams of other versions (`store.accept`), and a store that cannot be written.

Whoever mixes versions says so. What such a run writes goes to a folder of its own, named after all that it may hold, so that
tokens of one version never turn up among those of another; the folders it reads from stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from .memory import MemoryStore
from .store import Store, Stored, StoreError
from .types import Read

log = logging.getLogger(__name__)

JOINT = "+"


def open_store(directory: Path, fingerprint: str, accept: Sequence[str] = (), fsync: bool = False) -> Store | MemoryStore:
    """The store of an engine, which also reads what `accepted` finds. One that is there and cannot be written is read."""
    others = accepted(directory, fingerprint, accept)
    try:
        kind = partial(Accepting, others=others) if others else Store
        return kind(directory, fingerprint, fsync=fsync)
    except StoreError as error:
        if not directory.is_dir():
            raise
        log.warning("%s Until then it is only read: what this run generates is kept for this run alone.", error)
        return Borrowing({source: Store(directory, source, writable=False) for source in (fingerprint, *others)})


def accepted(directory: Path, fingerprint: str, accept: Sequence[str]) -> list[str]:
    """Fingerprints of the store whose streams may stand in for those of `fingerprint`: of the same weights, tokenizer and
    settings (the last part of both), and named by an entry of `accept`.

    An entry is an engine with its version (`vllm-0`: with the same dtype), a fingerprint, or the name of a folder in the store.
    Raises ValueError for one that the store knows nothing of.
    """
    folders = {
        about.parent.name: about.read_text(encoding="utf-8", errors="replace").strip()
        for about in directory.glob("*/fingerprint.txt")
    }
    folders = {name: found for name, found in folders.items() if JOINT not in found}
    _, _, rest = fingerprint.partition("/")
    chosen: dict[str, None] = {}
    for entry in accept:
        named = [found for name, found in folders.items() if entry in (name, found)]
        if not named and not any(found.startswith(f"{entry}/") for found in folders.values()):
            there = ", ".join(sorted({found.partition("/")[0] for found in folders.values()})) or "nothing"
            raise ValueError(
                f"store.accept={entry}: the store {directory} has no such streams; it has those of {there} (an engine with its "
                "version, a whole fingerprint, or the name of a folder there will do)"
            )
        named += [found for found in folders.values() if found == f"{entry}/{rest}"]
        chosen |= dict.fromkeys(found for found in named if found.rpartition("/")[2] == rest.rpartition("/")[2])
    chosen.pop(fingerprint, None)
    if accept:
        log.info("store.accept: streams are also read of %s.", ", ".join(chosen) or "nothing: none are of this model's files")
    return list(chosen)


class Accepting(Store):
    """The store of a run that mixes: a stream it does not have begins with the longest that its sources have."""

    def __init__(self, directory: Path, fingerprint: str, *, others: Sequence[str], fsync: bool = False) -> None:
        super().__init__(directory, JOINT.join((fingerprint, *others)), fsync=fsync)
        self._sources = {source: Store(directory, source) for source in (fingerprint, *others)}  # only read

    def inherit(self, key: bytes, read: Read) -> Stored | None:
        """What the sources have of a stream, kept here as well, so that what follows can be appended."""
        return _inherit(self, self._sources, key, read)

    def close(self) -> None:
        super().close()
        for store in self._sources.values():
            store.close()


class Borrowing(MemoryStore):
    """The store of a run that may write nowhere: begins with what its sources have, and forgets the rest when it ends."""

    def __init__(self, sources: Mapping[str, Store]) -> None:
        super().__init__()
        self._sources = sources

    def inherit(self, key: bytes, read: Read) -> Stored | None:
        return _inherit(self, self._sources, key, read)

    def close(self) -> None:
        for store in self._sources.values():
            store.close()


def _inherit(into: Store | MemoryStore, sources: Mapping[str, Store], key: bytes, read: Read) -> Stored | None:
    found = [stored for source, store in sources.items() if (stored := store.load(read.key(source)))]
    longest = max(found, key=lambda stored: len(stored.ids), default=None)
    if longest is not None:
        into.append(key, longest.ids, longest.logprobs, longest.confidences)
    return longest
