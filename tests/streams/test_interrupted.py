"""Ctrl-C, raised at every line and at every bytecode of the code that keeps tokens: none is kept wrong or twice, and what was
flushed stays."""

from __future__ import annotations

import errno
import math
import os
import shutil
import sys
from itertools import count
from pathlib import Path

import pytest

from s1x.engines.scripted import ScriptedEngine, logprob
from s1x.streams import appending, frames, memory, reading, scores, shared, store, upkeep
from s1x.streams.frames import half
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Model, Scheduler
from s1x.streams.store import Store, StoreError
from s1x.streams.types import Read, Sampling, Score, Trace

KEEPERS = {module.__file__ for module in (appending, frames, memory, reading, scores, shared, store)}
SAMPLED, SURE, BARE, GROWN = (1,), (2,), (3,), (4,)
SAMPLING = {SAMPLED: Sampling(1.0, noise=7), GROWN: Sampling(1.0, noise=8)}


def engine() -> ScriptedEngine:
    return ScriptedEngine(vocab=1000, tokens_per_poll=2)


def read(prompt, limit, **how) -> Read:
    return Read(prompt, SAMPLING.get(prompt, Sampling()), limit=limit, **how)


def truth(prompt, n) -> list[int]:
    ids: list[int] = []
    while len(ids) < n:
        ids.append(engine().next_token((*prompt, *ids), SAMPLING.get(prompt, Sampling())))
    return ids


TRUTH = {prompt: truth(prompt, 12) for prompt in (SAMPLED, SURE, BARE, GROWN)}


class Watched(Store):
    """Remembers what was flushed: no interrupt may take it back."""

    def flush(self) -> None:
        super().flush()
        self.safe = {key: self.end(key) for key in self.keys()}


def work(kept, rows, others, spans) -> None:
    """All the ways in which tokens and numbers come to a store: from the engine, sampled and with confidences; numbers of those
    that were stored without; another run's tokens; rows of scores."""

    def ask(*reads, between=lambda: None):
        for at, one in enumerate(reads):
            if at:
                between()
            spans.append((one, (yield one)))
        return Trace((1,))

    def scored():
        spans.append((None, (yield Score(BARE + tuple(TRUTH[BARE][:5]), (2, 4), "head"))))
        return Trace((1,))

    methods = [
        ask(read(SAMPLED, 5)),
        ask(read(SURE, 4, confidence="top20")),
        ask(read(BARE, 3), read(BARE, 5, logprobs=True)),
        ask(read(GROWN, 2), read(GROWN, 8), between=others),
        scored(),
    ]
    scheduler = Scheduler(engine(), kept, others={"scorer": Model(engine(), MemoryStore(), scores=rows)}, flush_seconds=0)
    scheduler.run(Job((i,), method, lambda trace: None) for i, method in enumerate(methods))


def interrupted(kept, rows, others, at, opcodes) -> int:
    """Work, and raise at event `at`. Returns how many there were, if it was not reached."""
    events = count(1)

    def trace(frame, event, _):
        if frame.f_code.co_filename not in KEEPERS:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = opcodes, not opcodes
        if event in ("line", "opcode") and next(events) == at:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work(kept, rows, others, [])
    except KeyboardInterrupt:
        return 0
    finally:
        sys.settrace(before)
    return next(events)


def right(kept: Store, safe) -> None:
    """What is kept is the model's own, with its numbers; and at least what was safe."""
    for prompt, ids in TRUTH.items():
        key = read(prompt, 1).key(kept.fingerprint)
        stored = kept.load(key)
        n = len(stored.ids) if stored else 0
        assert n >= safe.get(key, 0)
        if stored:
            assert list(stored.ids) == ids[:n], prompt
            assert stored.logprobs in (None, half([logprob(token) for token in ids[:n]]))
            sure = [engine().confidence("top20", (*prompt, *ids[:i])) for i in range(n)]
            known = stored.confidences.get("top20", [math.nan] * n)
            assert all(math.isnan(a) or a == pytest.approx(b, rel=1e-6) for a, b in zip(known, sure, strict=True))


def anywhere(place: Path, at: int, opcodes: bool) -> int:
    """Interrupt work at one event, then go on: with the same store (as in a notebook), or with another process's."""
    fingerprint = engine().fingerprint
    kept, rows = Watched(place, fingerprint), scores.ScoreStore(place, fingerprint)
    kept.safe = {}

    def others(ids=TRUTH[GROWN][:5]) -> None:
        with Store(place, fingerprint) as other:
            key = read(GROWN, 1).key(fingerprint)
            other.append(key, ids[len(stored.ids) if (stored := other.load(key)) else 0 :])
        kept.refresh()

    events = interrupted(kept, rows, others, at, opcodes)
    with Store(place, fingerprint, writable=False) as seen:
        right(seen, kept.safe)
    if at % 2:
        kept, rows = Watched(place, fingerprint), scores.ScoreStore(place, fingerprint)
    spans: list = []
    work(kept, rows, lambda: None, spans)
    for one, span in spans:
        if one:
            assert list(span.ids) == TRUTH[one.prefix][: one.limit]
    kept.close()
    with Store(place, fingerprint, writable=False) as seen:
        right(seen, {})
        for one, _ in spans:
            assert one is None or len(seen.load(one.key(fingerprint)).ids) >= one.limit
    assert not any(found.damage or found.apart for found in upkeep.contents(place, check=True))
    return events


def every(place: Path, opcodes: bool, step: int) -> None:
    for at in range(1, 1 << 30, step):
        if anywhere(place / "store", at, opcodes):
            assert at > 1000
            return
        shutil.rmtree(place / "store", ignore_errors=True)


def test_interrupted_at_lines(tmp_path):
    every(tmp_path, False, 7)


@pytest.mark.long
def test_interrupted_at_every_line(tmp_path):
    every(tmp_path, False, 1)


@pytest.mark.long
def test_interrupted_at_bytecodes(tmp_path):
    every(tmp_path, True, 11)


def test_interrupted_in_memory(tmp_path):
    for at in range(1, 1 << 30, 11):
        kept = MemoryStore()
        events = interrupted(kept, None, lambda: None, at, False)
        spans: list = []
        work(kept, None, lambda: None, spans)
        for one, _ in spans:
            if one:
                stored, n = kept.load(one.key(engine().fingerprint)), one.limit
                assert stored.ids[:n].tolist() == TRUTH[one.prefix][:n]
                assert all(len(column) == len(stored.ids) for column in stored.confidences.values())
                assert stored.logprobs is None or len(stored.logprobs) == len(stored.ids)
        if events:
            return


def test_a_disk_that_is_full_for_a_moment_doubles_nothing(tmp_path, monkeypatch):
    """An append that fills the buffer writes it: where that fails, the tokens are in the buffer all the same."""
    fingerprint = engine().fingerprint
    kept, rows = Store(tmp_path, fingerprint), scores.ScoreStore(tmp_path, fingerprint)
    monkeypatch.setattr(store, "FLUSH_BYTES", 1)

    def full(fd, data):
        monkeypatch.undo()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        work(kept, rows, lambda: None, [])
    kept.close()
    with Store(tmp_path, fingerprint, writable=False) as seen:
        assert len(list(seen.keys())) == 4
        right(seen, {})
