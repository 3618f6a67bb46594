"""The scheduler: drives thousands of methods at once against one engine, through shared reads of token streams.

Methods (generators) yield `Read`, `All`, `First` or other methods. Reads of one stream share its tokens whoever asks: a
shorter read resolves while a longer one is still being generated, tokens already in the store are not generated again,
and nobody waits for a round, a phase or a question to end. Stops are matched here; engines only get single ids as a hint.

    scheduler = Scheduler(engine, store)
    scheduler.run(Job(order=(q,), method=budget_forcing(...), on_done=traces.append) for q in ...)
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..engines.base import Engine, Open
from .frames import half
from .types import All, First, Forbid, Read, Span, Stops, Trace

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
        self._streams: dict[bytes, _Stream] = {}
        self._handles: dict[int, _Stream] = {}
        self._to_open: dict[bytes, _Stream] = {}
        self._recent: dict[bytes, _Stream] = {}  # read to the end a moment ago: the next cell of the question asks again
        self._ready: deque[tuple[_Run, Any]] = deque()
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
                    for chunk in self.engine.poll():
                        self._receive(*chunk)
                elif not self._ready and following is None:
                    return
                self._tick()
        finally:
            self._save_all()
            self._streams.clear()
            for handle in list(self._handles):
                self.engine.cancel(handle)
            self._handles.clear()
            self._to_open.clear()
            self._ready.clear()

    def _admit(self, waiting: Iterator[Job], following: Job | None) -> Job | None:
        """Start jobs, a whole question at a time so that its cells share, while the window has room."""
        while following is not None and len(self._handles) + len(self._to_open) < self.window:
            question = following.order[:1]
            while following is not None and following.order[:1] == question:
                job = following
                self._ready.append((_Run(self, job.method, _Root(self, job), job.order), None))
                following = next(waiting, None)
            self._advance_ready()
        return following

    def _advance_ready(self) -> None:
        while self._ready:
            run, value = self._ready.popleft()
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
                )
            )
            self._handles[stream.handle] = stream
        self._to_open.clear()

    def _receive(self, handle: int, ids: list[int], logprobs: list[float] | None, done: bool) -> None:
        stream = self._handles.get(handle)
        if stream is None:
            return
        stream.extend(ids, logprobs)
        self.progress.generated += len(ids)
        if len(stream.tokens) >= stream.next_end or not stream.triggers.isdisjoint(ids) or stream.watches_text:
            stream.resolve()
            if stream.handle != handle:  # a delivery made the whole stream unneeded
                return
        if done or not stream.readers:
            del self._handles[handle]
            stream.handle = None
            if not done:
                self.engine.cancel(handle)
            if stream.readers:  # the engine stopped at a hint or at a limit that a later reader exceeds
                self._to_open[stream.key] = stream
            else:
                self._forget(stream)

    # --- reads ---

    def subscribe(self, read: Read, owner, index: int, priority: tuple[int, ...]) -> _Reader | None:
        """Attach a read to its stream; delivers at once (and returns None) when the tokens are already there."""
        key = read.key(self.engine.fingerprint)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = self._recent.pop(key, None) or _Stream(self, key, read)
        reader = _Reader(stream, read, owner, index, priority)
        stream.add(reader)
        stream.resolve()
        if reader.done:
            if not stream.readers and self._streams.get(key) is stream:
                self._drop(stream)
            return None
        if stream.handle is None:
            self._to_open[key] = stream
        return reader

    def unsubscribe(self, reader: _Reader) -> None:
        reader.done = True
        stream = reader.stream
        if reader in stream.readers:
            stream.remove(reader)
            if not stream.readers:
                self._drop(stream)

    def _drop(self, stream: _Stream) -> None:
        """Nobody reads this stream any more."""
        if stream.handle is not None:
            self.engine.cancel(stream.handle)
            self._handles.pop(stream.handle, None)
            stream.handle = None
        self._to_open.pop(stream.key, None)
        self._forget(stream)

    def _forget(self, stream: _Stream) -> None:
        self._save(stream)
        self._streams.pop(stream.key, None)
        self._recent[stream.key] = stream
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]

    # --- keeping ---

    def _save(self, stream: _Stream) -> None:
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


# --- streams and their readers ------------------------------------------------------------------------------------------


class _Stream:
    """The tokens of one stream so far, and who waits for more."""

    def __init__(self, scheduler: Scheduler, key: bytes, read: Read):
        self.scheduler, self.key = scheduler, key
        self.prefix, self.sampling, self.forbid = read.prefix, read.sampling, read.forbid
        self.tokens = array("i")
        self.wants_logprobs = read.logprobs or read.sampling.noise is not None
        self.logprobs: list[float] | None = [] if self.wants_logprobs else None
        stored = scheduler.store.load(key)
        if stored is not None:
            self.tokens.extend(stored.ids)
            scheduler.progress.reused += len(stored.ids)
            if self.wants_logprobs:
                self.logprobs = list(stored.logprobs) if stored.logprobs is not None else None
        self.saved = len(self.tokens)
        self.room = max(0, scheduler.engine.context_length - len(self.prefix))
        self.handle: int | None = None
        self.readers: list[_Reader] = []
        self._refresh()

    def extend(self, ids: list[int], logprobs: list[float] | None) -> None:
        self.tokens.extend(ids)
        if self.logprobs is not None:
            if logprobs is None:
                self.logprobs = None
            else:
                self.logprobs.extend(half(logprobs))  # as the store will have them, so that a resumed run is the same

    def add(self, reader: _Reader) -> None:
        self.readers.append(reader)
        self._refresh()

    def remove(self, reader: _Reader) -> None:
        self.readers.remove(reader)
        self._refresh()

    def _refresh(self) -> None:
        stops = [r.read.stop for r in self.readers]
        self.triggers = frozenset().union(*(s.ids for s in stops), *({q[-1]} for s in stops for q in s.sequences))
        self.watches_text = any(s.strings for s in stops)
        self.next_end = min((r.end for r in self.readers), default=1 << 60)

    def resolve(self) -> None:
        """Deliver every reader that has what it asked for (a delivery may cancel other readers, or add some)."""
        found = [(r, span) for r in self.readers if (span := r.span()) is not None]
        if found:
            gone = {id(r) for r, _ in found}
            self.readers = [r for r in self.readers if id(r) not in gone]
            self._refresh()
        for reader, span in found:
            if not reader.done:
                reader.done = True
                reader.owner.deliver(reader.index, span, {self.key: span.end})


class _Reader:
    """One read in progress: remembers how far it has looked for stops."""

    __slots__ = ("stream", "read", "owner", "index", "priority", "end", "seen", "done")

    def __init__(self, stream: _Stream, read: Read, owner, index: int, priority: tuple[int, ...]):
        self.stream, self.read, self.owner, self.index, self.priority = stream, read, owner, index, priority
        self.end = stream.room if read.limit is None else min(read.start + max(0, read.limit), stream.room)
        self.seen, self.done = read.start, False

    def span(self) -> Span | None:
        """What this read returns, or None when more tokens are needed."""
        tokens, read = self.stream.tokens, self.read
        upto = min(len(tokens), self.end)
        stop = read.stop
        if stop.strings:
            for i in range(self.seen, upto):
                found = self._match(stop, tokens, i) or self._match_text(stop.strings, i)
                if found:
                    return self._make(*found)
        elif stop.sequences:
            for i in range(self.seen, upto):
                if found := self._match(stop, tokens, i):
                    return self._make(*found)
        elif stop.ids:
            ids = stop.ids
            for i in range(self.seen, upto):
                if tokens[i] in ids:
                    return self._make(i, i + 1)
        self.seen = max(self.seen, upto)
        if upto < self.end:
            return None
        full = read.limit is None or read.start + read.limit > self.end
        return self._make(max(upto, min(read.start, len(tokens))), upto, reason="context" if full else "limit")

    def _match(self, stop: Stops, tokens: array, i: int) -> tuple[int, int] | None:
        if tokens[i] in stop.ids:
            return i, i + 1
        for sequence in stop.sequences:
            first = i + 1 - len(sequence)
            if first >= self.read.start and tuple(tokens[first : i + 1]) == sequence:
                return first, i + 1
        return None

    def _match_text(self, strings: tuple[str, ...], i: int) -> tuple[int, int, str] | None:
        decode, start = self.stream.scheduler.decode, self.read.start
        if decode is None:
            raise ValueError(f"stop strings {strings} need a tokenizer: this scheduler was made without one")
        tokens = self.stream.tokens
        tail = decode(tuple(tokens[max(start, i - 8 - max(map(len, strings))) : i + 1]))
        if not any(s in tail for s in strings):
            return None
        text = decode(tuple(tokens[start : i + 1]))
        at, found = min(((text.find(s), s) for s in strings if s in text), default=(-1, None))
        if found is None:
            return None
        keep = i + 1
        while keep > start and len(decode(tuple(tokens[start : keep - 1]))) >= at:
            keep -= 1  # drop tokens that hold no text before the match
        return keep if at else start, i + 1, found

    def _make(self, keep: int, end: int, string: str | None = None, reason: str = "stop") -> Span:
        stream, start = self.stream, self.read.start
        keep = max(keep, start)
        logprobs = tuple(stream.logprobs[start:keep]) if stream.logprobs is not None else None
        return Span(
            ids=tuple(stream.tokens[start:keep]),
            reason=reason,
            start=start,
            end=end,
            stop=tuple(stream.tokens[keep:end]),
            stop_string=string,
            logprobs=logprobs,
        )


# --- running methods ----------------------------------------------------------------------------------------------------


class _Run:
    """A running generator. Its reads are collected for its trace and handed on to whoever it belongs to."""

    def __init__(
        self, scheduler: Scheduler, generator: Generator, owner, order: tuple[int, ...], index: int = 0, begun: bool = False
    ):
        self.scheduler, self.generator, self.owner, self.order, self.index = scheduler, generator, owner, order, index
        self.begun = begun  # past its first read: what it asks for now overtakes new questions
        self.reads: dict[bytes, int] = {}
        self.child, self.cancelled = None, False

    @property
    def priority(self) -> tuple[int, ...]:
        return (0 if self.begun else 1, *self.order)

    def advance(self, value: Any) -> None:
        if self.cancelled:
            return
        try:
            step = self.generator.send(value)
        except StopIteration as stop:
            if isinstance(stop.value, Trace):
                stop.value.reads = dict(self.reads)
            self.owner.deliver(self.index, stop.value, self.reads)
            return
        self.child = _start(self.scheduler, step, self, 0, self)

    def deliver(self, index: int, value: Any, reads: dict[bytes, int]) -> None:
        _merge(self.reads, reads)
        self.begun, self.child = True, None
        self.scheduler._ready.append((self, value))

    def cancel(self) -> None:
        self.cancelled = True
        _cancel(self.scheduler, self.child)
        self.generator.close()


class _Root:
    """The owner of a job's method."""

    def __init__(self, scheduler: Scheduler, job: Job):
        self.scheduler, self.job = scheduler, job

    def deliver(self, index: int, value: Any, reads: dict[bytes, int]) -> None:
        self.scheduler.progress.finished += 1
        self.job.on_done(value)


