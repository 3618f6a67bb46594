"""Scores on disk: rows of float32, each under a content address of its own.

    with ScoreStore(Path("outputs/store"), fingerprint) as scores:
        scores.get(key)           # a row, or None
        scores.put(key, row)      # buffered
        scores.flush()            # one write; from here on a kill cannot take these rows away

They lie beside the streams of the same fingerprint, in files of their own, and obey the same rule: every process appends to one
file of its own, nobody writes behind a torn tail, and a record is believed only where its checksum is right. Rows are small, so
all of them are kept in memory. Where files disagree (floating-point ties) the first one in name order wins.
"""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path
from typing import Self
from zlib import crc32

from .appending import OwnFile
from .types import Row, digest

log = logging.getLogger(__name__)

SUFFIX = ".scores"
HEAD = struct.Struct("<4s16sII")  # magic, key, how many floats follow, crc32 of all else in the record
MAGIC = b"s1xr"
WIDEST = 1 << 16  # floats in a row


def pack(key: bytes, row: Row) -> bytes:
    body = struct.pack(f"<{len(row)}f", *row)
    return HEAD.pack(MAGIC, key, len(row), crc32(body, crc32(key))) + body


def read(data: bytes) -> tuple[list[tuple[bytes, Row]], bool, int]:
    """Keys and rows of whole records, whether any is damaged, and where they end (what follows is torn, or being written)."""
    rows: list[tuple[bytes, Row]] = []
    at, damaged = 0, False
    while len(data) - at >= HEAD.size:
        magic, key, count, checksum = HEAD.unpack_from(data, at)
        if magic != MAGIC or count > WIDEST:
            return rows, True, at
        body = data[at + HEAD.size : at + HEAD.size + 4 * count]
        if len(body) < 4 * count:
            break
        if checksum == crc32(body, crc32(key)):
            rows.append((key, struct.unpack(f"<{count}f", body)))
        else:
            damaged = True
        at += HEAD.size + 4 * count
    return rows, damaged, at


def rounded(row: Row) -> Row:
    """The row as the store gives it back."""
    return struct.unpack(f"<{len(row)}f", struct.pack(f"<{len(row)}f", *row))


class MemoryScores:
    """Rows that live and die with their process: for tests and `store.dir=null`."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}

    def get(self, key: bytes) -> Row | None:
        return self.rows.get(key)

    def put(self, key: bytes, row: Row) -> None:
        """Keep a row, as float32."""
        self.rows[key] = rounded(row)

    def refresh(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class ScoreStore(MemoryScores):
    """The rows of one model fingerprint under `directory`; not for use by several threads at once.

    Makes no file before the first flush, which raises StoreError where it cannot. writable=False: what is new is kept for this
    run alone.
    """

    def __init__(self, directory: Path, fingerprint: str, *, writable: bool = True, fsync: bool = False) -> None:
        super().__init__()
        self.directory = Path(directory) / digest(fingerprint).hex()[:16]
        self._file = OwnFile(directory, fingerprint, SUFFIX, fsync=fsync) if writable else None
        self._ends: dict[str, int] = {}  # bytes read of each file
        self._warned: set[str] = set()
        self.refresh()

    def put(self, key: bytes, row: Row) -> None:
        if key not in self.rows:
            if self._file:
                self._file.append(pack(key, row))
            super().put(key, row)  # then: who is interrupted in between writes it twice

    def flush(self) -> None:
        """Write what is buffered, with one write. Raises StoreError (disk full, ...); nothing is lost then, flush again."""
        if self._file:
            self._file.flush()

    def refresh(self) -> None:
        """Notice what other processes have written since the last look."""
        names = os.listdir(self.directory) if self.directory.is_dir() else []
        for name in sorted(name for name in names if name.endswith(SUFFIX)):
            if self._file is None or name != self._file.name:
                self._read(name)

    def close(self) -> None:
        """Flush and let go of the file."""
        self.flush()
        if self._file:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, name: str) -> None:
        at = self._ends.get(name, 0)
        try:
            with (self.directory / name).open("rb") as file:
                file.seek(at)
                data = file.read(HEAD.size)
                if len(data) < HEAD.size or (name in self._warned and read(data)[1]):
                    return  # nothing new, or no record still
                data += file.read()
        except OSError as error:
            self._warn(name, f"cannot be read ({error.strerror}); its scores are left out")
            return
        rows, damaged, end = read(data)
        for key, row in rows:
            self.rows.setdefault(key, row)
        self._ends[name] = at + end
        if damaged:
            self._warn(name, "is damaged; the scores there are left out")

    def _warn(self, name: str, what: str) -> None:
        """Once for each file: others' are looked at once a second."""
        if name not in self._warned:
            log.warning("The store's file %s %s.", self.directory / name, what)
        self._warned.add(name)
