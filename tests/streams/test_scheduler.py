"""The scheduler against a naive driver, over random methods on the scripted engine."""

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1x.engines.scripted import ScriptedEngine
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.types import All, First, Forbid, Read, Sampling, Segment, Stops, Trace

from . import driver

CONTEXT = 300


def engine(**kw):
    return ScriptedEngine(**{"vocab": 50, "ends": {3: 150, 4: 100}, "context_length": CONTEXT, "capacity": 4, **kw})


def decode(ids):
    return "".join(chr(97 + i % 26) for i in ids)


def random_read(rng, prefix):
    stop = Stops(
        ids=frozenset(rng.sample([3, 4, 5], rng.randint(0, 2))),
        sequences=tuple((rng.randrange(50), rng.randrange(50)) for _ in range(rng.randint(0, 2))),
        strings=tuple("".join(rng.choice("abcdefgh") for _ in range(2)) for _ in range(rng.randint(0, 1))),
    )
    sampling = Sampling() if rng.random() < 0.5 else Sampling(1.0, noise=rng.randrange(3))
    forbid = Forbid(frozenset({3, 4}), rng.randint(0, 5)) if rng.random() < 0.3 else None
    limit = None if rng.random() < 0.05 else rng.choice([0, 1, 2, 5, 10, 40])
    return Read(prefix, sampling, stop, limit, start=rng.choice([0, 0, 0, 3, 7]), forbid=forbid)


def random_method(rng, depth=0):
    """A method whose shape depends on what it reads."""
    prefix, segments = tuple(rng.randrange(5, 9) for _ in range(rng.randint(1, 3))), []
    for _ in range(rng.randint(1, 4)):
        kind = rng.random()
        if kind < 0.5 or depth > 1:
            span = yield random_read(rng, prefix)
            spans = [span]
        elif kind < 0.65:
            spans = yield All([random_read(rng, prefix) for _ in range(rng.randint(0, 4))])
        elif kind < 0.8:
            members = [random_read(rng, prefix) for _ in range(rng.randint(0, 5))]
            size = rng.randint(1, 20)
            spans = yield First(lambda r, size=size: len(r[-1].ids) < size, iter(members), ahead=rng.randint(1, 6))
        elif kind < 0.9:
            seeds = [rng.random() for _ in range(rng.randint(1, 3))]
            traces = yield All([random_method(random.Random(s), depth + 1) for s in seeds])
            spans = []
            segments += [s for t in traces for s in t.segments]
        else:
            trace = yield random_method(random.Random(rng.random()), depth + 1)
            spans = []
            segments += trace.segments
        for span in spans:
            segments.append(Segment("thinking", span.ids + span.stop))
            if rng.random() < 0.7:
                prefix = prefix + span.ids + (9,)
    return Trace((1,), segments)


