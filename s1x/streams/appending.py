"""Files that one process alone appends to: no locks, and nobody ever writes behind a torn tail."""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from io import FileIO
from pathlib import Path

from ..files import write_text
from .types import digest


class StoreError(OSError):
    """The store cannot be written; the message names `store.dir`."""


class OwnFile:
    """This process's file in the folder of a fingerprint.

    root: `store.dir`. suffix: says what the file holds. fsync: a flush returns when what it wrote is on the disk, file names
    included. `end` is how many bytes have arrived.
    """

    def __init__(self, root: Path, fingerprint: str, suffix: str, *, fsync: bool = False) -> None:
        self.root, self.fingerprint, self.suffix, self.fsync = Path(root), fingerprint, suffix, fsync
        self.directory = self.root / digest(fingerprint).hex()[:16]
        self.end = 0
        self.name = ""
        self._writer: FileIO | None = None
        self._out = bytearray()  # on its way

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to. Upkeep may have removed it while this process was held and taken for dead."""
        if self._writer is None:
            return False
        try:
            return os.fstat(self._writer.fileno()).st_nlink > 0 or (self.directory / self.name).exists()
        except OSError:  # a network's disk
            return False

    @property
    def pending(self) -> bool:
        """Whether something is buffered."""
        return bool(self._out)

    def append(self, data: bytes | bytearray) -> int:
        """Buffer `data`; returns the position in the file where it will begin."""
        self._out += data
        return self.end + len(self._out) - len(data)

    def flush(self) -> None:
        """Write what is buffered, with one write where the system takes it whole; makes the file if there is none (any
        more). Raises StoreError (disk full, ...); nothing is lost then, flush again."""
        if not self._out:
            return
        if not self.is_open:
            self.create()
        assert self._writer is not None
        fd = self._writer.fileno()
        try:
            while True:
                # The file itself knows what has arrived, even if a write was short or an interrupt came right behind it.
                arrived = os.fstat(fd).st_size - self.end
                if arrived >= len(self._out):
                    break
                os.write(fd, self._out[arrived:])
            if self.fsync:
                os.fsync(fd)
        except OSError as error:
            raise unwritable(self.root, error.strerror) from error
        self.end += arrived
        self._out = bytearray()  # after `end`: interrupted in between, all of it is written twice

    def create(self) -> str:
        """Make the file; returns its name, whose time stamp makes the order of files the same for every reader."""
        self.close()
        folder = self.directory.absolute()
        changed = [folder, *(new.parent for new in (folder, *folder.parents) if not new.exists())]  # that get new names
        now = time.time_ns()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}"
        host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:40]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not self._is_named(about := folder / "fingerprint.txt"):
                write_text(about, self.fingerprint + "\n")
            self.name, self.end = f"{stamp}-{host}-{os.getpid()}-{secrets.token_hex(4)}{self.suffix}", 0
            self._writer = FileIO(folder / self.name, "x")
            for place in changed if self.fsync else ():
                _fsync_folder(place)
        except OSError as error:
            raise unwritable(self.root, error.strerror) from error
        return self.name

    def _is_named(self, about: Path) -> bool:
        """Whether the file says whose folder this is. A disk that was full may have cut it off."""
        return about.exists() and about.read_text(encoding="utf-8", errors="replace").strip() == self.fingerprint.strip()

    def close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None


def unwritable(root: Path, reason: str | None) -> StoreError:
    return StoreError(f"store.dir={root} cannot be written ({reason}); give a directory where you may create files.")


def _fsync_folder(folder: Path) -> None:
    """Let the names in a folder survive a power cut: a file's own fsync does not cover them."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
