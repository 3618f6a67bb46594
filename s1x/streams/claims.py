"""Claims: which of several runs on one store generates the streams of a question.

They decide who works, never what is right: a run that has lost a claim without knowing generates tokens twice, and the store
takes them (store.py). A claim is on a root prompt and is held until all methods under way on it have ended. It is taken where
the first request to an engine would open (what is stored needs none), in the order claim, refresh, load; and let go in the
order flush, release. Who does not get it reads on from the store once a second. Holders wait for nobody: there is no cycle.

A claim is a file `claims/<key>.<n>`, made by whoever can (O_EXCL); it names its owner (presence.py). n + 1 is free once the
owner of n has written " done" or is dead; nobody removes a claim while runs are at work, and the last one to leave tidies up. A
run that is alone makes no files: it says that everything is its own, and the others wait until it has noticed them, within a
second.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from .appending import StoreError
from .presence import MAINTENANCE, Presence
from .store import Store
from .types import Ids, digest

log = logging.getLogger(__name__)

FOLDER = "claims"
LOOK = 1.0  # seconds between two looks at what others have generated, and at whether their claims are free
DONE = b" done"
EVERYTHING, NOT_SAID, STARVES = "everything", "?", "starves"  # what a run says of what it wants
SPARED = 1.5  # times what is fair may be held while nobody starves: a question that moves is read anew
UNWRITTEN = -1  # the number of a claim that is held without a file


class Claims:
    """The claims of one run on the streams of `fingerprint` in the store `root`. `held`: root -> n. `epoch` grows whenever what
    is held now may have been somebody else's, who wrote: the store is to be looked at before anything of it is asked for."""

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.root, self.fingerprint = Path(root), fingerprint
        self.directory = self.root / FOLDER
        self.held: dict[bytes, int] = {}
        self.epoch = 0
        self._presence = Presence(self.root, self._beat)
        self._lock = threading.RLock()
        self._alone = False  # everything is ours
        self._barred = False  # everything is another one's, which has not noticed us yet
        self._off = False  # the disk will not: we do what we need
        self._wanted: set[bytes] = set()  # roots for which requests are to open, those that are held included
        self._denied: set[bytes] = set()  # in this round
        self._leaving: dict[bytes, int] = {}  # to be let go when all is flushed
        self._next: dict[bytes, int] = {}  # the lowest n that is worth trying
        self._interests: tuple[dict[str, str], list[frozenset[str] | None]] = ({}, [])
        self._share: int | None = None
        self._last: tuple[Ids, bytes] = ((), digest("root", fingerprint, ()))

    @property
    def others(self) -> int:
        """How many other runs are at work on the store."""
        return len(self._presence.live)

    def key(self, prompt: Ids) -> bytes:
        """What claims on a root prompt are made under. (The cells of a question ask one after the other.)"""
        if prompt != self._last[0]:
            self._last = prompt, digest("root", self.fingerprint, prompt)
        return self._last[1]

    def open(self) -> None:
        """Join in. Raises StoreError while somebody rewrites the store's files."""
        try:
            others = self._presence.enter(EVERYTHING)
            if MAINTENANCE in others.values():
                self._presence.leave()
                raise StoreError(f"store.dir={self.root}: its files are being rewritten (stage=store); wait until that ends")
            self.epoch += 1  # others may have been here since the store was opened
            self._alone, self._barred = not others, EVERYTHING in others.values()
            if others:
                self._presence.say(NOT_SAID)
        except StoreError:
            raise
        except OSError as error:
            self._give_up(error)

    def want(self, roots: Iterable[bytes]) -> None:
        """Requests for these are about to open: what is fair is reckoned with all of them."""
        before = len(self._wanted)
        with self._lock:
            self._wanted.update(roots)
            if len(self._wanted) != before:
                self._share = None

    def take(self, root: bytes) -> bool:
        """Whether requests for `root` may open: it is held, or taken now. What is denied is tried again in the next round."""
        if root in self.held or self._off:
            return True
        with self._lock:
            if root in self._denied:
                return False
            if root in self._leaving:
                self.held[root] = self._leaving.pop(root)
            elif self._alone:
                self.held[root] = UNWRITTEN
            elif self._barred or len(self.held) >= self.share() or not self._make(root):
                if not self._off:
                    self._denied.add(root)
                    return False
        return True

    def share(self) -> int:
        """How many claims are fair: every root for which requests are to open, divided by those who want it."""
        if self._share is None:
            self._share = math.ceil(sum(1 / (1 + self._rivals(root)) for root in self._wanted))
        return self._share

    def ended(self, root: bytes) -> None:
        """No method under way needs anything more of `root`."""
        with self._lock:
            self._wanted.discard(root)
            self._share = None
            if root in self.held:
                self._leaving[root] = self.held.pop(root)

    def settle(self) -> None:
        """All that was received is flushed: let go of what is not needed any more."""
        if not self._leaving:
            return
        with self._lock:
            for root, n in self._leaving.items():
                self._write_done(root, n)
            self._leaving.clear()

    def look(self) -> set[bytes]:
        """Begin a new round. Returns roots that are not held any more, whose requests are to be stopped: others have a right to
        them, or may have had them while this process was stopped."""
        if not self._denied and not self.others and not self._presence.woke.is_set():
            return set()
        with self._lock:
            self._denied.clear()
            self._share = None
            given: list[bytes] = []
            if self._presence.woke.is_set():  # others may have had all of it meanwhile, and may be gone again
                self._presence.woke.clear()
                self.epoch += 1
                given = list(self.held)
            elif not self._alone and len(self.held) > (1 if self._starving() else SPARED) * self.share():
                given = list(self.held)[self.share() :]
                self._denied.update(given)
            self._leaving |= {root: self.held.pop(root) for root in given}
            return set(given)

    def close(self) -> None:
        """Leave: whatever is held is free. The last one takes the files away."""
        with self._lock:
            self.held.clear()
            self._leaving.clear()
            self._wanted.clear()
            self._alone = False
        try:
            found = os.listdir(self.directory) if self.directory.is_dir() else []  # before leaving, as in presence.py
            if self._presence.leave() and found:
                for name in sorted(found, reverse=True):  # of one root the highest number first
                    (self.directory / name).unlink(missing_ok=True)
                self.directory.rmdir()
        except OSError as error:
            log.debug("claims", exc_info=error)

    def _rivals(self, root: bytes) -> int:
        """How many others want `root`. Who has not said yet what it wants counts."""
        live = self._presence.live
        if self._interests[0] is not live:
            said = [None if words in (NOT_SAID, EVERYTHING) else frozenset(words.split()) for words in live.values()]
            self._interests = live, said
        short = _short(root)
        return sum(wants is None or short in wants for wants in self._interests[1])

    def _starving(self) -> bool:
        """Whether another run has less than half of what is fair."""
        return any(words.startswith(STARVES) for words in self._presence.live.values())

    def _beat(self) -> None:
        """Called once a second by the thread that keeps this run present."""
        with self._lock:
            live = self._presence.live
            barred, self._barred = self._barred, EVERYTHING in live.values()
            self.epoch += barred and not self._barred  # what it generated meanwhile, it did without claims
            if self._alone and live:  # not any more: write down what is ours, then say that the rest is free
                for root in [*self.held, *self._leaving]:
                    held = self.held if root in self.held else self._leaving
                    if held[root] == UNWRITTEN and (n := self._create(root)) is not None:
                        held[root] = n
                self._alone = False
                if any(n == UNWRITTEN for n in self.held.values()):
                    self._presence.woke.set()
                self._presence.say(NOT_SAID)
            elif live and not self._off:
                starves = len(self.held) < min(len(self._wanted), self.share()) / 2
                self._presence.say(" ".join([STARVES if starves else "wants", *sorted(map(_short, self._wanted))]))

    def _make(self, root: bytes) -> bool:
        n = self._create(root)
        if n is None:
            return False
        self.held[root] = n
        return True

    def _create(self, root: bytes) -> int | None:
        """Make the next claim file on `root`; returns its number, None where somebody has it."""
        n = self._next.get(root, 0)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    file = os.open(self._path(root, n), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                except FileExistsError:
                    self._next[root] = n
                    if not self._free(root, n):
                        return None
                    n += 1
                    continue
                try:
                    os.write(file, self._presence.token.encode())
                finally:
                    os.close(file)
                self.epoch += n > 0
                return n
        except OSError as error:
            self._give_up(error)
            return None

    def _free(self, root: bytes, n: int) -> bool:
        """Whether its owner has let go of a claim, or is dead."""
        try:
            with self._path(root, n).open("rb") as file:
                owner, written = file.read(), os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return True  # tidied away a moment ago
        if not owner:  # between making and naming it
            return self._presence.old(written)
        name = owner.decode(errors="replace")
        return owner.endswith(DONE) or name == self._presence.token or not self._presence.alive(name)

    def _write_done(self, root: bytes, n: int) -> None:
        if n == UNWRITTEN:
            return
        try:
            file = os.open(self._path(root, n), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(file, DONE)
            finally:
                os.close(file)
        except OSError as error:
            log.debug("claims", exc_info=error)  # the others have it when this run ends

    def _path(self, root: bytes, n: int) -> Path:
        return self.directory / f"{root.hex()}.{n}"

    def _give_up(self, error: OSError) -> None:
        if not self._off:
            self._off = True
            log.warning(
                "store.dir=%s: runs that share it cannot tell one another what they generate (%s); what several of them need "
                "is generated by each.",
                self.root,
                error.strerror,
            )


def claims_on(store: object) -> Claims | None:
    """The claims of a run that generates into `store`; None where nobody else can see it."""
    return Claims(store.root, store.fingerprint) if isinstance(store, Store) else None


def _short(root: bytes) -> str:
    return root[:8].hex()
