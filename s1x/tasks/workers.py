"""Processes that compare answers, each with its own pipe: one that dies costs one comparison, which is made again.

An answer is untrusted input: `9**9**9**9` never returns, a page of LaTeX may exhaust the parser. So each comparison runs in a
worker under a time and a memory limit. A worker is a program of its own (compare.py), not a copy of this one, so that scripts
need no main guard, and it outlives neither its pipe nor its processor time.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

WALL = 15.0  # times the processor seconds of a comparison, on the clock, is its end in any case
START = 180.0  # seconds a worker may take to load what it needs, on a busy machine
TRIES = 3  # of one comparison, where a worker dies that it did not kill by computing
MEMORY = 512 << 20  # bytes of address space per worker, which begins with about 64 MiB
MOST = 8  # workers, so at most 4 GiB; fewer where that is more than a quarter of the machine's memory


def sensible() -> int:
    """How many workers this machine has the processors and the memory for."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(MOST, processors, memory // 4 // MEMORY))


class Lost(Exception):
    """A worker that is gone, for a reason which is not the comparison's computing time."""


class Workers:
    """At most `count` workers, started as comparisons wait for them. Verdicts arrive as Futures."""

    def __init__(self, count: int, seconds: float):
        self.count, self.seconds, self.owner = count, seconds, os.getpid()
        self._waiting: queue.SimpleQueue = queue.SimpleQueue()
        self._serving: list[_Worker] = []
        self._lock = threading.Lock()
        self._open = 0  # comparisons asked for and not decided
        self._closed = False

    def submit(self, answer: str, target: str) -> Future:
        future: Future = Future()
        with self._lock:
            self._open += 1
            self._waiting.put((future, (answer, target)))
            if len(self._serving) < min(self.count, self._open):
                worker = _Worker(self.seconds)
                self._serving.append(worker)
                threading.Thread(target=self._serve, args=(worker,), daemon=True, name="grading").start()
        return future

    def close(self) -> None:
        """Kill the workers; comparisons under way and waiting are "timeout"."""
        self._closed = True
        for worker in self._serving:
            self._waiting.put(None)
            worker.kill()

    def processes(self) -> list[int]:
        """The process ids of workers that are up."""
        return [w.process.pid for w in self._serving if w.process and w.process.poll() is None]

    def _serve(self, worker: _Worker) -> None:
        while (asked := self._waiting.get()) is not None:
            future, pair = asked
            try:
                verdict = "timeout" if self._closed else self._decide(worker, pair)
            except BaseException as error:  # such as no processes left; said where the verdict is asked for
                future.set_exception(error)
            else:
                future.set_result(verdict)
            with self._lock:
                self._open -= 1
        worker.kill()

    def _decide(self, worker: _Worker, pair: tuple[str, str]) -> str:
        for _ in range(TRIES):
            with contextlib.suppress(Lost):
                return worker.compare(pair)
            if self._closed:
                return "timeout"
        return "ungraded"


class _Worker:
    """One process, started when first needed and again after each death."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.process: subprocess.Popen | None = None

    def compare(self, pair: tuple[str, str]) -> str:
        if self.process is None or self.process.poll() is not None:
            self._start()
        try:
            os.write(self.process.stdin.fileno(), json.dumps(pair).encode() + b"\n")
        except OSError:
            raise Lost from None
        return self._line(WALL * self.seconds) or "timeout"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()

    def _start(self) -> None:
        self.kill()
        program = [sys.executable, "-P", str(Path(__file__).with_name("compare.py")), str(self.seconds), str(MEMORY)]
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._line(START) != "ready":
            raise Lost

    def _line(self, seconds: float) -> str | None:
        """The next line a worker writes; None, and the worker killed, where it takes too long."""
        end, text = time.monotonic() + seconds, b""
        source = self.process.stdout.fileno()
        while not text.endswith(b"\n"):
            if not select.select([source], [], [], max(0.0, end - time.monotonic()))[0]:
                self.kill()
                return None
            if not (more := os.read(source, 4096)):
                self.kill()
                raise Lost
            text += more
        return json.loads(text)
