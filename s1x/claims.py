"""Output directories: each belongs to one command, and only one process at a time works in it.

The directory's `.claim` names the command and is locked while it runs. The lock is a POSIX record lock: the kernel lets go of
it however the process ends, children do not inherit it, and on NFS it is the server's (version 4, or 3 with lockd), so it holds
between machines. A disk that knows no locks is said to be one.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from itertools import count
from pathlib import Path
from typing import Any

from .errors import SettingError

log = logging.getLogger(__name__)

CLAIM = ".claim"
_held: list[int] = []  # what this process has open: closing any of its files of a claim would end the lock
_new: list[int] = []  # those that were nobody's before


def claim(setting: str, directory: Path, key: str, command: str, *, fresh: bool) -> Path:
    """Take `directory`, which `setting` names, until `release` or the end of this process; it is made if need be. Returns it.

    key: of the command, equal where results may lie together; a command that has died goes on in its directory. fresh: the
    name is no more than a time stamp, so where it is taken the directory gets another one. Raises SettingError when it is
    another command's or somebody is at work in it, OSError when it cannot be made.
    """
    release()
    if fresh:
        directory = _unused(directory)
    directory.mkdir(parents=True, exist_ok=True)
    file = os.open(directory / CLAIM, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        free = _lock(file, setting, directory)
        found = _read(file)
        same = found.get("key") in (None, key)
        if not free:
            who = "the same command" if same else f"another command ({_short(found.get('command'))})"
            raise SettingError(
                f"{setting}={directory}: {who} is at work there{_where(found)}; wait until it ends, or choose another directory"
            )
        if not same:
            raise SettingError(
                f"{setting}={directory}: holds the results of another command ({_short(found.get('command'))}); choose another "
                f"directory, or leave out {setting} for a new one"
            )
        _write(file, {"key": key, "command": command, "host": os.uname().nodename, "process": os.getpid()})
    except BaseException:
        os.close(file)
        raise
    _held.append(file)
    if not found:
        _new.append(file)
    return directory


def release() -> None:
    """Let go of what this process has claimed."""
    _new.clear()
    while _held:
        os.close(_held.pop())


def withdraw() -> None:
    """The command was wrong, and has written nothing: what was nobody's before it is nobody's again."""
    while _new:
        os.ftruncate(_new.pop(), 0)


def _unused(directory: Path) -> Path:
    """A new directory of that name, or with -2, -3, ... behind it: mkdir gives each to one process alone."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        place = directory if number == 1 else directory.with_name(f"{directory.name}-{number}")
        try:
            place.mkdir()
            return place
        except FileExistsError:
            continue
    raise AssertionError


def _lock(file: int, setting: str, directory: Path) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    except OSError as error:
        log.warning(
            f"{setting}={directory}: this disk knows no locks ({error.strerror}); let no two processes work there at once"
        )
    return True


def _read(file: int) -> dict[str, Any]:
    """What the claim says; {} where it is new, or a full disk has cut it off."""
    try:
        found = json.loads(os.pread(file, 1 << 20, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: int, claim: dict[str, Any]) -> None:
    """In place, as the lock is on this very file; over what is there first, so that a full disk does not empty it."""
    data = json.dumps(claim).encode() + b"\n"
    os.pwrite(file, data, 0)
    os.ftruncate(file, len(data))


def _where(found: dict[str, Any]) -> str:
    return f" (process {found['process']} on {found['host']})" if {"process", "host"} <= found.keys() else ""


def _short(command: Any) -> str:
    text = str(command)
    return text if len(text) <= 300 else f"{text[:300]}..."
