"""Files that one process alone appends to: no locks, and nobody ever writes behind a torn tail."""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from io import FileIO
from pathlib import Path

from .types import digest


class StoreError(OSError):
    """The store cannot be written; the message names `store.dir`."""


class OwnFile:
    """This process's file in the folder of a fingerprint, made by the first flush.

    root: `store.dir`. suffix: says what the file holds. `end` is how many bytes have arrived.
    """

    def __init__(self, root: Path, fingerprint: str, suffix: str) -> None:
        self.root, self.fingerprint, self.suffix = Path(root), fingerprint, suffix
        self.name, self.end = "", 0
        self._writer: FileIO | None = None
        self._out = bytearray()  # on its way

    def append(self, data: bytes | bytearray) -> int:
        """Buffer `data`; returns the position in the file where it will begin."""
        self._out += data
        return self.end + len(self._out) - len(data)

    def flush(self) -> None:
        """Write what is buffered, with one write where the system takes it whole. Raises StoreError (disk full, ...); nothing
        is lost then, flush again."""
        try:
            while self._out:
                writer = self._writer or self._create()
                # The file itself knows what has arrived, even if a write was short or an interrupt came right behind it.
                size = os.fstat(writer.fileno()).st_size
                self._out, self.end = self._out[size - self.end :], size
                if self._out:
                    os.write(writer.fileno(), self._out)
        except OSError as error:
            raise unwritable(self.root, error.strerror) from error

    def close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None

    def _create(self) -> FileIO:
        """The name's time stamp makes the order of files the same for every reader."""
        directory = self.root / digest(self.fingerprint).hex()[:16]
        directory.mkdir(parents=True, exist_ok=True)
        if not (about := directory / "fingerprint.txt").exists():
            about.write_text(self.fingerprint + "\n", encoding="utf-8")
        now = time.time_ns()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}"
        host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:40]
        self.name, self.end = f"{stamp}-{host}-{os.getpid()}-{secrets.token_hex(4)}{self.suffix}", 0
        self._writer = FileIO(directory / self.name, "x")
        return self._writer


def unwritable(root: Path, reason: str | None) -> StoreError:
    return StoreError(f"store.dir={root} cannot be written ({reason}); give a directory where you may create files.")
