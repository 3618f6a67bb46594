"""Streams under way and their readers: who waits for which tokens, and where stops match."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from .frames import half
from .types import Read, Span, Stops

if TYPE_CHECKING:
    from .scheduler import Scheduler


class Stream:
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
        self.readers: list[Reader] = []
        self._refresh()

    def keep(self, logprobs: list[float] | None) -> None:
        """Log-probabilities of new tokens, as the store will have them; a stream that misses some has none."""
        if logprobs is None:
            self.logprobs = None
        else:
            self.logprobs += half(logprobs)

    def add(self, reader: Reader) -> None:
        self.readers.append(reader)
        self._refresh()

    def remove(self, reader: Reader) -> None:
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


class Reader:
    """One read in progress: remembers how far it has looked for stops."""

    __slots__ = ("stream", "read", "owner", "index", "priority", "end", "seen", "done")

    def __init__(self, stream: Stream, read: Read, owner, index: int, priority: tuple[int, ...]):
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