def scheduled(seeds, the_engine, store, **kw):
    got = {}
    scheduler = Scheduler(the_engine, store, decode=decode, **kw)
    scheduler.run(Job((s // 3, s % 3), random_method(random.Random(s)), lambda t, s=s: got.__setitem__(s, t)) for s in seeds)
    return got, scheduler


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 3), st.integers(1, 8))
def test_agrees_with_the_naive_driver(first, n, tokens_per_poll, window):
    seeds, one = range(first, first + n), engine(tokens_per_poll=tokens_per_poll)
    store = MemoryStore()
    got, _ = scheduled(seeds, one, store, window=window)
    model = engine().next_token
    for s in seeds:
        assert got[s].segments == driver.run(random_method(random.Random(s)), model, CONTEXT, decode).segments
    again, second = scheduled(seeds, engine(), store)
    assert [again[s].segments for s in seeds] == [got[s].segments for s in seeds]
    assert [again[s].reads for s in seeds] == [got[s].reads for s in seeds]
    assert second.progress.generated == 0  # everything was in the store


def test_shared_reads_cost_their_union():
    """Budgets nest: six reads of one stream cost the longest, and a stop found early costs no more than that."""
    one, lengths = engine(ends={}), []

    def method(limit):
        span = yield Read((1, 2), limit=limit, stop=Stops(frozenset({3})))
        return Trace((1, 2), [Segment("thinking", span.ids)])

    scheduler = Scheduler(one, MemoryStore())
    scheduler.run(Job((0, b), method(b), lambda t: lengths.append(t.thinking_tokens)) for b in (10, 20, 30, 40, 80))
    assert sorted(lengths) == [10, 20, 30, 40, 80]
    assert one.counters.decoded == 80


def test_a_short_read_resolves_while_the_long_one_runs():
    order = []

    def method(limit):
        yield Read((1, 2), limit=limit)
        yield Read((1, 2, limit), limit=2)
        return Trace((1, 2))

    one = engine(ends={})
    Scheduler(one, MemoryStore()).run(
        Job((0, b), method(b), lambda t, b=b: order.append((b, one.counters.decoded))) for b in (100, 5)
    )
    assert order[0][0] == 5 and order[0][1] < 20


@pytest.mark.parametrize(
    ("stops", "watched"),
    [
        ([Stops()], False),
        ([Stops(frozenset({3}))], False),
        ([Stops(frozenset({3})), Stops(frozenset({3}))], False),
        ([Stops(frozenset({3})), Stops()], True),  # the engine is told of no stop, one reader has one
        ([Stops(sequences=((6, 7),))], True),
        ([Stops(strings=("ab",))], True),
    ],
)
def test_streams_are_watched_for_what_the_engine_is_not_told(stops, watched):
    opened = []

    class Noting(ScriptedEngine):
        def open(self, request):
            opened.append(request)
            return super().open(request)

    def method(stop):
        yield Read((1, 2), limit=20, stop=stop)
        return Trace((1, 2))

    scheduler = Scheduler(Noting(context_length=CONTEXT), MemoryStore(), decode=decode)
    scheduler.run(Job((0, i), method(stop), lambda _: None) for i, stop in enumerate(stops))
    assert opened[0].watched == watched


def test_first_cancels_what_is_not_needed():
    one = engine(ends={})

    def method():
        results = yield First(lambda r: len(r) == 2, (Read((1, i), limit=100 if i > 1 else 5) for i in range(50)), ahead=10)
        assert len(results) == 2
        return Trace((1,))

    done = []
    Scheduler(one, MemoryStore()).run([Job((0,), method(), done.append)])
    assert one.counters.decoded <= 10 * 6
    assert sum(done[0].reads.values()) == 10  # only accepted members count


def test_a_pool_is_lazy():
    started = []

    def members():
        for i in range(1000):
            started.append(i)
            yield Read((1, i), limit=3)

    def method():
        yield First(lambda r: len(r) == 5, members(), ahead=2)
        return Trace((1,))

    Scheduler(engine(ends={}), MemoryStore()).run([Job((0,), method(), lambda t: None)])
    assert len(started) <= 7


def test_an_endless_pool_of_stored_streams_ends_when_accepted():
    def method():
        results = yield First(lambda r: len(r) == 30, (Read((1, i % 7), limit=3) for i in iter(int, 1)), ahead=4)
        return Trace((1,), [Segment("answer", r.ids) for r in results])

    store, done = MemoryStore(), []
    Scheduler(engine(ends={}), store).run([Job((0,), method(), done.append), Job((1,), method(), done.append)])
    assert [len(t.segments) for t in done] == [30, 30]


def test_continuations_overtake_new_questions():
    class Watching(ScriptedEngine):
        seen = []

        def open(self, request):
            self.seen.append(request.priority)
            return super().open(request)

    def method(q):
        yield Read((1, q), limit=3)
        yield Read((2, q), limit=3)
        return Trace((1,))

    one = Watching(capacity=2)
    Scheduler(one, MemoryStore()).run(Job((q, 0), method(q), lambda t: None) for q in range(20))
    assert {p[0] for p in one.seen} == {0, 1}
    assert one.seen.index((0, 0, 0)) < one.seen.index((1, 19, 0))


@pytest.mark.parametrize("at", [0, 1, 7, 23, 60, 150])
def test_an_interrupted_run_keeps_its_tokens(at):
    """Ctrl-C at any poll: the same run again gives the same traces and decodes only what was missing."""

    class Interrupted(ScriptedEngine):
        polls = 0

        def poll(self):
            self.polls += 1
            if self.polls == at:
                raise KeyboardInterrupt
            return super().poll()

    kw = dict(vocab=50, ends={3: 150, 4: 100}, context_length=CONTEXT, capacity=4)
    seeds = range(40, 60)
    clean_engine = ScriptedEngine(**kw)
    clean, _ = scheduled(seeds, clean_engine, MemoryStore())
    first, store = Interrupted(**kw), MemoryStore()
    try:
        scheduled(seeds, first, store)
    except KeyboardInterrupt:
        pass
    second = ScriptedEngine(**kw)
    got, _ = scheduled(seeds, second, store)
    assert {s: dataclasses.replace(t) for s, t in got.items()} == clean
    kept = sum(len(k.ids) for k in store.streams.values())
    assert first.counters.decoded + second.counters.decoded <= kept + 4  # a poll's tokens may be in flight, none twice


def test_wrong_steps_are_named():
    def method():
        yield 7

    with pytest.raises(TypeError, match="a method may yield Read"):
        Scheduler(engine(), MemoryStore()).run([Job((0,), method(), print)])


@pytest.mark.parametrize("ahead", [1, 2, 7])
@pytest.mark.parametrize("per_poll", [1, 8])
def test_what_runs_ahead_of_an_accepted_member_is_no_part_of_what_a_trace_costs(ahead, per_poll):
    """However far it came: that is a matter of batches and of what is stored. The engine's counters have it."""

    def tried(i):
        span = yield Read((1, i), limit=3 + 5 * i)
        return (yield Read((2, i, *span.ids), limit=2)).end + span.end

    def method():
        ends = yield First(lambda r: len(r) == 3, (tried(i) for i in range(9)), ahead=ahead)
        return Trace((1,), info={"ends": ends})

    one, store, done = engine(ends={}, tokens_per_poll=per_poll, capacity=16), MemoryStore(), []
    Scheduler(one, store).run([Job((0,), method(), done.append)])
    wasted = one.counters.decoded - 30
    Scheduler(engine(ends={}), store).run([Job((0,), method(), done.append)])  # of stored streams, none runs ahead
    assert [t.info["ends"] for t in done] == [[5, 10, 15]] * 2
    assert [t.path_tokens for t in done] == [30, 30] and done[0].reads == done[1].reads
    assert (wasted > 0) == (ahead > 1)
