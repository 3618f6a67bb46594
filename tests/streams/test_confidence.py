"""Confidences are there for whoever asks, whatever was stored; nobody else pays; and a condition may look at them."""

from __future__ import annotations

import math
import struct
import tempfile
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s1x.engines.scripted import ScriptedEngine
from s1x.streams.frames import HEAD, MAGIC, id_hash
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.store import Store
from s1x.streams.types import GREEDY, Read, Sampling, Score, Until, digest

A, B = digest("stream a"), digest("stream b")
WARM = Sampling(1.0, noise=77)
PREFIX = (5, 6)


def engine(**kw):
    return ScriptedEngine(vocab=50, capacity=4, **kw)


def reads(step):
    value = yield step
    return value


def run(model, store, *steps):
    """The value of each step, or the error that ended it."""
    found = {}
    scheduler = Scheduler(model, store)
    scheduler.run(
        Job((i,), reads(s), lambda v, i=i: found.update({i: v}), lambda e, i=i: found.update({i: e}))
        for i, s in enumerate(steps)
    )
    return [found[i] for i in range(len(steps))], scheduler


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def expected(name, ids):
    """What the model says of each id, as float32."""
    return tuple(single(engine().confidence(name, PREFIX + ids[:n])) for n in range(len(ids)))


READ = st.tuples(st.integers(1, 60), st.sampled_from([None, "top20", "kl"]), st.booleans())


@settings(max_examples=30, deadline=None)
@example([[(1, "top20", False)], [(2, None, False)], [(1, "top20", False), (1, "kl", False)]], False, 1, False)
@given(
    st.lists(st.lists(READ, min_size=1, max_size=3), min_size=1, max_size=4), st.booleans(), st.integers(1, 8), st.booleans()
)
def test_any_order_of_reads(runs, warm, per_poll, on_disk):
    """Runs after one another over one stream, some of whose reads ask: each gets its numbers, nothing is decoded twice."""
    with tempfile.TemporaryDirectory() as name:
        memory, generated = MemoryStore(), 0
        for wanted in runs:
            model = engine(tokens_per_poll=per_poll)
            store = Store(Path(name), model.fingerprint) if on_disk else memory
            steps = [Read(PREFIX, WARM if warm else GREEDY, limit=n, confidence=c, logprobs=p) for n, c, p in wanted]
            spans, scheduler = run(model, store, *steps)
            store.close()
            generated += scheduler.progress.generated
            for read, span in zip(steps, spans, strict=True):
                assert len(span.ids) == read.limit
                assert span.confidence == (expected(read.confidence, span.ids) if read.confidence else None)
                assert span.logprobs is not None or not (read.logprobs or warm)
        assert generated <= max(n for wanted in runs for n, _, _ in wanted) + 8 * len(runs)
        again, scheduler = run(engine(), Store(Path(name), model.fingerprint) if on_disk else memory, *steps)
        assert again == spans and scheduler.progress.generated == scheduler.progress.scored == 0


def test_nobody_pays_who_does_not_ask():
    class Counted(ScriptedEngine):
        asked = []

        def open(self, request):
            self.asked.append(request.confidences)
            return super().open(request)

    model = Counted(vocab=50)
    (plain, other), scheduler = run(model, MemoryStore(), Read(PREFIX, limit=20), Read((7,), limit=9, confidence="kl"))
    assert sorted(model.asked, key=len) == [frozenset(), {"kl"}] and plain.confidence is None and len(other.confidence) == 9
    assert scheduler.streams.store.streams[Read(PREFIX).key(model.fingerprint)].confidences == {}


