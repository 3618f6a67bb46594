"""What a scheduler starts: one command as a child of this process.

It is told to save by the signals that it gets itself: Slurm sends its warning before time is up (SIGUSR2) and what ends a job
(SIGTERM) to every process of a job, a machine's owner perhaps to this one alone. submitit, in whose process this runs, ignores
SIGTERM, and answers SIGUSR2 with `checkpoint` and then queues the job again: so by then the child must have saved.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..files import read_json, write_text
from ..processes import alive, birth

STATE = "task.json"  # in the task's directory: {state, status, host, process, birth, began, said, restarts}
TOLD = {128 + number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)}
SAVING_SECONDS = 90.0  # that a child may take to save what it has; Slurm kills by itself, by default 30 s after SIGTERM
POLL_SECONDS = 0.5
PR_SET_PDEATHSIG = 1  # linux/prctl.h
TOUCH_SECONDS, SILENT_SECONDS = 10.0, 60.0  # between signs of life, and after which there is none


@dataclass
class Command:
    """`arguments` run in `folder`; what became of it stands in `place`. `after` are the places of tasks that must have ended
    before, and `needs` of those that must have succeeded: for where no scheduler sees to it."""

    arguments: list[str]
    folder: str
    place: str
    after: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)

    def __call__(self) -> None:
        """Run it to its end. Raises RuntimeError when it fails."""
        self._began, self._child, self._told = time.time(), None, False
        signal.signal(signal.SIGTERM, self._pass_on)
        while waits := [place for place in (*self.needs, *self.after) if not ended(Path(place))]:
            self._write("waiting", waits=waits)
            time.sleep(POLL_SECONDS)
        if failed := [place for place in self.needs if (read_json(Path(place) / STATE) or {}).get("state") != "done"]:
            self._write("left out", because=failed)
            raise RuntimeError(f"{failed[0]} has failed, and this needs it")
        self._write("running")  # first: by this the child knows itself (`is_ours`)
        self._child = subprocess.Popen(
            self.arguments, cwd=self.folder, stdin=subprocess.DEVNULL, preexec_fn=_ends_with(os.getpid())
        )
        if self._told:
            self._child.send_signal(signal.SIGTERM)
        self._await_child()
        status = self._child.wait()
        status = 128 - status if status < 0 else status
        if status and (status in TOLD or self._told):
            self._write("stopped", status=status)
            if not self._told:  # by the warning, which the first process of a job answers: the others must not fail it before
                time.sleep(SAVING_SECONDS)
            os._exit(status)  # with no result for submitit: the scheduler starts it again, or somebody has cancelled it
        self._write("failed" if status else "done", status=status)
        if status:
            raise RuntimeError(f"the command ended with status {status}")

    def _pass_on(self, number: int, _: object) -> None:
        self._told = True
        if self._child is not None:
            self._child.send_signal(number)
        elif self.needs or self.after:  # it has not begun
            self._write("stopped")
            os._exit(128 + number)

    def checkpoint(self, *_: Any) -> Any:
        """What is to be started again, once the child has saved and ended."""
        from submitit.helpers import DelayedSubmission

        child = getattr(self, "_child", None)
        if child is not None:
            child.send_signal(signal.SIGTERM)
            self._await_child(SAVING_SECONDS)
            self._write("stopped")
        return DelayedSubmission(replace(self))

    def _await_child(self, seconds: float = float("inf")) -> None:
        """Until it has ended. (Popen.wait holds a lock, for which `checkpoint`, in a signal handler, would wait in vain.)"""
        began, how = time.monotonic(), os.WEXITED | os.WNOHANG | os.WNOWAIT
        touched = began
        with suppress(ChildProcessError):
            while os.waitid(os.P_PID, self._child.pid, how) is None and time.monotonic() < began + seconds:
                time.sleep(POLL_SECONDS)
                if time.monotonic() > touched + TOUCH_SECONDS:
                    touched = time.monotonic()
                    with suppress(OSError):
                        os.utime(Path(self.place) / STATE)

    def _write(self, state: str, **more: Any) -> None:
        """The first process of a job of several nodes says what happens; a full disk must not end it."""
        if os.environ.get("SLURM_PROCID", "0") != "0":
            return
        now = time.time()
        said = {"state": state, "host": os.uname().nodename, "process": os.getpid(), "birth": birth(os.getpid())}
        said |= {"began": self._began, "said": now}
        said["restarts"] = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        with suppress(OSError):
            write_text(Path(self.place) / STATE, json.dumps(said | more) + "\n")


def _ends_with(parent: int) -> Callable[[], None] | None:
    """For a child to be: it is told to save and end when `parent`, which can then not tell it, is killed (Linux alone has
    that). Without it the child would work on where nobody knows of it."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # loaded here: between fork and exec as little as possible

    def tell() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed before that
            os._exit(128 + signal.SIGTERM)

    return tell


def ended(place: Path) -> bool:
    """Whether the task of this machine whose place this is has ended, in whatever way."""
    task = read_json(place / STATE)
    if task is None or task["state"] in ("done", "failed", "stopped", "left out"):
        return task is not None
    return not at_it(task)


def at_it(task: Mapping[str, Any]) -> bool:
    """Whether the process is there which wrote this `task.json` of this machine."""
    return alive(task["process"], task.get("birth"))


def is_ours(place: Path) -> bool:
    """Whether this process is the command of the task whose place this is."""
    task = read_json(place / STATE) or {}
    return (task.get("process"), task.get("host")) == (os.getppid(), os.uname().nodename) and at_it(task)


def at_work(place: Path, job: int, born: str | None, host: str) -> int | None:
    """The process to end for a task that waits or runs, which `host` was to run as the process `job` with this `birth`. Another
    machine's processes cannot be asked: there its file speaks for it, which is touched as long as it is there."""
    task = read_json(place / STATE) or {}
    if host == os.uname().nodename:
        if task and ended(place):
            return None
        return job if alive(job, born) else task.get("process")  # submitit's may have been killed, and have left it alone
    speaks = task.get("state") in ("waiting", "running") and time.time() - (place / STATE).stat().st_mtime < SILENT_SECONDS
    return job if speaks else None
