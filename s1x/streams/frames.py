"""Frames: the bytes in which the store keeps token streams, and the rule by which they are believed. No files here.

A frame is some tokens of one stream: a header (`HEAD`), `count` int32 ids and, with flag `LOGPROBS`, as many float16
log-probabilities, all little-endian. `parent` is the hash of all ids of the stream before `offset`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple
from zlib import crc32

HEAD = struct.Struct("<4s16s16sIIII")  # magic, key, parent, offset, count, flags, crc32 of the rest of the frame
MAGIC = b"s1x1"
LOGPROBS = 1
MISSING = b"\xff\xff"  # a float16 that no number packs to, not even NaN: this token's log-probability is not known
LOWEST = -65504.0  # of float16


def pack_ids(ids: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(ids)}i", *ids)


def unpack_ids(data: bytes | bytearray) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}i", data)


def pack_half(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}e", *(max(value, LOWEST) for value in values))


def unpack_half(data: bytes | bytearray) -> list[float]:
    return list(struct.unpack(f"<{len(data) // 2}e", data))


def half(logprobs: Sequence[float]) -> list[float]:
    """The values as the store gives them back: rounded to float16, no lower than its smallest number."""
    return unpack_half(pack_half(logprobs))


def id_hash(data: bytes | bytearray = b"") -> Any:
    """A running hash of packed ids (16-byte digest)."""
    return blake2b(data, digest_size=16)


class Frame(NamedTuple):
    parent: bytes
    offset: int
    ids: bytes
    logprobs: bytes  # empty if there are none

    @staticmethod
    def size(count: int, flags: int) -> int:
        """Bytes of a whole frame."""
        return HEAD.size + count * (6 if flags & LOGPROBS else 4)

    @classmethod
    def parse(cls, data: bytes) -> Frame | None:
        """The frame that `data` begins with; None if its checksum is wrong or its end is missing."""
        if len(data) < HEAD.size:
            return None
        _, _, parent, offset, count, flags, checksum = HEAD.unpack_from(data)
        middle, end = HEAD.size + 4 * count, cls.size(count, flags)
        if checksum != crc32(data[HEAD.size : end], crc32(data[: HEAD.size - 4])):
            return None
        return cls(parent, offset, data[HEAD.size : middle], data[middle:end])


@dataclass(slots=True)
class Draft:
    """A frame being filled; `parent` and `offset` are where it began."""

    parent: bytes
    offset: int
    ids: bytearray = field(default_factory=bytearray)
    logprobs: bytearray = field(default_factory=bytearray)
    flags: int = 0

    def add(self, ids: bytes, logprobs: bytes | None) -> None:
        self.ids += ids
        self.logprobs += MISSING * (len(ids) // 4) if logprobs is None else logprobs
        self.flags |= 0 if logprobs is None else LOGPROBS

    def pack(self, key: bytes) -> bytes:
        body = self.ids + self.logprobs if self.flags & LOGPROBS else self.ids
        head = HEAD.pack(MAGIC, key, self.parent, self.offset, len(self.ids) // 4, self.flags, 0)[:-4]
        return head + struct.pack("<I", crc32(body, crc32(head))) + body


class Chain:
    """Ids that some writer saw in one piece, grown frame by frame from nothing.

    Invariant: `ids` is the beginning of what the writer of the last taken frame had before it. So writers that disagree from
    some token on can never be mixed.
    """

    def __init__(self) -> None:
        self.ids, self.logprobs, self.hash = bytearray(), bytearray(), id_hash()

    def take(self, frame: Frame) -> bool:
        """Add what the frame adds: ids behind ours, or log-probabilities that we lack. False if nothing, or it does not fit."""
        start, end = 4 * frame.offset, 4 * frame.offset + len(frame.ids)
        fills = bool(frame.logprobs) and MISSING in self.logprobs[start // 2 : end // 2]
        if start > len(self.ids) or (end <= len(self.ids) and not fills):
            return False
        parent = self.hash if start == len(self.ids) else id_hash(self.ids[:start])
        shared = self.ids[start:end]
        if frame.parent != parent.digest() or not frame.ids.startswith(shared):
            return False
        new = frame.ids[len(shared) :]
        self.ids += new
        self.hash.update(new)
        if fills:
            self.logprobs[start // 2 : end // 2] = frame.logprobs
        else:
            self.logprobs += frame.logprobs[len(shared) // 2 :] or MISSING * (len(new) // 4)
        return True

    def contradicts(self, frame: Frame) -> bool:
        """Whether the writer of a frame saw other ids than these somewhere."""
        start, end = 4 * frame.offset, 4 * frame.offset + len(frame.ids)
        if start > len(self.ids):
            return False  # what lies between is missing
        shared = self.ids[start:end]
        return frame.parent != id_hash(self.ids[:start]).digest() or not frame.ids.startswith(shared)