def test_a_stream_under_way_goes_on_with_them():
    """What came before the second reader is scored, what comes after is reported, and nothing is decoded twice."""

    def late():
        yield Read(PREFIX, limit=30)
        return (yield Read(PREFIX, limit=60, confidence="top20"))

    ends = []
    scheduler = Scheduler(engine(), MemoryStore())
    scheduler.run([Job((0,), reads(Read(PREFIX, limit=200)), ends.append), Job((1,), late(), ends.append)])
    wanted = min(ends, key=lambda span: len(span.ids))
    assert wanted.confidence == expected("top20", wanted.ids) and len(wanted.ids) == 60
    assert scheduler.progress.generated == 200 and 0 < scheduler.progress.scored < 60


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("per_poll", [1, 8])
@pytest.mark.parametrize("every", [1, 4])
def test_a_condition_looks_at_them(stored, per_poll, every):
    seen, store = [], MemoryStore()
    if stored:
        run(engine(), store, Read(PREFIX, limit=50))

    def fold(state, token, confidence):
        seen.append(confidence)
        return None, confidence > 6

    (span,), _ = run(engine(tokens_per_poll=per_poll), store, Until(Read(PREFIX, limit=50), fold, every, of="top20"))
    (plain,), _ = run(engine(), MemoryStore(), Read(PREFIX, limit=50))
    values = expected("top20", plain.ids)
    ends = [i + 1 for i, value in enumerate(values) if value > 6 and (i + 1) % every == 0]
    assert span.reason == "until" and span.end == ends[0] and tuple(seen) == values[: ends[0]]
    assert span.confidence is None  # of a read that asks for none


def test_an_engine_that_cannot_says_so_before_the_first_token():
    model = engine()
    model.confidences, model.scores = frozenset(), frozenset({"next"})
    for step in (Read(PREFIX, limit=20, confidence="kl"), Until(Read(PREFIX, limit=20), lambda *_: (None, False), of="kl")):
        (error,), _ = run(model, MemoryStore(), step)
        assert "does not say the log-probabilities of the whole vocabulary" in str(error)
    (error,), _ = run(model, MemoryStore(), Read(PREFIX, limit=20, confidence="top5"))
    assert str(error) == 'confidence="top5": must be top20 or kl' and model.counters.decoded == 0
    model.confidences, store = frozenset({"top20"}), MemoryStore()  # with what it writes, and no more
    (span,), _ = run(model, store, Read(PREFIX, limit=20, confidence="top20"))
    assert span.confidence == expected("top20", span.ids)
    run(model, store, Read((7,), limit=20))
    (error,), _ = run(model, store, Read((7,), limit=20, confidence="top20"))
    assert "20 likeliest tokens at each position are needed of tokens that were stored without" in str(error)
    model.confidences, model.scores = frozenset(), frozenset({"top20"})  # of tokens that are there alone
    (span,), _ = run(model, store, Read((8,), limit=20, confidence="top20"))
    assert len(span.confidence) == 20


def test_an_engine_that_sends_no_number_with_a_token_sends_none():
    """vLLM's chunks have empty lists where nobody asked: of a stream whose numbers were stored, a later one lacks them."""

    class Empty(ScriptedEngine):
        def poll(self, wait=1.0):
            return [c._replace(logprobs=c.logprobs or []) if hasattr(c, "ids") else c for c in super().poll(wait)]

    store = MemoryStore()
    run(Empty(vocab=50), store, Read(PREFIX, limit=10, logprobs=True))
    run(Empty(vocab=50), store, Read(PREFIX, limit=30))
    (span,), _ = run(Empty(vocab=50), store, Read(PREFIX, limit=30, logprobs=True))
    assert span.logprobs == tuple(-float(i % 7) / 4 for i in span.ids)


def test_scores_of_them_are_rows_like_others():
    (rows,), _ = run(engine(), MemoryStore(), Score((*PREFIX, 1, 2), (2, 3), "top20", model="policy"))
    assert rows == [(single(engine().confidence("top20", (*PREFIX, 1)[:n])),) for n in (2, 3)]
    (error,), _ = run(engine(), MemoryStore(), Score((5, 6), (2,), "kl", model="policy"))
    assert "rise from 1 or more to 1" in str(error)
    keys = {key for of in ("top20", "kl", "head") for key in Score((5, 6, 7), (2,), of).keys("a")}
    assert len(keys) == 3


