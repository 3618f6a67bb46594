"""Which process a number means: systems use numbers of processes again, and every start of a machine begins anew."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


@cache
def here() -> str:
    """Where process ids mean the same: host, start of the machine, and name space of processes (containers have their own)."""
    parts = [os.uname().nodename]
    try:
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    except OSError:
        pass  # no Linux
    return "/".join("".join(part.split()) for part in parts)


def started(pid: int) -> str:
    """When a process of this host began, in a unit of its own; empty when it is gone (ended, and not waited for, counts), and
    "there" when the system does not say."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
        return "" if state in "ZX" else fields[18]
    except OSError:
        pass  # gone, somebody else's who are hidden, or no Linux
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "there"


def birth(pid: int) -> str:
    """Which process of this host that is, for whoever asks later (`alive`)."""
    return f"{here()} {started(pid)}"


def alive(pid: int, born: str | None = None) -> bool:
    """Whether there is such a process here, and it is the one whose `birth` that was, where that is known."""
    now = started(pid)
    if not now or not born:
        return bool(now)
    place, _, start = born.rpartition(" ")
    return place == here() and bool(start) and (now == start or now == "there")
