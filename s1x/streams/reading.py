"""Streams under way and their readers: who waits for which tokens, and where stops match."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isnan, nan
from typing import Any, Protocol

from .frames import half
from .types import Read, Span, Stops, Until, first_stop

Decode = Callable[[tuple[int, ...]], str]
Reads = dict[Any, int]
NOTHING: frozenset[str] = frozenset()
SAMPLED: frozenset[str] = frozenset({"logprob"})  # what sampled streams are always asked for


class Owner(Protocol):
    """Whoever asked for something: gets its value and what was read for it, or the error that ended it.

    `index` is the number under which the owner asked; `reads` holds tokens, by stream (16 bytes) and by (model, row of scores).
    """

    def deliver(self, index: int, value: Any, reads: Reads) -> None: ...

    def fail(self, index: int, error: Exception) -> None: ...


class Column:
    """Numbers of one kind beside the tokens of a stream, as the store will have them: not-a-number where one is not known;
    `gap` is the first such position, None when there is none."""

    __slots__ = ("values", "rounded", "gap")

    def __init__(self, name: str, values: Sequence[float]) -> None:
        self.values, self.rounded = array("f", values), name == "logprob"
        self.gap: int | None = 0
        self.gap = next(iter(self.gaps()), None)

    def lack(self, count: int) -> None:
        """Those of the next `count` tokens are not known."""
        self.gap = len(self.values) if self.gap is None else self.gap
        self.values.extend([nan] * count)

    def gaps(self) -> list[int]:
        """Positions whose numbers are not known."""
        return [] if self.gap is None else [i for i in range(self.gap, len(self.values)) if isnan(self.values[i])]

    def fill(self, positions: Sequence[int], values: Sequence[float]) -> None:
        for position, value in zip(positions, half(values) if self.rounded else values, strict=True):
            self.values[position] = value
        self.gap = next(iter(self.gaps()), None)


class Stream:
    """The tokens of one stream so far, and who waits for more.

    `columns` are the numbers beside the tokens that somebody has asked for, or that were stored. `wanted`: the engine is to
    report these. `wanting`: some reader needs tokens that are not there.
    """

    def __init__(self, key: bytes, read: Read, stored: Any, room: int, decode: Decode | None):
        self.key, self.room, self.decode = key, room, decode
        self.prefix, self.sampling, self.forbid = read.prefix, read.sampling, read.forbid
        self.tokens = array("i", stored.ids if stored else ())
        self.wanted = NOTHING if read.sampling.noise is None else SAMPLED
        self.columns: dict[str, Column] = {}
        if stored:
            given = stored.confidences if stored.logprobs is None else {"logprob": stored.logprobs, **stored.confidences}
            self.columns = {name: Column(name, values) for name, values in given.items()}
        elif self.wanted:
            self.columns = {"logprob": Column("logprob", ())}
        self.handle: int | None = None
        self.reported = NOTHING  # by the engine, with the handle that is open
        self.readers: list[Reader] = []
        self._refresh()

    def keep(self, count: int, logprobs: Sequence[float] | None, confidences: Mapping[str, Sequence[float]] | None) -> None:
        """The numbers that the engine has reported of the next `count` tokens, which are added afterwards: an interrupt leaves
        no token without. This runs once per token."""
        for name, column in self.columns.items():
            values = logprobs if name == "logprob" else confidences.get(name) if confidences else None
            if values:
                column.values.extend(half(values) if column.rounded else values)
            else:
                column.lack(count)

    def known(self, names: Iterable[str]) -> int:
        """So many first tokens have all of these numbers."""
        gaps = [self.columns[name].gap for name in names]
        return min((gap for gap in gaps if gap is not None), default=len(self.tokens))

    def numbers(self, first: int) -> dict[str, array]:
        """Those of the tokens from `first` on: log-probabilities if all have one, confidences if any has."""
        end = len(self.tokens)
        new = {name: column.values[first:end] for name, column in self.columns.items()}
        return {
            name: values
            for name, values in new.items()
            if self.columns[name].gap is None or not (any if self.columns[name].rounded else all)(map(isnan, values))
        }

    def renew(self, stored: Any) -> int:
        """Take in what the store has by now, where all that was received is. Returns how many tokens are new."""
        new = stored.ids[len(self.tokens) :]
        given = stored.confidences if stored.logprobs is None else {"logprob": stored.logprobs, **stored.confidences}
        for name, values in given.items():
            known = self.columns[name].values if name in self.columns else ()
            merged = [old if not isnan(old) else value for old, value in zip(known, values, strict=False)]
            self.columns[name] = Column(name, [*merged, *values[len(known) :]])
        for name in self.columns.keys() - given.keys() if new else ():
            self.columns[name].lack(len(new))
        self.tokens.extend(new)
        return len(new)

    def add(self, reader: Reader) -> None:
        """From now on every token has the numbers that the reader asks for, those that are there already included."""
        self.readers.append(reader)
        if reader.needs:
            self.wanted |= reader.needs
            for name in reader.needs - self.columns.keys():
                self.columns[name] = Column(name, [nan] * len(self.tokens))
        self._refresh()

    def remove(self, reader: Reader) -> None:
        self.readers.remove(reader)
        self._refresh()

    def _refresh(self) -> None:
        stops = [r.read.stop for r in self.readers]
        self.triggers = frozenset().union(*(s.ids for s in stops), *({q[-1]} for s in stops for q in s.sequences))
        self.watched = any(s.strings for s in stops) or any(r.until for r in self.readers)
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

    `hit` is the end that stops and limit set, as soon as it is known: (ids kept, position after the stop, reason). `needs` are
    the numbers that it must have beside its tokens. `root` is what it is claimed under (claims.py), empty where nothing is.
    """

    __slots__ = (
        *("stream", "read", "owner", "index", "priority", "root", "end", "seen", "done"),
        *("hit", "until", "needs", "state", "folded"),
    )

    def __init__(
        self, stream: Stream, read: Read, owner: Owner, index: int, priority: tuple[int, ...], root: bytes = b"",
        until: Until | None = None,
    ):  # fmt: skip
        self.stream, self.read, self.owner, self.index, self.priority = stream, read, owner, index, priority
        self.root = root
        self.end = stream.room if read.limit is None else min(read.start + max(0, read.limit), stream.room)
        self.seen, self.done = read.start, False
        self.hit: tuple[int, int, str] | None = None
        self.until, self.state, self.folded = until, None, read.start
        self.needs = needs(read, until)

    @property
    def wanting(self) -> bool:
        """Whether it needs tokens that are not there. A condition is first looked for in those that are."""
        return self.hit is None and not (self.until and self.stream.known(self.needs) < len(self.stream.tokens))

    def span(self) -> Span | None:
        """What this read returns, or None when something is still missing."""
        if self.hit is None:
            self.hit = self._look()
        if self.until and (at := self._folded(self.until)) is not None:
            return self._make(at, at, "until")
        if self.hit is None or (self.needs and self.stream.known(self.needs) < self.hit[0]):
            return None
        return self._make(*self.hit)

    def _folded(self, until: Until) -> int | None:
        """Call the condition for the positions that are new; the end it sets, if it does.

        Positions are seen before the stop that ends at a later one, as if tokens came one by one.
        """
        last = len(self.stream.tokens) if self.hit is None else self.hit[1] - 1
        tokens, numbers = self.stream.tokens, self.stream.columns[until.of].values
        for i in range(self.folded, min(last, self.end, self.stream.known(self.needs))):
            self.folded = i + 1
            self.state, ends = until.fold(self.state, tokens[i], numbers[i])
            if ends and (i + 1 - self.read.start) % until.every == 0:
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

        def beside(name: str | None) -> tuple[float, ...] | None:
            column = stream.columns.get(name) if name else None
            known = column and (column.gap is None or keep <= column.gap)
            return tuple(column.values[start:keep]) if column and known else None

        ids, stop = tuple(stream.tokens[start:keep]), tuple(stream.tokens[keep:end])
        logprobs = beside("logprob") if "logprob" in self.needs or stream.sampling.noise is not None else None
        return Span(ids, reason, start, end, stop, logprobs, beside(self.read.confidence))


def needs(read: Read, until: Until | None) -> frozenset[str]:
    """The numbers (types.Number) that a read must have beside its tokens."""
    if not (read.logprobs or read.confidence or until):
        return NOTHING
    asked = (read.logprobs and "logprob", read.confidence, until and until.of)
    return frozenset(name for name in asked if isinstance(name, str))
