"""Scores of one engine: each row is asked for once, kept in the store, and handed to everyone who waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .claims import Claims
from .engine import BEHIND, Engine, Rows, Scoring
from .reading import Owner
from .types import Row, Score


class Asked:
    """One `Score` under way: the rows that are there, and who waits for them."""

    def __init__(self, scores: Scores, score: Score, owner: Owner, index: int, priority: tuple[int, ...], root: bytes) -> None:
        self.scores, self.score, self.owner, self.index, self.priority = scores, score, owner, index, priority
        self.root = root  # what it is claimed under
        self.keys = score.keys(scores.engine.fingerprint)
        self.rows: dict[bytes, Row] = {}
        self.done = False

    def missing(self) -> Iterator[tuple[int, bytes]]:
        """Positions and keys of the rows that are not there."""
        return ((n, key) for n, key in zip(self.score.at, self.keys, strict=True) if key not in self.rows)

    def cancel(self) -> None:
        if not self.done:
            self.done = True
            self.scores.forget(self)


class Scores:
    """store: has get, put, refresh and flush (scores.ScoreStore, or scores.MemoryScores). `computed` counts rows from the
    engine. claims: as of Streams."""

    def __init__(self, engine: Engine, store: Any, claims: Claims | None = None) -> None:
        self.engine, self.store, self.claims = engine, store, claims
        self.computed = 0
        self._epoch = 0  # of the claims, when the store was last looked at
        self._parked: list[Asked] = []  # another run's to compute
        self._waiting: dict[bytes, list[Asked]] = {}
        self._to_open: list[Asked] = []
        self._under_way: dict[bytes, int] = {}  # key -> handle
        self._handles: dict[int, list[bytes]] = {}  # keys of the rows to come, in order

    def __contains__(self, handle: int) -> bool:
        return handle in self._handles

    @property
    def open(self) -> int:
        return len(self._handles) + len(self._to_open)

    @property
    def parked(self) -> int:
        """How many wait for what another run computes."""
        return len(self._parked)

    def ask(self, score: Score, owner: Owner, index: int, priority: tuple[int, ...], root: bytes = b"") -> Asked | None:
        """Get rows; delivers at once (and returns None) when all of them are there, or nobody can compute them."""
        if error := self._impossible(score):
            owner.fail(index, error)
            return None
        asked = Asked(self, score, owner, index, priority, root)
        asked.rows = {key: row for key in asked.keys if (row := self.store.get(key)) is not None}
        for _, key in asked.missing():
            self._waiting.setdefault(key, []).append(asked)
        if self._deliver(asked):
            return None
        self._to_open.append(asked)
        return asked

    def begin(self) -> None:
        """Ask the engine for the rows that nobody has asked it for, and that are not another run's to compute."""
        if not self._to_open:
            return
        if self.claims:
            self._claim(self.claims)
        for asked in self._to_open:
            missing = [(n, key) for n, key in asked.missing() if key not in self._under_way]
            if asked.done or not missing:
                continue
            at, keys = zip(*missing, strict=True)
            last, of = at[-1], asked.score.of
            try:
                handle = self.engine.score(Scoring(asked.score.ids[: last + (of in BEHIND)], at, of, asked.priority))
            except ValueError as error:  # this engine has no room to ask
                asked.cancel()
                asked.owner.fail(asked.index, error)
                continue
            self._handles[handle] = list(keys)
            self._under_way |= dict.fromkeys(keys, handle)
        self._to_open.clear()

    def look(self) -> None:
        """Read on from the store what other runs compute, and try again to compute it here."""
        if self._parked:
            self.store.refresh()
            parked, self._parked = self._parked, []
            for asked in parked:
                self._renew(asked)
            self._to_open += [asked for asked in parked if not asked.done]

    def _claim(self, claims: Claims) -> None:
        """Leave in `_to_open` what is this run's to compute."""
        waiting, self._to_open = [asked for asked in self._to_open if not asked.done], []
        claims.want(asked.root for asked in waiting if asked.root)
        for asked in waiting:
            (self._to_open if not asked.root or claims.take(asked.root) else self._parked).append(asked)
        if claims.epoch != self._epoch:
            self._epoch = claims.epoch
            self.store.refresh()
            for asked in list(self._to_open):
                self._renew(asked)

    def _renew(self, asked: Asked) -> None:
        """Take in the rows that are in the store by now."""
        for _, key in list(asked.missing()):
            if key not in self._under_way and (row := self.store.get(key)) is not None:
                asked.rows[key] = row
                self._waiting[key] = [other for other in self._waiting.get(key, ()) if other is not asked]
        self._deliver(asked)

    def receive(self, rows: Rows) -> None:
        keys = self._handles[rows.handle]
        arrived, keys[:] = keys[: len(rows.rows)], keys[len(rows.rows) :]
        if rows.done:
            del self._handles[rows.handle]
        for key, row in zip(arrived, rows.rows, strict=True):
            self._under_way.pop(key, None)
            self.computed += 1
            self.store.put(key, row)
            kept = self.store.get(key)
            for asked in self._waiting.pop(key, ()):
                asked.rows[key] = kept
                self._deliver(asked)

    def forget(self, asked: Asked) -> None:
        """Nobody waits for it any more: what only it wanted is cancelled."""
        self._parked = [other for other in self._parked if other is not asked]
        for _, key in asked.missing():
            others = [other for other in self._waiting.get(key, ()) if other is not asked]
            if others:
                self._waiting[key] = others
                continue
            self._waiting.pop(key, None)
            handle = self._under_way.get(key)
            if handle is not None and not any(k in self._waiting for k in self._handles[handle]):
                self.engine.cancel(handle)
                for k in self._handles.pop(handle):
                    self._under_way.pop(k, None)

    def close(self) -> None:
        """Keep what has arrived, and let the engine forget what is under way."""
        self.store.flush()
        for handle in self._handles:
            self.engine.cancel(handle)
        self._waiting.clear()
        self._to_open.clear()
        self._parked.clear()
        self._under_way.clear()
        self._handles.clear()

    def _deliver(self, asked: Asked) -> bool:
        """Hand over the rows once all of them are there."""
        if asked.done or any(asked.missing()):
            return False
        asked.done = True
        before = (0, *asked.score.at)
        added = {(asked.score.model, key): n - m for key, m, n in zip(asked.keys, before, asked.score.at, strict=False)}
        asked.owner.deliver(asked.index, [asked.rows[key] for key in asked.keys], added)
        return True

    def _impossible(self, score: Score) -> ValueError | None:
        kind, ids, at = score.of if isinstance(score.of, str) else "labels", score.ids, score.at
        if kind not in self.engine.scores:
            able = ", ".join(sorted(self.engine.scores)) or "nothing"
            return ValueError(f'Score.of="{kind}": the engine of the {score.model} scores {able}; choose another scorer.engine')
        last = len(ids) - (kind in BEHIND)
        if not at or at[0] < 1 or at[-1] > last or any(a >= b for a, b in zip(at, at[1:], strict=False)):
            return ValueError(f"Score.at={at}: positions must rise from 1 or more to {last} at most")
        if len(ids) > self.engine.context_length:
            return ValueError(
                f"the {score.model} reads {self.engine.context_length} tokens at most; {len(ids)} are to be scored"
            )
        return None