@dataclass
class _Group:
    """Members of an `All` or a `First` that run at the same time."""

    scheduler: Scheduler
    owner: Any
    index: int
    run: _Run  # whose priority and order the members inherit
    members: Iterator[Any]
    ahead: int
    accept: Callable[[list[Any]], bool] | None
    children: dict[int, Any] = field(default_factory=dict)
    results: dict[int, tuple[Any, dict[bytes, int]]] = field(default_factory=dict)
    accepted: int = 0  # leading results that `accept` has seen (always 0 for an All)
    started: int = 0
    exhausted: bool = False
    filling: bool = False
    finished: bool = False

    def fill(self) -> None:
        """Start members while there is room; those that resolve at once are looked at before the next one starts."""
        self.filling = True
        while not self.finished and not self.exhausted and self.started - self.accepted < self.ahead:
            member = next(self.members, _END)
            if member is _END:
                self.exhausted = True
            else:
                at = self.started
                self.started += 1
                child = _start(self.scheduler, member, self, at, self.run)
                if child is not None and at not in self.results:
                    self.children[at] = child
            self._settle()
        self.filling = False

    def deliver(self, index: int, value: Any, reads: dict[bytes, int]) -> None:
        if self.finished:
            return
        self.results[index] = (value, reads)
        self.children.pop(index, None)
        if not self.filling:
            self._settle()
            self.fill()

    def _settle(self) -> None:
        """Look at newly complete leading results; finish when one is accepted or nothing is left to come."""
        if self.finished:
            return
        while self.accept is not None and self.accepted in self.results:
            self.accepted += 1
            if self.accept([self.results[i][0] for i in range(self.accepted)]):
                return self._finish(self.accepted)
        if self.exhausted and len(self.results) == self.started:
            self._finish(self.started)

    def _finish(self, n: int) -> None:
        self.finished = True
        for child in self.children.values():
            _cancel(self.scheduler, child)
        reads: dict[bytes, int] = {}
        for i in range(n):
            _merge(reads, self.results[i][1])
        self.owner.deliver(self.index, [self.results[i][0] for i in range(n)], reads)

    def cancel(self) -> None:
        self.finished = True
        for child in self.children.values():
            _cancel(self.scheduler, child)


