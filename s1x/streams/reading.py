"""Streams under way and their readers: who waits for which tokens, and where stops match."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from math import isnan, nan
from typing import Any, Protocol

from .frames import half
from .types import Fold, Read, Span, Stops, first_stop

Decode = Callable[[tuple[int, ...]], str]
Reads = dict[Any, int]


class Owner(Protocol):
    """Whoever asked for something: gets its value and what was read for it, or the error that ended it.

    `index` is the number under which the owner asked; `reads` holds tokens, by stream (16 bytes) and by (model, row of scores).
    """

    def deliver(self, index: int, value: Any, reads: Reads) -> None: ...

    def fail(self, index: int, error: Exception) -> None: ...


class Stream:
    """The tokens of one stream so far, and who waits for more.

    `logprobs` stand beside the tokens, not-a-number where they are not known (`gap` is the first such position, None when
    there is none); None when nobody has asked for any. `wanted`: the engine is to report them. `wanting`: some reader needs
    tokens that are not there.
    """

    def __init__(self, key: bytes, read: Read, stored: Any, room: int, decode: Decode | None):
        self.key, self.room, self.decode = key, room, decode
        self.prefix, self.sampling, self.forbid = read.prefix, read.sampling, read.forbid
        self.tokens = array("i", stored.ids if stored else ())
        self.wanted = read.sampling.noise is not None
        self.logprobs: list[float] | None = [] if self.wanted and not self.tokens else None
        self.gap: int | None = None
        if stored and stored.logprobs is not None:
            self.logprobs = list(stored.logprobs)
        self.saved = len(self.tokens)
        self.handle: int | None = None
        self.reported = False  # by the engine, with the handle that is open
        self.readers: list[Reader] = []
        self._refresh()

    def want_logprobs(self) -> None:
        """From now on every token of this stream has its log-probability, those that are there already included."""
        self.wanted = True
        if self.logprobs is None:
            self.logprobs = [nan] * len(self.tokens)
            self.gap = 0 if self.tokens else None

    def keep(self, count: int, logprobs: list[float] | None) -> None:
        """Log-probabilities of the `count` newest tokens, as the store will have them."""
        if self.logprobs is None:
            return
        if logprobs is not None:
            self.logprobs += half(logprobs)
        elif count:
            self.gap = len(self.logprobs) if self.gap is None else self.gap
            self.logprobs += [nan] * count

    def gaps(self) -> list[int]:
        """Positions whose log-probabilities are not known."""
        if self.gap is None or self.logprobs is None:
            return []
        return [i for i in range(self.gap, len(self.logprobs)) if isnan(self.logprobs[i])]

    def fill(self, positions: Sequence[int], logprobs: Sequence[float]) -> None:
        assert self.logprobs is not None
        for position, value in zip(positions, half(logprobs), strict=True):
            self.logprobs[position] = value
        missing = self.gaps()
        self.gap = missing[0] if missing else None

    def renew(self, stored: Any) -> int:
        """Take in what the store has by now, where all that was received is. Returns how many tokens are new."""
        new = stored.ids[len(self.tokens) :]
        self.tokens.extend(new)
        if stored.logprobs is not None:
            self.logprobs, self.gap = list(stored.logprobs), None
        else:
            self.keep(len(new), None)
        self.saved = len(self.tokens)
        return len(new)

    def add(self, reader: Reader) -> None:
        self.readers.append(reader)
        if reader.read.logprobs:
            self.want_logprobs()
        self._refresh()

    def remove(self, reader: Reader) -> None:
        self.readers.remove(reader)
        self._refresh()

    def _refresh(self) -> None:
        stops = [r.read.stop for r in self.readers]
        self.triggers = frozenset().union(*(s.ids for s in stops), *({q[-1]} for s in stops for q in s.sequences))
        self.watched = any(s.strings for s in stops) or any(r.fold for r in self.readers)
        self.next_end = min((r.end for r in self.readers), default=1 << 60)
        self.wanting = any(r.wanting for r in self.readers)

    def resolve(self) -> None:
        """Deliver every reader that has what it asked for (a delivery may cancel other readers, or add some)."""
        found: list[tuple[Reader, Span | Exception]] = []
        for reader in self.readers:
            try:
                span = reader.span()
            except Exception as error:  # a method's own condition, or a stop that cannot be matched
                found.append((reader, error))
            else:
                if span is not None:
                    found.append((reader, span))
        if found:
            gone = {id(r) for r, _ in found}
            self.readers = [r for r in self.readers if id(r) not in gone]
        self._refresh()
        for reader, value in found:
            if reader.done:
                continue
            reader.done = True
            if isinstance(value, Span):
                reader.owner.deliver(reader.index, value, {self.key: value.end})
            else:
                reader.owner.fail(reader.index, value)


class Reader:
    """One read in progress: remembers how far it has looked for stops, and for the end that a condition sets.

    `hit` is the end that stops and limit set, as soon as it is known: (ids kept, position after the stop, reason). `root` is
    what it is claimed under (claims.py), empty where nothing is.
    """

    __slots__ = (
        *("stream", "read", "owner", "index", "priority", "root", "end", "seen", "done"),
        *("hit", "fold", "every", "state", "folded"),
    )

    def __init__(
        self, stream: Stream, read: Read, owner: Owner, index: int, priority: tuple[int, ...], root: bytes = b"",
        fold: Fold | None = None, every: int = 1,
    ):  # fmt: skip
        self.stream, self.read, self.owner, self.index, self.priority = stream, read, owner, index, priority
        self.root = root
        self.end = stream.room if read.limit is None else min(read.start + max(0, read.limit), stream.room)
        self.seen, self.done = read.start, False
        self.hit: tuple[int, int, str] | None = None
        self.fold, self.every, self.state, self.folded = fold, every, None, read.start

    @property
    def wanting(self) -> bool:
        """Whether it needs tokens that are not there. A condition is first looked for in those that are."""
        return self.hit is None and not (self.fold and self.stream.gap is not None)

    def span(self) -> Span | None:
        """What this read returns, or None when something is still missing."""
        if self.hit is None:
            self.hit = self._look()
        if self.fold and (at := self._folded(self.fold)) is not None:
            return self._make(at, at, "until")
        if self.hit is None or (self.read.logprobs and self._known() < self.hit[0]):
            return None
        return self._make(*self.hit)

    def _known(self) -> int:
        """So many first tokens have their log-probabilities."""
        return len(self.stream.tokens) if self.stream.gap is None else self.stream.gap

    def _folded(self, fold: Fold) -> int | None:
        """Call the condition for the positions that are new; the end it sets, if it does.

        Positions are seen before the stop that ends at a later one, as if tokens came one by one.
        """
        last = len(self.stream.tokens) if self.hit is None else self.hit[1] - 1
        tokens, logprobs = self.stream.tokens, self.stream.logprobs or ()
        for i in range(self.folded, min(last, self.end, self._known())):
            self.folded = i + 1
            self.state, ends = fold(self.state, tokens[i], logprobs[i])
            if ends and (i + 1 - self.read.start) % self.every == 0:
                return i + 1
        return None

    def _look(self) -> tuple[int, int, str] | None:
        """Where stops, limit or context end the read, if they do so far."""
        tokens, read = self.stream.tokens, self.read
        upto = min(len(tokens), self.end)
        stop = read.stop
        if stop.strings:
            for i in range(self.seen, upto):
                if found := self._match(stop, tokens, i) or self._match_text(stop.strings, i):
                    return found
        elif stop.sequences:
            for i in range(self.seen, upto):
                if found := self._match(stop, tokens, i):
                    return found
        elif stop.ids:
            ids = stop.ids
            for i in range(self.seen, upto):
                if tokens[i] in ids:
                    return i, i + 1, "stop"
        self.seen = max(self.seen, upto)
        if upto < self.end:
            return None
        full = read.limit is None or read.start + read.limit > self.end
        return max(upto, min(read.start, len(tokens))), upto, "context" if full else "limit"

    def _match(self, stop: Stops, tokens: array, i: int) -> tuple[int, int, str] | None:
        if tokens[i] in stop.ids:
            return i, i + 1, "stop"
        for sequence in stop.sequences:
            first = i + 1 - len(sequence)
            if first >= self.read.start and tuple(tokens[first : i + 1]) == sequence:
                return first, i + 1, "stop"
        return None

    def _match_text(self, strings: tuple[str, ...], i: int) -> tuple[int, int, str] | None:
        decode, start = self.stream.decode, self.read.start
        if decode is None:
            raise ValueError(f"stop strings {strings} need a tokenizer: this scheduler was made without one")
        tokens = self.stream.tokens
        tail = decode(tuple(tokens[max(start, i - 8 - max(map(len, strings))) : i + 1]))
        if not any(s in tail for s in strings):
            return None
        text = decode(tuple(tokens[start : i + 1]))
        at = first_stop(text, strings)
        if at < 0:
            return None
        keep = i + 1
        while keep > start and len(decode(tuple(tokens[start : keep - 1]))) >= at:
            keep -= 1  # drop tokens that hold no text before the match
        return keep if at else start, i + 1, "stop"

    def _make(self, keep: int, end: int, reason: Any) -> Span:
        stream, start = self.stream, self.read.start
        keep = max(keep, start)
        logprobs = None
        if stream.logprobs is not None and (self.read.logprobs or stream.sampling.noise is not None):
            if stream.gap is None or keep <= stream.gap:
                logprobs = tuple(stream.logprobs[start:keep])
        ids, stop = tuple(stream.tokens[start:keep]), tuple(stream.tokens[keep:end])
        return Span(ids=ids, reason=reason, start=start, end=end, stop=stop, logprobs=logprobs)
