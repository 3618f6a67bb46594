"""The upkeep of a store: what is in it, whether it is whole, one file instead of many, less of it, and carrying it elsewhere.

Whatever rewrites or removes files wants the store for itself (`alone`): runs at work on it are not disturbed, and none begins
meanwhile.
"""

from __future__ import annotations

import lzma
import mmap
import os
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import scores
from .appending import OwnFile, StoreError, unwritable
from .frames import HEAD, KINDS, MAGIC, Chain, Draft, Frame, id_hash
from .presence import MAINTENANCE, Presence
from .store import SUFFIX, Store
from .types import digest

PART = ".part"  # behind the names of files that are not finished
ABOUT = "fingerprint.txt"
_MEMBER = re.compile(rf"([0-9a-f]{{16}})/({re.escape(ABOUT)}|[A-Za-z0-9][A-Za-z0-9.-]*(?:{SUFFIX}|{scores.SUFFIX}))")


@dataclass
class Contents:
    """What lies in the folder of a fingerprint. `written` counts tokens as often as they were written, `tokens` once for each
    position of a stream. `damage`: sentences; a torn tail, which a kill leaves, is none. `apart`: streams with two
    continuations, which a check alone counts."""

    folder: Path
    fingerprint: str
    files: int = 0
    bytes: int = 0
    streams: int = 0
    tokens: int = 0
    written: int = 0
    rows: int = 0
    newest: float = 0.0
    torn: int = 0
    apart: int = 0
    damage: list[str] = field(default_factory=list)


def contents(root: Path, *, check: bool = False) -> list[Contents]:
    """What each folder of the store holds. check: believe no length, read every byte."""
    return [_contents(folder, check) for folder in folders(root)]


def folders(root: Path) -> list[Path]:
    """Those of fingerprints."""
    places = root.iterdir() if root.is_dir() else ()
    return sorted(place for place in places if re.fullmatch("[0-9a-f]{16}", place.name) and place.is_dir())


def fingerprint_of(folder: Path) -> str:
    """What the folder is of; empty where the file that says so is damaged."""
    try:
        said = (folder / ABOUT).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return said if digest(said).hex()[:16] == folder.name else ""


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Nobody else is at work on the store, or begins to be. Raises StoreError where somebody is, or where it cannot be written,
    in the block as well: it may be another one's."""
    presence = Presence(root)
    try:
        presence.enter(MAINTENANCE)
        if others := presence.everyone():
            runs = "a run is" if len(others) == 1 else f"{len(others)} runs are"
            raise StoreError(
                f"store.dir={root}: {runs} at work on it; wait until that ends (dead ones of other machines count for 40 s)"
            )
        yield
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise unwritable(root, error.strerror) from error
    finally:
        presence.leave()


def compact(folder: Path) -> tuple[int, int]:
    """One file of streams and one of scores instead of many, without what was written twice, torn or damaged, and of streams
    with two continuations only the one that readers follow. Call it `alone`. Returns bytes before and after.

    Killed at any instant, nothing is lost: the new files are on the disk before the old ones go.
    """
    fingerprint = fingerprint_of(folder)
    if not fingerprint:
        raise StoreError(f"{damaged(folder)}, so they stay as they are")
    for path in folder.glob(f"*{PART}"):
        path.unlink()
    old = _files(folder)
    before = sum(path.stat().st_size for path in old)
    new = _copy(folder, fingerprint, folder.parent, None)
    for path in old:
        path.unlink()
    claims = folder.parent / "claims"
    shutil.rmtree(claims, ignore_errors=True)
    return before, sum(path.stat().st_size for path in new)


def prune(folder: Path) -> None:
    """Remove all that is kept of a fingerprint. Call it `alone`."""
    shutil.rmtree(folder)


