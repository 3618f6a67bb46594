"""The streams of one engine: shared by all reads, opened when tokens are missing, kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from .claims import Claims
from .engine import Chunk, Engine, Open, Rows, Scoring, can_say
from .reading import SAMPLED, Decode, Owner, Reader, Stream, needs
from .scores import MemoryScores
from .scoring import Scores
from .types import CONFIDENCES, Forbid, Read, Until

RECENT = 256  # streams kept in memory after their last reader


@dataclass
class Progress:
    """Counts since the streams were made: tokens from the engine, tokens found in the store, and numbers computed for tokens
    that were there without."""

    generated: int = 0
    reused: int = 0
    scored: int = 0


@dataclass(frozen=True)
class Model:
    """What stands behind a role: an engine, the store of its streams and that of its scores (in memory unless given), and
    `decode`, which turns ids into text and is needed for string stops only."""

    engine: Engine
    store: Any
    decode: Decode | None = None
    scores: Any = None


class Streams:
    """The store of `model` has load, inherit (what other versions' streams begin with, see accept.py), append, end, restart,
    flush, refresh and grown. claims: who generates what, where several runs are at work on the store (None: all of it is
    generated here)."""

    def __init__(self, model: Model, claims: Claims | None = None):
        self.engine, self.store, self.decode, self.claims = model.engine, model.store, model.decode, claims
        self.scores = Scores(self.engine, MemoryScores() if model.scores is None else model.scores, claims)
        self.progress = Progress()
        self._streams: dict[bytes, Stream] = {}
        self._handles: dict[int, Stream] = {}
        self._to_open: dict[bytes, Stream] = {}
        self._to_score: dict[bytes, Stream] = {}
        self._parked: dict[bytes, Stream] = {}  # another run's to generate
        self._epoch = 0  # of the claims, when the store was last looked at
        self._scorings: dict[int, _Scoring] = {}
        self._recent: dict[bytes, Stream] = {}  # read to the end a moment ago: the next cell of the question asks again

    @property
    def open(self) -> int:
        """Requests at the engine, and those that are about to be."""
        return len(self._handles) + len(self._to_open) + len(self._to_score) + len(self._scorings) + self.scores.open

    @property
    def parked(self) -> int:
        """Requests that wait for what another run generates."""
        return len(self._parked) + self.scores.parked

    def step(self, wait: float | None = None) -> bool:
        """Open what is missing, and hand out what the engine has, waiting for it `wait` seconds at most where it works
        elsewhere (None: as it likes). Returns whether anything came."""
        if self._to_open or self._to_score:
            self._begin()
        self.scores.begin()
        if not (self._handles or self._scorings or self.scores.open):
            return False
        chunks = self.engine.poll() if wait is None else self.engine.poll(wait)
        self._receive(chunks)
        return any(chunk.done or chunk[1] for chunk in chunks)

    def look(self, lost: Set[bytes]) -> None:
        """Stop what is not this run's any more, read on from the store what others generate, and try again to do so here."""
        for stream in [s for s in self._handles.values() if lost and self._root(s) in lost]:
            self._stop(stream)
            self._parked[stream.key] = stream
        if self._parked:
            self.store.refresh()
            parked, self._parked = self._parked, {}
            for stream in parked.values():
                self._renew(stream)
                if self._streams.get(stream.key) is stream and stream.handle is None:
                    if stream.wanting:
                        self._to_open[stream.key] = stream
                    self._score(stream)
        self.scores.look()

    def save(self) -> None:
        """Keep every token received: what is flushed here, no kill takes away."""
        for stream in self._streams.values():
            self._save(stream)
        self.store.flush()
        self.scores.store.flush()

    def close(self) -> None:
        """Keep every token received, and let the engine forget what is under way."""
        self.save()
        for handle in [*self._handles, *self._scorings]:
            self.engine.cancel(handle)
        self.scores.close()
        for waiting in (self._streams, self._handles, self._to_open, self._to_score, self._parked, self._scorings):
            waiting.clear()

    # --- reads ---

    def subscribe(
        self,
        read: Read,
        owner: Owner,
        index: int,
        priority: tuple[int, ...],
        root: bytes = b"",
        until: Until | None = None,
    ) -> Reader | None:
        """Attach a read to its stream; delivers at once (and returns None) when the tokens are already there."""
        for name in needs(read, until) - SAMPLED if read.confidence or until else ():
            if name not in CONFIDENCES or not can_say(self.engine, name):
                known = f"this engine does not say the {CONFIDENCES[name]}" if name in CONFIDENCES else "must be top20 or kl"
                owner.fail(index, ValueError(f'confidence="{name}": {known}'))
                return None
        key = read.key(self.engine.fingerprint)
        stream = self._streams.get(key)
        if stream is None:
            if stream := self._recent.pop(key, None):
                self._renew(stream)
            else:
                stream = self._stream(key, read)
            self._streams[key] = stream
        reader = Reader(stream, read, owner, index, priority, root, until)
        stream.add(reader)
        stream.resolve()
        if reader.done:
            if not stream.readers and self._streams.get(key) is stream:
                self._drop(stream)
            return None
        if stream.handle is not None and not stream.wanted <= stream.reported:
            self._stop(stream)  # it goes on with these numbers from here
        if stream.handle is None and stream.wanting:
            self._to_open[key] = stream
        if reader.needs:
            self._score(stream)
        return None if reader.done else reader

    def unsubscribe(self, reader: Reader) -> None:
        reader.done = True
        stream = reader.stream
        if reader in stream.readers:
            stream.remove(reader)
            if not stream.readers:
                self._drop(stream)

    def _stream(self, key: bytes, read: Read) -> Stream:
        room = max(0, self.engine.context_length - len(read.prefix))
        stream = Stream(key, read, self.store.load(key) or self.store.inherit(key, read), room, self.decode)
        self.progress.reused += len(stream.tokens)
        return stream

    def _stop(self, stream: Stream) -> None:
        if stream.handle is not None:
            self.engine.cancel(stream.handle)
            self._handles.pop(stream.handle, None)
            stream.handle = None

    def _drop(self, stream: Stream) -> None:
        """Nobody reads this stream any more."""
        self._stop(stream)
        for handle in [h for h, s in self._scorings.items() if s.stream is stream]:
            self.engine.cancel(handle)
            del self._scorings[handle]
        for waiting in (self._to_open, self._to_score, self._parked):
            waiting.pop(stream.key, None)
        self._save(stream)
        self._streams.pop(stream.key, None)
        self._recent[stream.key] = stream
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]

    # --- the engine ---

    def _begin(self) -> None:
        """Ask the engine for what is missing and is not another run's to generate."""
        if self.claims:
            self._claim(self.claims)
        for stream in self._to_open.values():
            if stream.wanting and stream.handle is None:
                self._open(stream)
        for stream in self._to_score.values():
            self._ask(stream)
        self._to_open.clear()
        self._to_score.clear()

    def _claim(self, claims: Claims) -> None:
        """Leave in `_to_open` and `_to_score` what is this run's to generate."""
        roots = {key: root for key, stream in (self._to_open | self._to_score).items() if (root := self._root(stream))}
        claims.want(roots.values())
        for key, root in roots.items():
            if not claims.take(root):
                for waiting in (self._to_open, self._to_score):
                    if stream := waiting.pop(key, None):
                        self._parked[key] = stream
        if claims.epoch != self._epoch:  # somebody else was at these before
            self._epoch = claims.epoch
            self.store.refresh()
            for stream in list((self._to_open | self._to_score).values()):
                self._renew(stream)

    def _root(self, stream: Stream) -> bytes:
        """What a stream is claimed under: of the roots that read it, one that is held if there is any."""
        roots = [reader.root for reader in stream.readers]
        held = self.claims.held if self.claims else ()
        return next((root for root in roots if not root or root in held), roots[0]) if roots else b""

    def _renew(self, stream: Stream) -> None:
        """Take in what others have written of it, unless it is open."""
        if stream.handle is not None or not self.store.grown(stream.key):
            return
        self._save(stream)
        if (stored := self.store.load(stream.key)) is None:  # damaged
            return
        if tuple(stored.ids[: len(stream.tokens)]) != tuple(stream.tokens):  # files went away: all of it is written anew
            self.store.restart(stream.key)
            return
        self.progress.reused += stream.renew(stored)
        stream.resolve()
        if not stream.readers and self._streams.get(stream.key) is stream:
            self._drop(stream)

    def _open(self, stream: Stream) -> None:
        wanting = [r for r in stream.readers if r.wanting]
        have = len(stream.tokens)
        forbid = stream.forbid
        if forbid is not None:
            forbid = Forbid(forbid.ids, forbid.first - have) if forbid.first > have else None
        stops = frozenset.intersection(*(r.read.stop.ids for r in wanting))
        if any(r.read.start > have for r in wanting):
            stops = frozenset()  # a stop before some reader's start must not end the stream
        seen = (r.until or r.read.stop.strings or r.read.stop.sequences or not r.read.stop.ids <= stops for r in wanting)
        stream.handle = self.engine.open(
            Open(
                prefix=stream.prefix + tuple(stream.tokens),
                limit=max(r.end for r in wanting) - have,
                sampling=stream.sampling,
                forbid=forbid,
                stop_ids=stops,
                priority=min(r.priority for r in wanting),
                logprobs="logprob" in stream.wanted,
                watched=any(seen),
                confidences=stream.wanted - SAMPLED,
            )
        )
        stream.reported = stream.wanted
        self._handles[stream.handle] = stream
        self._parked.pop(stream.key, None)

    def _receive(self, chunks: list[Chunk | Rows]) -> None:
        """Hand new tokens to their streams. This runs once per token, so what most tokens need is written out here."""
        handles = self._handles
        for chunk in chunks:
            handle = chunk[0]
            if (stream := handles.get(handle)) is None:
                if isinstance(chunk, Rows):
                    if handle in self._scorings:
                        self._scored(chunk)
                    elif handle in self.scores:
                        self.scores.receive(chunk)
                continue
            _, ids, logprobs, done, confidences = chunk  # type: ignore[misc]  # a stream's handle gets chunks
            tokens = stream.tokens
            if stream.columns and ids:
                stream.keep(len(ids), logprobs, confidences)
            tokens.extend(ids)  # behind their numbers (Stream.keep)
            self.progress.generated += len(ids)
            if len(tokens) >= stream.next_end or stream.watched or not stream.triggers.isdisjoint(ids):
                stream.resolve()
                if stream.handle != handle:  # a delivery made the whole stream unneeded
                    continue
            if done or not stream.wanting:
                self._end(handle, stream, done)

    def _end(self, handle: int, stream: Stream, done: bool) -> None:
        """The engine will send no more, or nobody needs more."""
        del self._handles[handle]
        stream.handle = None
        if not done:
            self.engine.cancel(handle)
        if not stream.readers:
            self._drop(stream)
            return
        if stream.wanting:  # the engine stopped at a hint or at a limit that a later reader exceeds
            self._to_open[stream.key] = stream
        self._score(stream)

    def _score(self, stream: Stream) -> None:
        """See to the numbers that are missing and that somebody needs; it fails where the engine cannot compute them."""
        for name in self._missing(stream):
            if _of(name) in self.engine.scores:
                self._to_score[stream.key] = stream
                continue
            what = "log-probabilities" if name == "logprob" else CONFIDENCES[name]
            error = ValueError(
                f"{what} are needed of tokens that were stored without, and this engine cannot compute them; "
                "choose another engine (engine=transformers or engine=vllm) or an empty store.dir"
            )
            for reader in [r for r in stream.readers if name in r.needs]:
                self.unsubscribe(reader)
                reader.owner.fail(reader.index, error)

    def _missing(self, stream: Stream) -> dict[str, list[int]]:
        """Positions whose numbers somebody needs, that are not known and not under way."""
        found = {}
        for name, column in stream.columns.items():
            if column.gap is None or not any(name in r.needs for r in stream.readers):
                continue
            under_way = {p for s in self._scorings.values() if s.stream is stream and s.of == name for p in s.positions}
            if missing := [p for p in column.gaps() if p not in under_way]:
                found[name] = missing
        return found

    def _ask(self, stream: Stream) -> None:
        """Ask for the numbers that are missing, once."""
        for name, positions in self._missing(stream).items():
            self._compute(stream, name, positions)

    def _compute(self, stream: Stream, name: str, positions: list[int]) -> None:
        first, ids = len(stream.prefix), stream.prefix + tuple(stream.tokens[: positions[-1] + 1])
        priority = min(r.priority for r in stream.readers)
        handle = self.engine.score(Scoring(ids, tuple(first + p for p in positions), _of(name), priority))
        self._scorings[handle] = _Scoring(stream, name, positions, [])

    def _scored(self, rows: Rows) -> None:
        scoring = self._scorings[rows.handle]
        scoring.values += [row[0] for row in rows.rows]
        if not rows.done:
            return
        del self._scorings[rows.handle]
        stream = scoring.stream
        column = stream.columns[scoring.of]
        column.fill(scoring.positions, scoring.values)
        self.progress.scored += len(scoring.positions)
        if column.gap is None:
            self.store.restart(stream.key)  # written anew, now with these numbers
            self._save(stream)
        stream.resolve()
        if not stream.readers and self._streams.get(stream.key) is stream:
            self._drop(stream)
        elif stream.handle is None and stream.wanting:
            self._to_open[stream.key] = stream

    def _save(self, stream: Stream) -> None:
        first = self.store.end(stream.key)  # the store alone knows: an interrupt came before or behind what it took
        if new := stream.tokens[first:]:
            numbers: dict[Any, Any] = stream.numbers(first)
            self.store.append(stream.key, new, numbers.pop("logprob", None), numbers)


@dataclass
class _Scoring:
    """Numbers on their way to `positions` of a stream."""

    stream: Stream
    of: str
    positions: list[int]
    values: list[float]


def _of(name: str) -> Any:
    """What an engine is asked for to have a number."""
    return "next" if name == "logprob" else name


OnProgress = Callable[[Progress], None]
