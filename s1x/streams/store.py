"""The stream store: where token streams live on disk, addressed by content.

    with Store(Path("outputs/store"), fingerprint) as store:
        stored = store.load(key)                  # Stored(ids, logprobs, confidences), or None
        store.append(key, new_ids, new_logprobs)  # buffered; continues what this process knows of the stream
        store.flush()                             # one write; from here on a kill cannot take these tokens away

Every process writes one append-only file of its own, a row of frames (frames.py), so there are no locks, and nobody ever writes
behind a torn tail. A frame is believed only where its parent hash and every overlapping id match: whatever several writers on
several hosts did, what is read is the beginning of something that one of them saw in one piece. Where they disagree
(floating-point ties) the first file in name order wins, so all readers agree.

What damage costs: a kill tears at most the last frame of a file, which the scan sees by its length. The scan trusts lengths
and looks at no payload (startup stays fast); `load` checks the checksum, so a damaged frame is never returned. A header that
is none ends its file until a later `refresh`. Killing a process loses nothing that was flushed; a power cut may lose the newest
frames, unless each flush waits until they are on the disk (fsync).
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from .appending import OwnFile, StoreError, unwritable
from .frames import HEAD, KINDS, MAGIC, Chain, Draft, Frame, id_hash, pack, pack_ids, unpack, unpack_ids
from .types import Ids, Read, digest

log = logging.getLogger(__name__)

SUFFIX = ".streams"
FLUSH_BYTES = 1 << 20  # buffered tokens are written at the latest when they fill this many bytes
READ_BYTES = 1 << 13  # one read gets most frames whole
OPEN_FILES = 64  # read handles kept open
POSITION = 40  # bits of a location that hold the byte position; the file's number stands above them


class Stored(NamedTuple):
    """A stream's first tokens. `logprobs` (as rounded by `frames.half`) is None when any token lacks one. `confidences`
    (float32), by measure, are not-a-number where one lacks it."""

    ids: Ids
    logprobs: list[float] | None
    confidences: Mapping[str, Sequence[float]] = MappingProxyType({})


@dataclass(slots=True)
class _File:
    name: str
    end: int = 0  # bytes of whole frames that we know of; of one's own those that are on their way, too
    warned: bool = False


@dataclass(slots=True)
class _Tail:
    """What this process knows of a stream: length, hash of all ids, and the frames it is made of (not the ids)."""

    tokens: int = 0
    hash: Any = field(default_factory=id_hash)
    path: array[int] = field(default_factory=lambda: array("Q"))
    known: int = 0  # frames in the index, those that do not fit included

    def behind(self, draft: Draft) -> _Tail:
        """The tail that this one becomes with a draft, of which it may have the beginning."""
        new, hash = draft.ids[4 * (self.tokens - draft.offset) :], self.hash.copy()
        hash.update(new)
        return _Tail(self.tokens + len(new) // 4, hash, self.path, self.known + 1)


class Store:
    """The streams of one model fingerprint under `directory`. Not for use by several threads at once.

    Raises StoreError at once if `directory` cannot be written, unless it is opened to be read only (writable=False); makes no
    file before the first flush. fsync: a flush returns when what it wrote is on the disk, file names included.
    """

    def __init__(self, directory: Path, fingerprint: str, *, writable: bool = True, fsync: bool = False) -> None:
        self.root = Path(directory)
        self.directory = self.root / digest(fingerprint).hex()[:16]
        self.fingerprint = fingerprint
        self._files: list[_File] = []
        self._numbers: dict[str, int] = {}
        self._index: dict[bytes, array[int]] = defaultdict(lambda: array("Q"))  # key -> locations of its frames
        self._tails: dict[bytes, _Tail] = {}
        self._apart: dict[bytes, tuple[int, bool]] = {}  # as of so many frames
        self._drafts: dict[bytes, Draft] = {}
        self._draft_bytes = 0
        self._file = OwnFile(self.root, fingerprint, SUFFIX, fsync=fsync)
        self._own: _File | None = None  # what readers know of it
        self._readers: dict[int, FileIO] = {}
        if writable:
            self._check_writable()
        self.refresh()

    @property
    def bytes_written(self) -> int:
        """Bytes that this process has put into the store."""
        return self._file.end

    def load(self, key: bytes) -> Stored | None:
        """All that is stored of a stream, None if nothing is. Sees own appends, and other writers up to the last refresh.

        A later load never takes back or changes what this process was shown or has written before; it may be longer. The
        next append goes behind what is returned here, so do not load a stream whose new tokens are still on their way.
        """
        if key in self._drafts or self._file.pending:
            self.flush()
        if not self._index.get(key):
            return None
        chain, path, apart = self.follow(key)
        if not chain.ids:  # nothing can be appended behind what is not there any more
            self._tails.pop(key, None)
            return None
        self._tails[key] = _Tail(len(chain.ids) // 4, chain.hash, path, len(self._index[key]))
        self._apart[key] = len(self._index[key]), apart
        numbers = dict(chain.numbers)
        logprobs = numbers.pop("logprob", KINDS["logprob"].missing)
        whole = None if KINDS["logprob"].missing in logprobs else list(unpack("logprob", logprobs))
        return Stored(unpack_ids(chain.ids), whole, {name: unpack(name, column) for name, column in numbers.items()})

    def keys(self) -> list[bytes]:
        """All streams of which anything is stored."""
        return list(self._index)

    def follow(self, key: bytes) -> tuple[Chain, array[int], bool]:
        """The stream as this process is to see it, the frames it is made of, and whether others contradict it."""
        chain, path = Chain(), array("Q")
        known = self._tails[key].path if key in self._tails else ()
        others = sorted(self._index.get(key, ()), key=lambda at: (self._files[at >> POSITION].name, at))
        frames = {at: frame for at in dict.fromkeys([*known, *others]) if (frame := self._frame(at))}
        while used := [at for at, frame in frames.items() if chain.take(frame)]:
            path.extend(used)
            for at in used:
                del frames[at]
        return chain, path, any(chain.contradicts(frame) for frame in frames.values())

    def grown(self, key: bytes) -> bool:
        """Whether a load might say more than the last one and what this process has appended since."""
        known = self._tails[key].known if key in self._tails else 0
        return len(self._index.get(key, ())) > known

    def apart(self, keys: Iterable[bytes]) -> int:
        """How many of the streams have two continuations: writers at the same time whose model (an engine whose numbers depend
        on what else it computes) went on differently. Each reader keeps to one of them."""
        self.flush()
        self.refresh()
        return sum(self._is_apart(key) for key in keys) if len(self._files) > 1 else 0

    def inherit(self, key: bytes, read: Read) -> Stored | None:
        """What other stores have of a stream that this one has not: nothing (accept.py has stores that ask others)."""
        return None

    def end(self, key: bytes) -> int:
        """Where the next append goes: so many tokens of the stream this process has loaded or appended."""
        if draft := self._drafts.get(key):
            return draft.offset + len(draft.ids) // 4
        return self._tails[key].tokens if key in self._tails else 0

    def append(
        self,
        key: bytes,
        ids: Sequence[int],
        logprobs: Sequence[float] | None = None,
        confidences: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Continue a stream behind what this process knows of it: what `load` returned (nothing if it was not asked), then
        its own appends. Buffered until `flush`, or until about 1 MiB is waiting. Numbers: one for each id, or none; a
        confidence that is not known may be not-a-number.

        Interrupted anywhere (Ctrl-C), it has kept all of them or none, as `end` says; so has `flush`, which may write twice."""
        values = {} if logprobs is None else {"logprob": logprobs}
        if confidences:
            values.update(confidences)
        for name, column in values.items():
            if len(column) != len(ids):
                what = "log-probabilities" if name == "logprob" else f"confidences ({name})"
                raise ValueError(f"{len(ids)} ids came with {len(column)} {what}; give one for each id, or none.")
        if not len(ids):
            return
        packed, numbers = pack_ids(ids), pack(values)
        draft = self._drafts.get(key)
        if draft is None:
            tail = self._tails.setdefault(key, _Tail())
            draft = Draft(tail.hash.digest(), tail.tokens)
            self._draft_bytes += HEAD.size
        draft.add(packed, numbers)
        self._drafts[key] = draft
        self._draft_bytes += len(packed) + sum(map(len, numbers.values()))
        if self._draft_bytes >= FLUSH_BYTES:
            self.flush()

    def restart(self, key: bytes) -> None:
        """Let the next append begin at position 0 again: how a stream that was stored without some numbers gets them.

        What is stored stays; `load` fills in numbers from frames that agree with it.
        """
        if key in self._drafts:
            self.flush()
        self._tails[key] = _Tail()

    def flush(self) -> None:
        """Write what is buffered, with one write. Raises StoreError (disk full, ...); nothing is lost then, flush again."""
        if not self._drafts and not self._file.pending:
            return
        if not self._file.is_open:
            if self._own:
                self._believe_again()
            self._file.create()
        if self._own is None or self._own.name != self._file.name:
            self._own = self._register(self._file.name)
        number = self._numbers[self._own.name] << POSITION
        for key, draft in list(self._drafts.items()):
            data, tail = draft.pack(key), self._tails[key]
            at = self._file.append(data)
            self._own.end = at + len(data)
            self._index[key].append(number | at)
            tail.path.append(number | at)
            self._tails[key] = tail.behind(draft)  # all at once: an interrupt leaves the one or the other
            del self._drafts[key]
        self._draft_bytes = 0
        self._file.flush()

    def refresh(self) -> None:
        """Notice what other processes have written since the last look."""
        names = os.listdir(self.directory) if self.directory.is_dir() else []
        for name in sorted(name for name in names if name.endswith(SUFFIX)):
            file = self._files[self._numbers[name]] if name in self._numbers else self._register(name)
            if file is not self._own:
                self._scan(file)

    def close(self) -> None:
        """Flush and let go of all files."""
        self.flush()
        self._file.close()
        self._close_readers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _believe_again(self) -> None:
        """The own file was taken away while this process was held. Streams that the files there do not hold as far as this
        process knew them are forgotten: nothing can go behind what is not there, and who has the tokens appends them anew."""
        self._close_readers()
        self.refresh()
        for key, tail in list(self._tails.items()):
            if id_hash(self.follow(key)[0].ids[: 4 * tail.tokens]).digest() != tail.hash.digest():
                self._drafts.pop(key, None)
                del self._tails[key]

    def _is_apart(self, key: bytes) -> bool:
        places = self._index.get(key, ())
        if key not in self._apart or self._apart[key][0] != len(places):
            several = len({at >> POSITION for at in places}) > 1  # one writer does not contradict itself
            self._apart[key] = len(places), several and self.follow(key)[2]
        return self._apart[key][1]

    def _register(self, name: str) -> _File:
        file = _File(name)
        self._files.append(file)
        self._numbers[name] = len(self._files) - 1  # last: a number without a file would become the next one's
        return file

    def _scan(self, file: _File) -> None:
        """Index the frames behind `file.end`, up to the first one that is incomplete or no frame at all."""
        path, number = self.directory / file.name, self._numbers[file.name]
        try:
            size = path.stat().st_size
            if size < file.end + HEAD.size:
                return
            with path.open("rb") as handle, mmap.mmap(handle.fileno(), size, access=mmap.ACCESS_READ) as data:
                position = file.end
                while position + HEAD.size <= size:
                    magic, key, _, _, count, flags, _ = HEAD.unpack_from(data, position)
                    if magic != MAGIC:
                        self._warn(file, position, "the rest of the file is left out")
                        break
                    end = position + Frame.size(count, flags)
                    if end > size:
                        break
                    self._index[key].append(number << POSITION | position)
                    position = end
                file.end = position
        except OSError as error:
            self._no_descriptors(error)
            self._warn(file, file.end, f"it cannot be read: {error.strerror}")

    def _frame(self, at: int) -> Frame | None:
        """The frame at a location; None, with a warning once per file, if it is damaged."""
        number, position = at >> POSITION, at & ((1 << POSITION) - 1)
        file, data = self._files[number], b""
        try:
            if number not in self._readers:
                if len(self._readers) >= OPEN_FILES:
                    self._close_readers()
                self._readers[number] = FileIO(self.directory / file.name)
            fd = self._readers[number].fileno()
            data = os.pread(fd, READ_BYTES, position)
            if len(data) == READ_BYTES:
                *_, count, flags, _ = HEAD.unpack_from(data)
                whole = min(Frame.size(count, flags), file.end - position)
                data += os.pread(fd, max(0, whole - len(data)), position + len(data))
        except FileNotFoundError:  # it was taken away
            return None
        except OSError as error:
            self._no_descriptors(error)  # a file that cannot be read is as good as damaged
        frame = Frame.parse(data)
        if frame is None:
            self._warn(file, position, "this frame is left out")
        return frame

    def _warn(self, file: _File, position: int, consequence: str) -> None:
        if not file.warned:
            log.warning("The store's file %s is damaged at byte %d; %s.", self.directory / file.name, position, consequence)
        file.warned = True

    def _no_descriptors(self, error: OSError) -> None:
        """Too many files are open in this process or on this machine: nothing is wrong with the store's."""
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise StoreError(f"store.dir={self.root} cannot be read ({error.strerror}); raise the limit (ulimit -n)") from error

    def _close_readers(self) -> None:
        while self._readers:
            self._readers.popitem()[1].close()

    def _check_writable(self) -> None:
        place = self.directory.absolute()
        while not os.path.lexists(place):
            place = place.parent
        if not place.is_dir():
            raise unwritable(self.root, f"{place} is not a directory")
        if not os.access(place, os.W_OK | os.X_OK):
            raise unwritable(self.root, f"no permission to write in {place}")
