"""The scheduler: drives thousands of methods at once against one engine, through shared reads of token streams.

Methods (generators) yield `Read`, `Until`, `All`, `First` or other methods. Reads of one stream share its tokens whoever asks:
a shorter read resolves while a longer one is still being generated, tokens already in the store are not generated again, and
nobody waits for a round, a phase or a question to end. Stops are matched here; engines only get single ids as a hint.

    scheduler = Scheduler(engine, store)
    scheduler.run(Job(order=(q,), method=budget_forcing(...), on_done=traces.append) for q in ...)

From the ground up: types, engine (the port), frames, store, reading (streams and readers), shared (all streams of an engine),
running (methods), and here the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .engine import Engine
from .reading import Decode
from .running import Job, Runs
from .shared import OnProgress, Progress, Streams

__all__ = ["Job", "Progress", "Scheduler"]


class Scheduler:
    """`store` has load, inherit, append, restart and flush (store.Store, or memory.MemoryStore); `decode` turns ids into text
    and is needed for string stops only. `window` bounds the streams open at once (default: twice the capacity)."""

    def __init__(
        self,
        engine: Engine,
        store: Any,
        *,
        decode: Decode | None = None,
        window: int | None = None,
        on_progress: OnProgress | None = None,
        flush_seconds: float = 1.0,
    ):
        self.streams = Streams(engine, store, decode)
        self.runs = Runs(self.streams)
        self.window = window or 2 * engine.capacity
        self.on_progress, self._flush_seconds, self._flushed = on_progress, flush_seconds, time.monotonic()

    @property
    def progress(self) -> Progress:
        return self.streams.progress

    def run(self, jobs: Iterable[Job]) -> None:
        """Run all jobs to the end. Whatever ends it (an error, Ctrl-C), every token received is in the store afterwards."""
        waiting = iter(jobs)
        following = next(waiting, None)
        try:
            while True:
                following = self._admit(waiting, following)
                self.runs.advance()
                self.streams.step()
                if not (self.streams.open or self.runs.ready) and following is None:
                    return
                self._tick()
        finally:
            self.streams.close()
            self.runs.clear()

    def drop(self, unwanted: Callable[[Job], bool]) -> None:
        """Cancel the jobs under way that are not wanted any more."""
        self.runs.drop(unwanted)

    def _admit(self, waiting: Iterator[Job], following: Job | None) -> Job | None:
        """Start jobs, a whole question at a time so that its cells share, while the window has room."""
        while following is not None and self.streams.open < self.window:
            question = following.order[:1]
            while following is not None and following.order[:1] == question:
                self.runs.add(following)
                following = next(waiting, None)
            self.runs.advance()
        return following

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._flushed >= self._flush_seconds:
            self.streams.save()
            self._flushed = time.monotonic()
        if self.on_progress:
            self.on_progress(self.progress)
