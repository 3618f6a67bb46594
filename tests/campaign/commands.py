"""Commands of s1x under way, to be killed: real ones (`python run.py ...`), and ones forked from a process that has imported
everything, which are there at once and run the same `run.main()`. Both lead a session of their own.

A phase has a limit of its own (LIMITS); whatever takes longer is a hang in that phase.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from s1x.streams.store import Store

from ..conftest import NO_LOCAL

ROOT = Path(__file__).parents[2]
LIMITS = {  # seconds, on a machine with other things to do
    "start": 90, "composing": 90, "generating": 180, "grading": 180, "writing": 90, "report": 90,
    "stopping": 30, "children": 20, "again": 300,
}  # fmt: skip
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.campaign.preloaded"])


class Hang(Exception):
    """Something took longer than its limit; the message names the phase."""


class Command:
    """`arguments` of run.py; what it says goes to `log`. `fork`: from the process that has imported everything."""

    def __init__(self, arguments: list[str], log: Path, *, fork: bool = True, env: Mapping[str, str] | None = None, **how):
        self.log, arguments = log, [*arguments, *NO_LOCAL]
        log.parent.mkdir(parents=True, exist_ok=True)
        self.began = time.time()
        if fork:
            self._process = _context.Process(target=_run, args=(arguments, str(log), dict(env or {}), how))
            self._process.start()
            self.pid = self._process.pid
            self._poll: Callable[[], int | None] = lambda: self._process.exitcode
        else:
            with log.open("wb") as file:
                process = subprocess.Popen(
                    [sys.executable, "run.py", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file,
                    stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | (env or {}),
                    preexec_fn=partial(_prepare, **how),
                )  # fmt: skip
            self._process, self.pid, self._poll = process, process.pid, process.poll

    def poll(self) -> int | None:
        """The exit status, as subprocess has it (-9: killed); None while it runs."""
        return self._poll()

    def wait(self, phase: str) -> int:
        """Its exit status, within the limit of a phase. Raises Hang."""
        self.until(lambda: self.poll() is not None, phase)
        return self.poll()

    def until(self, there: Callable[[], bool], phase: str) -> bool:
        """Wait until something is there; False when the command ends first. Raises Hang past the limit of the phase."""
        end = time.monotonic() + LIMITS[phase]
        while not there():
            if self.poll() is not None:
                return False
            if time.monotonic() > end:
                self.kill()
                raise Hang(f"{phase} took more than {LIMITS[phase]} s; it said:\n{self.said()[-2000:]}")
            time.sleep(0.004)
        return True

    def send(self, number: int, *, all_of_it: bool = True) -> None:
        """A signal, to the whole session (as terminals and clusters send them) or to the command alone."""
        try:
            (os.killpg if all_of_it else os.kill)(self.pid, number)
        except ProcessLookupError:
            pass

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self._process.kill()

    def members(self) -> list[int]:
        """Processes of its session that are there, itself left out."""
        return [pid for pid in _session(self.pid) if pid != self.pid]

    def left(self) -> str | None:
        """A sentence where processes of its session outlive it for too long; they are ended."""
        end = time.monotonic() + LIMITS["children"]
        while (pids := self.members()) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return f"children: {len(pids)} processes outlived the command by {LIMITS['children']} s" if pids else None

    def takes_signals(self) -> bool:
        """Whether it has taken the signals over, which is the first thing a command does."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False
        caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
        blocked = int(next(line for line in status.splitlines() if line.startswith("SigBlk")).split()[1], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1 and blocked >> (signal.SIGUSR2 - 1) & 1)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def traceback(self) -> str | None:
        """What it said, where that holds a traceback."""
        said = self.said()
        return said[-3000:] if "Traceback (most recent" in said or "Fatal Python error" in said else None


def run(arguments: list[str], log: Path, phase: str = "again", **how) -> Command:
    """A command that is left alone, to its end."""
    command = Command(arguments, log, **how)
    command.status = command.wait(phase)
    return command


def _prepare(limits: Mapping[int, int] | None = None) -> None:
    """In the child: limits of resources, and a Ctrl-C that works though this run may stand in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if limits:
        import resource

        for kind, value in limits.items():
            resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def _run(arguments: list[str], log: str, env: dict[str, str], how: dict) -> None:
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for number in (1, 2):
        os.dup2(out, number)
    os.close(out)
    os.environ.update(env)
    os.chdir(ROOT)
    _prepare(**how)
    sys.argv = ["run.py", *arguments]
    import run
    from s1x import interrupts

    interrupts.listen()
    status = 1
    try:
        status = run.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _session(leader: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(entry))
    return found


Tokens = dict[tuple[str, bytes], tuple[int, ...]]


def stored(place: Path) -> Tokens:
    """All that a store can give back, by folder and stream."""
    found: Tokens = {}
    for folder in place.iterdir() if place.is_dir() else ():
        store = Store(place, "", writable=False)
        store.directory = folder  # by its place: the file that names the fingerprint may be damaged
        store.refresh()
        for key in list(store._index):
            if loaded := store.load(key):
                found[folder.name, key] = loaded.ids
        store.close()
    return found


def lost(before: Tokens, after: Tokens) -> str | None:
    """A sentence where something that was there is there no more."""
    gone = [key for key, ids in before.items() if after.get(key, ())[: len(ids)] != ids]
    return f"{len(gone)} of {len(before)} streams, such as {gone[0][1].hex()}" if gone else None


def untrue(found: Tokens, truth: Tokens) -> str | None:
    """A sentence where a stream holds what the model would not write: it and the true one must begin alike. (A stream that lies
    in another model's folder is still itself, and is not asked for there.)"""
    true = {key: ids for (_, key), ids in truth.items()}
    for (_, key), ids in found.items():
        if key not in true or any(a != b for a, b in zip(ids, true[key], strict=False)):
            return f"stream {key.hex()} holds other tokens"
    return None