def test_a_store_of_before_is_read_and_gets_them(tmp_path):
    """Its frames, byte by byte: a header, int32 ids, float16 log-probabilities."""
    key, ids, model = Read(PREFIX).key(engine().fingerprint), [], engine()
    for _ in range(12):
        ids.append(model.next_token((*PREFIX, *ids)))
    folder = tmp_path / digest(model.fingerprint).hex()[:16]
    folder.mkdir()
    body = struct.pack("<12i12e", *ids, *(-(i % 7) / 4 for i in ids))
    head = struct.pack("<4s16s16sIII", MAGIC, key, id_hash().digest(), 0, 12, 1)
    assert len(head) + 4 == HEAD.size
    (folder / "20260101T000000.0-old-1-a.streams").write_bytes(head + struct.pack("<I", crc32(body, crc32(head))) + body)
    with Store(tmp_path, model.fingerprint) as store:
        assert store.load(key) == (tuple(ids), [-(i % 7) / 4 for i in ids], {})
        (span,), scheduler = run(model, store, Read(PREFIX, limit=12, confidence="top20"))
        assert span.confidence == expected("top20", tuple(ids)) and model.counters.decoded == 0
    with Store(tmp_path, model.fingerprint) as store:
        stored = store.load(key)
        assert stored.logprobs == [-(i % 7) / 4 for i in ids] and stored.confidences == {"top20": span.confidence}


def test_what_some_tokens_lack_is_computed_for_these_alone(tmp_path):
    model = engine()
    for limit, confidence in ((20, "top20"), (50, None), (60, "top20")):
        with Store(tmp_path, model.fingerprint) as store:
            (span,), scheduler = run(model, store, Read(PREFIX, limit=limit, confidence=confidence))
    assert span.confidence == expected("top20", span.ids)
    assert scheduler.progress.generated == 10 and scheduler.progress.scored == 30
    with Store(tmp_path, model.fingerprint) as store:
        assert not any(map(math.isnan, store.load(Read(PREFIX).key(model.fingerprint)).confidences["top20"]))


def test_confidences_stand_beside_the_tokens_that_have_them(tmp_path):
    with Store(tmp_path, "model") as store:
        store.append(A, [1, 2], [-1.0, -2.0], {"top20": [3.1, 4.2]})
        store.append(A, [3], None, {"kl": [0.5]})
        store.append(B, [7])
        with pytest.raises(ValueError, match=r"2 ids came with 1 confidences \(kl\); give one for each id, or none"):
            store.append(A, [4, 5], None, {"kl": [1.0]})
    with Store(tmp_path, "model") as store:
        ids, logprobs, there = store.load(A)
        assert (ids, logprobs, store.load(B).confidences) == ((1, 2, 3), None, {})
        assert there["top20"][:2] == pytest.approx((3.1, 4.2), rel=1e-7) and math.isnan(there["top20"][2])
        assert [*map(math.isnan, there["kl"])] == [True, True, False] and there["kl"][2] == 0.5
        store.append(B, [8, 9], None, {"kl": [math.nan, 0.75]})
        assert [*map(math.isnan, store.load(B).confidences["kl"])] == [True, True, False]
        store.restart(B)
        store.append(B, [7, 8, 9], None, {"kl": [0.25, 0.5, 0.75]})
        store.restart(A)  # all of it is known now
        store.append(A, [1, 2, 3], [-1.0, -2.0, -3.0], {"top20": [3.1, 4.2, 5.3], "kl": [0.25, 0.25, 0.5]})
    assert Store(tmp_path, "model").load(B).confidences == {"kl": (0.25, 0.5, 0.75)}
    ids, logprobs, there = Store(tmp_path, "model").load(A)
    assert (ids, logprobs, there["kl"]) == ((1, 2, 3), [-1.0, -2.0, -3.0], (0.25, 0.25, 0.5))
    assert there["top20"] == pytest.approx((3.1, 4.2, 5.3), rel=1e-7)
    assert (
        min(tmp_path.glob("*/*.streams")).stat().st_size == 2 * HEAD.size + 3 * (4 + 2 + 4 + 4) + 4
    )  # float16, float32, float32
