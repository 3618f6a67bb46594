"""The scheduler: drives thousands of methods at once against one engine, through shared reads of token streams.

Methods (generators) yield `Read`, `All`, `First` or other methods. Reads of one stream share its tokens whoever asks: a
shorter read resolves while a longer one is still being generated, tokens already in the store are not generated again,
and nobody waits for a round, a phase or a question to end. Stops are matched here; engines only get single ids as a hint.

    scheduler = Scheduler(engine, store)
    scheduler.run(Job(order=(q,), method=budget_forcing(...), on_done=traces.append) for q in ...)
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .engine import Chunk, Engine, Open
from .reading import Reader, Stream
from .running import Root, Run
from .types import Forbid, Read, Trace

RECENT = 256  # streams kept in memory after their last reader


@dataclass
class Job:
    """One method to run. `order` (question first) says what is admitted, and served, first."""

    order: tuple[int, ...]
    method: Generator
    on_done: Callable[[Trace], None]


@dataclass
class Progress:
    """Counts since the scheduler was made: tokens from the engine, tokens found in the store, finished methods."""

    generated: int = 0
    reused: int = 0
    finished: int = 0
    open: int = 0


class Scheduler:
    """`store` is any object with load, append and flush (streams.store.Store, or MemoryStore); `decode` turns ids into
    text and is needed for string stops only. `window` bounds the streams open at once (default: twice the capacity)."""

    def __init__(
        self,
        engine: Engine,
        store,
        *,
        decode: Callable[[tuple[int, ...]], str] | None = None,
        window: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        flush_seconds: float = 1.0,
    ):
        self.engine, self.store, self.decode = engine, store, decode
        self.window = window or 2 * engine.capacity
        self.progress, self._on_progress, self._flush_seconds = Progress(), on_progress, flush_seconds
        self._streams: dict[bytes, Stream] = {}
        self._handles: dict[int, Stream] = {}
        self._to_open: dict[bytes, Stream] = {}
        self._recent: dict[bytes, Stream] = {}  # read to the end a moment ago: the next cell of the question asks again
        self.ready: deque[tuple[Run, Any]] = deque()
        self._flushed = time.monotonic()

    # --- the loop ---

    def run(self, jobs: Iterable[Job]) -> None:
        """Run all jobs to the end. Whatever ends it (an error, Ctrl-C), every token received is in the store afterwards."""
        waiting = iter(jobs)
        following = next(waiting, None)
        try:
            while True:
                following = self._admit(waiting, following)
                self._advance_ready()
                self._open_streams()
                if self._handles:
                    self._receive(self.engine.poll())
                elif not self.ready and following is None:
                    return
                self._tick()
        finally:
            self._save_all()
            self._streams.clear()
            for handle in list(self._handles):
                self.engine.cancel(handle)
            self._handles.clear()
            self._to_open.clear()
            self.ready.clear()

    def _admit(self, waiting: Iterator[Job], following: Job | None) -> Job | None:
        """Start jobs, a whole question at a time so that its cells share, while the window has room."""
        while following is not None and len(self._handles) + len(self._to_open) < self.window:
            question = following.order[:1]
            while following is not None and following.order[:1] == question:
                job = following
                self.ready.append((Run(self, job.method, Root(self, job), job.order), None))
                following = next(waiting, None)
            self._advance_ready()
        return following

    def _advance_ready(self) -> None:
        while self.ready:
            run, value = self.ready.popleft()
            run.advance(value)

    def _open_streams(self) -> None:
        for stream in self._to_open.values():
            if not stream.readers or stream.handle is not None:
                continue
            have = len(stream.tokens)
            forbid = stream.forbid
            if forbid is not None:
                forbid = Forbid(forbid.ids, forbid.first - have) if forbid.first > have else None
            limit = max(r.end for r in stream.readers) - have
            stops = frozenset.intersection(*(r.read.stop.ids for r in stream.readers))
            if any(r.read.start > have for r in stream.readers):
                stops = frozenset()  # a stop before some reader's start must not end the stream
            stream.handle = self.engine.open(
                Open(
                    prefix=stream.prefix + tuple(stream.tokens),
                    limit=limit,
                    sampling=stream.sampling,
                    forbid=forbid,
                    stop_ids=stops,
                    priority=min(r.priority for r in stream.readers),
                    logprobs=stream.wants_logprobs,
                    watched=any(s.strings or s.sequences or not s.ids <= stops for s in (r.read.stop for r in stream.readers)),
                )
            )
            self._handles[stream.handle] = stream
        self._to_open.clear()

    def _receive(self, chunks: list[Chunk]) -> None:
        """Hand new tokens to their streams. This runs once per token, so what most tokens need is written out here."""
        handles = self._handles
        for handle, ids, logprobs, done in chunks:
            if (stream := handles.get(handle)) is None:
                continue
            tokens = stream.tokens
            tokens.extend(ids)
            self.progress.generated += len(ids)
            if stream.logprobs is not None:
                stream.keep(logprobs)
            if len(tokens) >= stream.next_end or stream.watches_text or not stream.triggers.isdisjoint(ids):
                stream.resolve()
                if stream.handle != handle:  # a delivery made the whole stream unneeded
                    continue
            if done or not stream.readers:
                self._end(handle, stream, done)

    def _end(self, handle: int, stream: Stream, done: bool) -> None:
        """The engine will send no more, or nobody reads on."""
        del self._handles[handle]
        stream.handle = None
        if not done:
            self.engine.cancel(handle)
        if stream.readers:  # the engine stopped at a hint or at a limit that a later reader exceeds
            self._to_open[stream.key] = stream
        else:
            self._forget(stream)

    # --- reads ---

    def subscribe(self, read: Read, owner, index: int, priority: tuple[int, ...]) -> Reader | None:
        """Attach a read to its stream; delivers at once (and returns None) when the tokens are already there."""
        key = read.key(self.engine.fingerprint)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = self._recent.pop(key, None) or Stream(self, key, read)
        reader = Reader(stream, read, owner, index, priority)
        stream.add(reader)
        stream.resolve()
        if reader.done:
            if not stream.readers and self._streams.get(key) is stream:
                self._drop(stream)
            return None
        if stream.handle is None:
            self._to_open[key] = stream
        return reader

    def unsubscribe(self, reader: Reader) -> None:
        reader.done = True
        stream = reader.stream
        if reader in stream.readers:
            stream.remove(reader)
            if not stream.readers:
                self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        """Nobody reads this stream any more."""
        if stream.handle is not None:
            self.engine.cancel(stream.handle)
            self._handles.pop(stream.handle, None)
            stream.handle = None
        self._to_open.pop(stream.key, None)
        self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self._save(stream)
        self._streams.pop(stream.key, None)
        self._recent[stream.key] = stream
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]

    # --- keeping ---

    def _save(self, stream: Stream) -> None:
        new = stream.tokens[stream.saved :]
        if new:
            logprobs = stream.logprobs[stream.saved :] if stream.logprobs is not None else None
            self.store.append(stream.key, new, logprobs)
            stream.saved = len(stream.tokens)

    def _save_all(self) -> None:
        for stream in self._streams.values():
            self._save(stream)
        self.store.flush()

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._flushed >= self._flush_seconds:
            self._save_all()
            self._flushed = time.monotonic()
        if self._on_progress:
            self.progress.open = len(self._handles)
            self._on_progress(self.progress)
