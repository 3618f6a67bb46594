"""Frames: the bytes in which the store keeps token streams, and the rule by which they are believed. No files here.

A frame is some tokens of one stream: a header (`HEAD`), `count` int32 ids and, for each kind of number (`KINDS`) whose flag is
set, as many of these, all little-endian. `parent` is the hash of all ids of the stream before `offset`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import isnan
from typing import Any, NamedTuple
from zlib import crc32

HEAD = struct.Struct("<4s16s16sIIII")  # magic, key, parent, offset, count, flags, crc32 of the rest of the frame
MAGIC = b"s1x1"
LOWEST = -65504.0  # of float16
_ONE = struct.Struct("<e")


class Kind(NamedTuple):
    """A kind of number beside the ids. `missing` packs no number, not even NaN: that of this token is not known."""

    flag: int
    code: str  # of struct
    width: int  # bytes
    missing: bytes


KINDS = {  # types.Number
    "logprob": Kind(1, "e", 2, b"\xff\xff"),
    "top20": Kind(2, "f", 4, b"\xff\xff\xff\xff"),
    "kl": Kind(4, "f", 4, b"\xff\xff\xff\xff"),
}
_WIDTHS = [4 + sum(kind.width for kind in KINDS.values() if flags & kind.flag) for flags in range(8)]  # bytes of a token
Packed = Mapping[str, bytes | bytearray]  # numbers by kind


def pack_ids(ids: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(ids)}i", *ids)


def unpack_ids(data: bytes | bytearray) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}i", data)


def pack_half(values: Sequence[float]) -> bytes:
    if values and min(values) < LOWEST:
        values = [max(value, LOWEST) for value in values]
    return struct.pack(f"<{len(values)}e", *values)


def pack_single(values: Sequence[float]) -> bytes:
    """float32; not-a-number where one is missing."""
    if any(map(isnan, values)):
        return b"".join(b"\xff\xff\xff\xff" if isnan(value) else struct.pack("<f", value) for value in values)
    return struct.pack(f"<{len(values)}f", *values)


def unpack_half(data: bytes | bytearray) -> list[float]:
    return list(struct.unpack(f"<{len(data) // 2}e", data))


def half(logprobs: Sequence[float]) -> list[float]:
    """The values as the store gives them back: rounded to float16, no lower than its smallest number."""
    if len(logprobs) == 1:  # as most come
        return [*_ONE.unpack(_ONE.pack(max(logprobs[0], LOWEST)))]
    return unpack_half(pack_half(logprobs))


def pack(values: Mapping[str, Sequence[float]]) -> Packed:
    """Numbers of each kind."""
    return {name: pack_half(column) if name == "logprob" else pack_single(column) for name, column in values.items()}


def unpack(name: str, data: bytes | bytearray) -> tuple[float, ...]:
    """The numbers of a kind; not-a-number where one is missing."""
    kind = KINDS[name]
    return struct.unpack(f"<{len(data) // kind.width}{kind.code}", data)


def id_hash(data: bytes | bytearray = b"") -> Any:
    """A running hash of packed ids (16-byte digest)."""
    return blake2b(data, digest_size=16)


class Frame(NamedTuple):
    parent: bytes
    offset: int
    ids: bytes
    numbers: Packed

    @staticmethod
    def size(count: int, flags: int) -> int:
        """Bytes of a whole frame."""
        return HEAD.size + count * _WIDTHS[flags & 7]

    @classmethod
    def parse(cls, data: bytes) -> Frame | None:
        """The frame that `data` begins with; None if its checksum is wrong or its end is missing."""
        if len(data) < HEAD.size:
            return None
        _, _, parent, offset, count, flags, checksum = HEAD.unpack_from(data)
        at, end = HEAD.size + 4 * count, cls.size(count, flags)
        if checksum != crc32(data[HEAD.size : end], crc32(data[: HEAD.size - 4])):
            return None
        ids, numbers = data[HEAD.size : at], {}
        for name, kind in KINDS.items():
            if flags & kind.flag:
                numbers[name] = data[at : at + kind.width * count]
                at += kind.width * count
        return cls(parent, offset, ids, numbers)


@dataclass(slots=True)
class Draft:
    """A frame being filled; `parent` and `offset` are where it began."""

    parent: bytes
    offset: int
    ids: bytearray = field(default_factory=bytearray)
    numbers: dict[str, bytearray] = field(default_factory=dict)

    def add(self, ids: bytes, numbers: Packed) -> None:
        """What comes next, with the numbers that are known of all of it. The ids come last and say what counts: numbers of an
        `add` that was interrupted are written over."""
        count = len(self.ids) // 4
        for name, given in numbers.items():
            if name not in self.numbers:
                self.numbers[name] = bytearray(KINDS[name].missing * count)
            self.numbers[name][KINDS[name].width * count :] = given
        if len(numbers) < len(self.numbers):
            for name in self.numbers.keys() - numbers.keys():
                self.numbers[name][KINDS[name].width * count :] = KINDS[name].missing * (len(ids) // 4)
        self.ids += ids

    def pack(self, key: bytes) -> bytes:
        body, count, flags = bytes(self.ids), len(self.ids) // 4, 0
        for name, kind in KINDS.items():
            if name in self.numbers:
                body += self.numbers[name][: kind.width * count]
                flags |= kind.flag
        head = HEAD.pack(MAGIC, key, self.parent, self.offset, count, flags, 0)[:-4]
        return head + struct.pack("<I", crc32(body, crc32(head))) + body


class Chain:
    """Ids that some writer saw in one piece, grown frame by frame from nothing.

    Invariant: `ids` is the beginning of what the writer of the last taken frame had before it. So writers that disagree from
    some token on can never be mixed.
    """

    def __init__(self) -> None:
        self.ids, self.hash = bytearray(), id_hash()
        self.numbers: dict[str, bytearray] = {}

    def take(self, frame: Frame) -> bool:
        """Add what the frame adds: ids behind ours, or numbers that we lack. False if nothing, or it does not fit."""
        start, end = 4 * frame.offset, 4 * frame.offset + len(frame.ids)
        fills = [name for name in frame.numbers if self._lacks(name, frame)] if start < len(self.ids) else []
        if start > len(self.ids) or (end <= len(self.ids) and not fills):
            return False
        parent = self.hash if start == len(self.ids) else id_hash(self.ids[:start])
        shared = self.ids[start:end]
        if frame.parent != parent.digest() or not frame.ids.startswith(shared):
            return False
        before, new = len(self.ids) // 4, frame.ids[len(shared) :]
        self.ids += new
        self.hash.update(new)
        for name, given in frame.numbers.items():
            width = KINDS[name].width
            if name not in self.numbers:
                self.numbers[name] = bytearray(KINDS[name].missing * before)
            if name in fills:
                self.numbers[name][width * frame.offset : width * frame.offset + len(given)] = given
            else:
                self.numbers[name] += given[width * len(shared) // 4 :]
        for name in self.numbers.keys() - frame.numbers.keys():
            self.numbers[name] += KINDS[name].missing * (len(new) // 4)
        return True

    def contradicts(self, frame: Frame) -> bool:
        """Whether the writer of a frame saw other ids than these somewhere."""
        start, end = 4 * frame.offset, 4 * frame.offset + len(frame.ids)
        if start > len(self.ids):
            return False  # what lies between is missing
        shared = self.ids[start:end]
        return frame.parent != id_hash(self.ids[:start]).digest() or not frame.ids.startswith(shared)

    def _lacks(self, name: str, frame: Frame) -> bool:
        """Whether a number is not known here of some id that both have."""
        if name not in self.numbers:
            return True
        width, first = KINDS[name].width, KINDS[name].width * frame.offset
        return KINDS[name].missing in self.numbers[name][first : first + width * len(frame.ids) // 4]
