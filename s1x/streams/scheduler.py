"""The scheduler: drives thousands of methods at once against one engine, through shared reads of token streams.

Methods (generators) yield `Read`, `Until`, `All`, `First` or other methods. Reads of one stream share its tokens whoever asks:
a shorter read resolves while a longer one is still being generated, tokens already in the store are not generated again, and
nobody waits for a round, a phase or a question to end. Stops are matched here; engines only get single ids as a hint.

    scheduler = Scheduler(engine, store)
    scheduler.run(Job(order=(q,), method=budget_forcing(...), on_done=traces.append) for q in ...)

From the ground up: types, engine (the port), frames, store, scores (both kept on disk), claims (which of several runs generates
what), reading (streams and readers), scoring (scores under way), shared (all of an engine), running (methods), here the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .claims import LOOK, Claims
from .engine import Engine
from .reading import Decode
from .running import Job, Runs
from .shared import Model, OnProgress, Progress, Streams

__all__ = ["Job", "Model", "Progress", "Scheduler"]

PATIENCE = 0.02  # seconds for which one of several models is waited for when none has news


class Scheduler:
    """`store` is a store.Store or a memory.MemoryStore; `decode` turns ids into text and is needed for string stops only.
    `others` are models in other roles, which `Score.model` names ("scorer"). `window` bounds the streams open at once (default:
    twice the capacity); of other models the default counts. `claims` say which jobs are generated here, where several runs are
    at work on the store; they are opened and closed here."""

    def __init__(
        self,
        engine: Engine,
        store: Any,
        *,
        decode: Decode | None = None,
        others: Mapping[str, Model] | None = None,
        window: int | None = None,
        claims: Claims | None = None,
        on_progress: OnProgress | None = None,
        flush_seconds: float = 1.0,
    ):
        self.claims = claims
        self.streams = Streams(Model(engine, store, decode), claims)
        self.others = {role: Streams(model, claims) for role, model in (others or {}).items()}
        self.runs = Runs(self.streams, {"policy": self.streams, **self.others})
        self.window = window or 2 * engine.capacity
        self._all = [self.streams, *self.others.values()]
        self.on_progress, self._flush_seconds, self._flushed = on_progress, flush_seconds, time.monotonic()
        self._looked = self._flushed

    @property
    def progress(self) -> Progress:
        return self.streams.progress

    def run(self, jobs: Iterable[Job]) -> None:
        """Run all jobs to the end. Whatever ends it (an error, Ctrl-C), every token received is in the store afterwards."""
        waiting = iter(jobs)
        following = next(waiting, None)
        try:
            if self.claims:
                self.claims.open()
            while True:
                following = self._admit(waiting, following)
                self.runs.advance()
                self._step()
                if not (self.runs.ready or following is not None or any(s.open or s.parked for s in self._all)):
                    return
                self._tick()
        finally:
            try:
                for streams in self._all:
                    streams.close()
            finally:
                if self.claims:
                    self.claims.close()
                self.runs.clear()

    def drop(self, unwanted: Callable[[Job], bool]) -> None:
        """Cancel the jobs under way that are not wanted any more."""
        self.runs.drop(unwanted)

    def _admit(self, waiting: Iterator[Job], following: Job | None) -> Job | None:
        """Start jobs, a whole question at a time so that its cells share, while the window has room."""
        while following is not None and self._room():
            question = following.order[:1]
            while following is not None and following.order[:1] == question:
                self.runs.add(following)
                following = next(waiting, None)
            self.runs.advance()
        return following

    def _room(self) -> bool:
        room = self.streams.open < self.window and all(s.open < 2 * s.engine.capacity for s in self.others.values())
        if self.claims and room:  # as many as others generate meanwhile may wait for them
            return sum(s.parked for s in self._all) < self.window * (1 + self.claims.others)
        return room

    def _step(self) -> None:
        """One step of every model that has something open. None is waited for while another may have news."""
        busy = [streams for streams in self._all if streams.open]
        if not busy and any(streams.parked for streams in self._all):
            time.sleep(PATIENCE)
        elif len(busy) < 2:
            for streams in busy:
                streams.step()
        elif not any([streams.step(0) for streams in busy]):
            busy[0].step(PATIENCE)

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._flushed >= self._flush_seconds:
            self._save()
        if self.claims and now - self._looked >= LOOK:
            lost = self.claims.look()
            for streams in self._all:
                streams.look(lost)
            if lost:
                self._save()
            self._looked = time.monotonic()
        if self.on_progress:
            self.on_progress(self.progress)

    def _save(self) -> None:
        """Keep what was received; from then on others may go on with what has ended here."""
        for streams in self._all:
            streams.save()
        if self.claims:
            self.claims.settle()
        self._flushed = time.monotonic()