_END = object()


def _start(scheduler: Scheduler, step: Any, owner, index: int, run: _Run):
    """Begin one step for `owner`; returns what can be cancelled, or None when it has already delivered."""
    if isinstance(step, Read):
        return scheduler.subscribe(step, owner, index, run.priority)
    if isinstance(step, All):
        group = _Group(scheduler, owner, index, run, iter(step.members), 1 << 60, None)
    elif isinstance(step, First):
        if step.ahead < 1:
            raise ValueError(f"First(ahead={step.ahead}): at least 1 member must run")
        group = _Group(scheduler, owner, index, run, iter(step.members), step.ahead, step.accept)
    elif isinstance(step, Generator):
        child = _Run(scheduler, step, owner, run.order, index, run.begun)
        scheduler._ready.append((child, None))
        return child
    else:
        raise TypeError(f"a method may yield Read, All, First or another method, not {type(step).__name__}")
    group.fill()
    return None if group.finished else group


def _cancel(scheduler: Scheduler, child) -> None:
    if isinstance(child, _Reader):
        if not child.done:
            scheduler.unsubscribe(child)
    elif child is not None:
        child.cancel()


def _merge(into: dict[bytes, int], reads: dict[bytes, int]) -> None:
    for key, end in reads.items():
        if end > into.get(key, -1):
            into[key] = end
