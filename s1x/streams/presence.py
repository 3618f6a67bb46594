"""Who is at work on a store: a file in `owners` for each run, whose age says whether it lives.

    presence = Presence(Path("outputs/store"))
    others = presence.enter("?")     # what the others say, by their tokens
    presence.say("...")              # what they read of this one
    presence.leave()

A thread touches the file and looks at the others once a second, also while the main thread loads a model. Dead is whoever has
no file, whose process is gone from this host, or whose file is 40 s older than one's own: both times are the file server's. Who
was stopped that long may go on, so nothing here may be relied on for what is right, only for who works.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..processes import alive, here, started

log = logging.getLogger(__name__)

BEAT = 1.0  # seconds between two touches
DEAD = 40.0  # seconds
FOLDER = "owners"
MAINTENANCE = "maintenance"  # what a process says that rewrites files of the store


class Presence:
    """This run's file in the store `root`, once it has entered. `live`: what others say, as of the last look. `woke`: set when
    this process was stopped for so long that others may have taken it for dead. `on_beat` is called by the thread."""

    def __init__(self, root: Path, on_beat: Callable[[], None] = lambda: None) -> None:
        self.directory = Path(root) / FOLDER
        self.token = secrets.token_hex(8)
        self.live: dict[str, str] = {}
        self.woke = threading.Event()
        self._on_beat = on_beat
        self._words = ""
        self._touched = 0.0  # mtime of the own file
        self._doubt = 0.0  # until then (monotonic) age proves nothing: the others may have been stopped as well
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def enter(self, words: str) -> dict[str, str]:
        """Make the file, look at the others, and go on doing so. Returns `live`. Raises OSError where it cannot be made."""
        self._words = words
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write()
        self._touched = os.stat(self._file).st_mtime
        self._look()
        self._end.clear()
        self._thread = threading.Thread(target=self._run, name="s1x-presence", daemon=True)
        self._thread.start()
        return self.live

    def say(self, words: str) -> None:
        if words != self._words:
            self._words = words
            self._write()

    def leave(self) -> bool:
        """Take the file away, and where nobody else is left those of the dead and the folder. Returns whether nobody is."""
        self._end.set()
        if self._thread:
            self._thread.join(5)  # no longer: a disk may hang
        self._thread = None
        try:
            self._file.unlink(missing_ok=True)
            found = os.listdir(self.directory)  # before the look: whoever comes later is not among them
            if self.others():
                return False
            held = self.everyone()
            for name in found:
                if name not in held:
                    (self.directory / name).unlink(missing_ok=True)
            if not held:
                self.directory.rmdir()
        except OSError as error:
            log.debug("presence", exc_info=error)  # a file that is left grows old
        return True

    def others(self) -> dict[str, str]:
        """Look at the others now; returns `live`."""
        self._look()
        return self.live

    def everyone(self) -> dict[str, str]:
        """What the others say, those included that others take for dead though their process is there, on this host: they are
        held (SIGSTOP, a debugger), and may go on."""
        tokens = [token for token in os.listdir(self.directory) if token != self.token]
        return {token: words for token in tokens if (words := self._words_of(token, held=True)) is not None}

    def alive(self, token: str) -> bool:
        """Whether another run is there, as of now."""
        return token in self.live or self._words_of(token) is not None

    def old(self, seconds: float) -> bool:
        """Whether an mtime is so much older than the own file's that whoever wrote then may be dead."""
        return self._touched - seconds > DEAD and time.monotonic() > self._doubt

    @property
    def _file(self) -> Path:
        return self.directory / self.token

    def _run(self) -> None:
        while not self._end.wait(BEAT):
            try:
                self._touch()
                self._look()
                self._on_beat()
            except OSError as error:
                log.debug("presence", exc_info=error)  # a full or absent disk: the run itself will say so

    def _touch(self) -> None:
        try:
            os.utime(self._file)
        except FileNotFoundError:  # this process was taken for dead, and has been tidied away
            self.directory.mkdir(parents=True, exist_ok=True)
            self._write()
        touched = os.stat(self._file).st_mtime
        if touched - self._touched > DEAD / 4:
            self._doubt = time.monotonic() + 3 * BEAT
            self.woke.set()
        self._touched = touched

    def _write(self) -> None:
        """In place, and over what is there first: who and where this is can be read at any time."""
        data = f"{here()} {os.getpid()} {started(os.getpid())}\n{self._words}\n".encode()
        file = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.pwrite(file, data, 0)
            os.ftruncate(file, len(data))
        finally:
            os.close(file)

    def _look(self) -> None:
        tokens = sorted(os.listdir(self.directory))
        said = {token: words for token in tokens if token != self.token and (words := self._words_of(token)) is not None}
        self.live = said

    def _words_of(self, token: str, held: bool = False) -> str | None:
        """What another one says; None of a dead one. held: a process of this host that is there is not dead, however old its
        file. That is opened, so that a network's disk says what is true now."""
        try:
            file = os.open(self.directory / token, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            written, data = os.fstat(file).st_mtime, b""
            while part := os.read(file, 1 << 20):
                data += part
        finally:
            os.close(file)
        who, _, words = data.decode(errors="replace").partition("\n")
        host, _, process = who.partition(" ")
        pid, _, start = process.partition(" ")
        local = host == here() and pid.isdigit()
        gone = local and not alive(int(pid), f"{host} {start}")
        if gone or (self.old(written) and not (held and local)):
            return None
        return words.strip("\n")