def export(
    places: Iterable[Path], file: Path, keys: Set[bytes] | None, *, scored: bool = True
) -> tuple[list[Contents], set[bytes]]:
    """Put the streams of these folders into one file for another machine: all of them, or those of `keys`. scored: with all
    scores. A folder that does not say whose streams these are is left out. Returns what is in it, and the keys."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".s1x-", dir=file.parent) as name:
        place = Path(name) / "store"
        for folder in places:
            if fingerprint := fingerprint_of(folder):
                _copy(folder, fingerprint, place, keys, scored)
        found, taken = contents(place), held(folders(place))
        part = Path(name) / "part"
        with tarfile.open(part, "w:gz", compresslevel=3) as archive:
            for path in sorted(place.rglob("*")) if place.is_dir() else ():
                if path.is_file():
                    archive.add(path, path.relative_to(place).as_posix())
        os.replace(part, file)
    return found, taken


def held(places: Iterable[Path]) -> set[bytes]:
    """The keys of the streams that are kept in these folders."""
    found: set[bytes] = set()
    for folder in places:
        store = _open(folder)
        found.update(store.keys())
        store.close()
    return found


def damaged(folder: Path) -> str:
    """The sentence about a folder whose `fingerprint_of` is empty."""
    return f"{folder / ABOUT} is damaged: it does not say whose streams these are"


def load(root: Path, file: Path) -> tuple[list[str], int]:
    """Take in what `export` has made. Returns the names of files that are new, and how many were there already.

    What a file holds is checked byte by byte before it counts. Raises StoreError for anything else than such a file.
    """
    new: list[str] = []
    there = 0
    try:
        with tarfile.open(file, "r:*") as archive:
            for member in archive:
                match = _MEMBER.fullmatch(member.name)
                source = archive.extractfile(member) if match and member.isreg() else None
                if match is None or source is None:
                    raise StoreError(f"store.file={file}: {member.name[:80]!r} is no file of a store")
                target = root / match[1] / match[2]
                if target.exists():
                    there += match[2] != ABOUT
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(target.name + PART)
                try:
                    with part.open("wb") as out:
                        shutil.copyfileobj(source, out)
                    _check_member(part, match[1], file)
                    os.replace(part, target)
                finally:
                    part.unlink(missing_ok=True)
                new += [target.name] if match[2] != ABOUT else []
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, StoreError):
            raise
        why = str(error).partition("\n")[0].rstrip(":")  # tarfile says it for each way to compress
        raise StoreError(f"store.file={file}: cannot be taken in ({why}); it must be what store.action=export made") from error
    return new, there


def _check_member(path: Path, folder: str, file: Path) -> None:
    if path.name == ABOUT + PART:
        said = path.read_text(encoding="utf-8", errors="replace").strip()
        good = digest(said).hex()[:16] == folder
    else:
        found = Contents(path.parent, "")
        _frames(path, found, True) if path.name.endswith(SUFFIX + PART) else _rows(path, found)
        good = not found.damage and not found.torn
    if not good:
        raise StoreError(f"store.file={file}: {folder}/{path.name.removesuffix(PART)} is damaged there; export it again")


def _contents(folder: Path, check: bool) -> Contents:
    found = Contents(folder, fingerprint_of(folder))
    if not found.fingerprint:
        found.damage.append(f"{folder / ABOUT} is damaged or missing")
    ends: dict[bytes, int] = {}
    for path in _files(folder):
        about = path.stat()
        found.files, found.bytes, found.newest = found.files + 1, found.bytes + about.st_size, max(found.newest, about.st_mtime)
        if path.name.endswith(scores.SUFFIX):
            _rows(path, found)
            continue
        for key, end in _frames(path, found, check):
            if end > ends.get(key, 0):
                ends[key] = end
    found.streams, found.tokens = len(ends), sum(ends.values())
    if check:
        store = _open(folder)
        for key, end in ends.items():
            chain, _, apart = store.follow(key)
            found.apart += apart
            if len(chain.ids) < 4 * end and not apart:
                found.damage.append(
                    f"{folder.name}: stream {key.hex()} is whole up to token {len(chain.ids) // 4:,} of {end:,}"
                )
        store.close()
    return found


def _frames(path: Path, found: Contents, check: bool) -> list[tuple[bytes, int]]:
    """Key and end of each frame of a file; what is wrong with it is put into `found`."""
    frames: list[tuple[bytes, int]] = []
    position, size = 0, path.stat().st_size
    if not size:
        return []
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while position + HEAD.size <= size:
            magic, key, _, offset, count, flags, _ = HEAD.unpack_from(data, position)
            end = position + Frame.size(count, flags)
            if magic != MAGIC:
                found.damage.append(f"{path}: damaged at byte {position:,}; the rest of the file is left out")
                return frames
            if end > size:
                break
            if check and Frame.parse(data[position:end]) is None:
                found.damage.append(f"{path}: damaged at byte {position:,}; {count:,} tokens are left out")
            else:
                frames.append((key, offset + count))
                found.written += count
            position = end
    found.torn += position < size
    return frames


def _rows(path: Path, found: Contents) -> None:
    rows, damaged, end = scores.read(path.read_bytes())
    found.rows += len(rows)
    found.torn += end < path.stat().st_size and not damaged
    if damaged:
        found.damage.append(f"{path}: damaged; the scores there are left out")


def _copy(folder: Path, fingerprint: str, root: Path, keys: Set[bytes] | None, scored: bool = True) -> list[Path]:
    """Write the streams (of `keys`) and scores of a folder into new files of the store `root`; returns them."""
    store, made = _open(folder), []

    def streams() -> Iterator[bytes]:
        for key in store.keys():
            if (keys is None or key in keys) and (chain := store.follow(key)[0]).ids:
                yield _whole(key, chain)

    kept: dict[bytes, tuple[float, ...]] = {}
    for path in sorted(folder.glob(f"*{scores.SUFFIX}")) if scored else ():
        for key, row in scores.read(path.read_bytes())[0]:
            kept.setdefault(key, row)
    for suffix, pieces in ((SUFFIX, streams()), (scores.SUFFIX, (scores.pack(key, row) for key, row in kept.items()))):
        out = OwnFile(root, fingerprint, suffix + PART, fsync=True)
        waiting = 0
        for piece in pieces:
            waiting = out.append(piece) + len(piece) - out.end
            if waiting > 1 << 22:
                out.flush()
        out.flush()
        out.close()
        if out.name:
            made.append((root / folder.name / out.name).with_suffix(""))
            os.replace(root / folder.name / out.name, made[-1])
    store.close()
    return made


def _whole(key: bytes, chain: Chain) -> bytes:
    """A stream as one frame."""
    draft = Draft(id_hash().digest(), 0)
    count = len(chain.ids) // 4
    draft.add(bytes(chain.ids), {name: n for name, n in chain.numbers.items() if n != KINDS[name].missing * count})
    return draft.pack(key)


def _open(folder: Path) -> Store:
    """By its place, whatever its fingerprint says."""
    store = Store(folder.parent, "", writable=False)
    store.directory = folder
    store.refresh()
    return store


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith((SUFFIX, scores.SUFFIX)))


def matching(root: Path, only: list[str], older: float | None, now: Callable[[], float] = time.time) -> list[Contents]:
    """Folders that an entry of `only` names (an engine, with or without its version, a fingerprint, a folder; none: all) and
    in which nothing was written for `older` days. Raises ValueError for an entry that names none."""
    found = contents(root)
    for entry in only:
        if not any(_named(one, entry) for one in found):
            there = ", ".join(sorted({one.fingerprint.partition("/")[0] or one.folder.name for one in found})) or "nothing"
            raise ValueError(f"store.only={entry}: the store {root} has no such streams; it has those of {there}")
    return [
        one
        for one in found
        if (not only or any(_named(one, entry) for entry in only)) and (older is None or now() - one.newest > older * 86400)
    ]


def _named(one: Contents, entry: str) -> bool:
    engine = one.fingerprint.partition("/")[0]
    return bool(entry) and entry in (one.fingerprint, one.folder.name, engine, engine.partition("-")[0])
