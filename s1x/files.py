"""Files that are whole or not there: written beside their place and renamed into it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from .errors import SettingError

PACKAGE = Path(__file__).parent


def python_path() -> str:
    """PYTHONPATH for a process that is started elsewhere: it finds s1x and its Hydra plugins, installed or not."""
    own = [str(PACKAGE.parent), str(PACKAGE / "plugins")]
    before = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in own]
    return os.pathsep.join([*own, *before])


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; renamed to `path` when the block ends, removed when it fails.

    The name holds host and process id: two processes that make the same file do not write into one another's.
    """
    part = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file whole, as UTF-8 and with line ends as they are: a reader never sees half of it.

    Bytes of a name that were no UTF-8 (Python keeps them as half of a surrogate pair) become question marks.
    """
    with beside(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace", newline="\n")


NAME_BYTES, PATH_BYTES = 255, 4095  # that file systems take
SHORT = 120  # bytes of a name that becomes part of file names, beside endings, hosts and process ids


def check_text(key: str, value: str) -> None:
    """Raises SettingError for text that no file could hold."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SettingError(f"{key}: character {error.start + 1} is no text (it must be UTF-8)") from None
    if "\0" in value:
        raise SettingError(f"{key}: character {value.index(chr(0)) + 1} is a zero, which no name may hold")


def check_path(key: str, value: str) -> None:
    """Raises SettingError for a path that cannot be one."""
    longest = max(len(part.encode()) for part in value.split("/"))
    if longest > NAME_BYTES or len(value.encode()) > PATH_BYTES:
        what = (
            f"a name of {longest:,} bytes, and disks take {NAME_BYTES}" if longest > NAME_BYTES else "it is too long for a path"
        )
        raise SettingError(f"{key}={value[:80]}...: {what}")
    try:
        Path(value).expanduser()
    except RuntimeError:
        raise SettingError(f"{key}={value}: there is no such user; write ./~... for a folder of that name") from None


def check_name(key: str, value: str) -> None:
    """Raises SettingError for a name that would not do as a part of file names, in tables and in W&B."""
    shown = repr(value if len(value) <= 80 else f"{value[:80]}...")
    if not value.strip() or not value.isprintable():
        raise SettingError(f"{key}={shown}: must be text in one line, without control characters")
    if len(value.encode()) > SHORT:
        raise SettingError(f"{key}={shown}: has {len(value.encode())} bytes; it becomes part of file names, so {SHORT} at most")


def is_local(path: str) -> bool:
    """True for a directory, False for a hub id such as `simplescaling/s1-32B`."""
    return path.startswith((".", "/", "~")) or path.count("/") != 1 or os.path.exists(path)


def check_writable(key: str, directory: str | Path) -> None:
    """Raise SettingError unless `directory` can be made or written to. Tries it: permissions alone do not tell."""
    folder = Path(directory).expanduser().absolute()
    try:
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise SettingError(f"{key}={directory}: {folder} is not a directory; choose a place you can write to")
        os.rmdir(tempfile.mkdtemp(prefix=".s1x-", dir=folder))
    except OSError as error:
        shown = directory if len(str(directory)) <= 120 else f"{str(directory)[:100]}..."
        where = f"{folder} cannot be written" if len(str(folder)) <= 120 else "it cannot be made"
        raise SettingError(f"{key}={shown}: {where} ({error.strerror}); choose a place you can write to") from error


def read_json(path: Path) -> Any:
    """What a file of ours holds; None where there is none, or a full disk has cut it off."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def checked_line(row: dict[str, Any]) -> str:
    """A row for a file of JSON lines that is appended to; `whole_lines` believes it only as it was written."""
    return json.dumps(row | {"check": _check(row)}) + "\n"


def whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of `checked_line`s, if there is one. What a kill has torn, or something damaged, is passed over."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and row.pop("check", None) == _check(row):
            yield row


def _check(row: dict[str, Any]) -> int:
    return crc32(json.dumps(row).encode())
