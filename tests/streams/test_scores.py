"""Scores: every row is computed once, kept, counted, and what one would compute alone."""

import logging
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1x.engines.scripted import ScriptedEngine
from s1x.streams import scores
from s1x.streams.engine import Scoring
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Model, Scheduler
from s1x.streams.scores import HEAD, MAGIC, MemoryScores, ScoreStore, pack, rounded
from s1x.streams.types import All, First, Read, Score, Trace

KINDS = [(3, 5), "next", "head"]


def judge(**settings):
    return ScriptedEngine(seed=9, vocab=50, **settings)


def expected(score):
    """What the model says, one position after the other."""
    engine = judge()
    return [rounded(engine.rows(Scoring(score.ids[: n + (score.of == "next")], (n,), score.of))[0]) for n in score.at]


def run(methods, scores=None, engine=None, store=None):
    traces, errors = {}, {}
    scorer = engine or judge()
    others = {"scorer": Model(scorer, MemoryStore(), scores=scores)}
    scheduler = Scheduler(ScriptedEngine(vocab=20, capacity=4), store or MemoryStore(), others=others, flush_seconds=0)
    scheduler.run(
        Job((i,), m, lambda t, i=i: traces.update({i: t}), lambda e, i=i: errors.update({i: e})) for i, m in enumerate(methods)
    )
    return traces, errors, scheduler


def ask(*scores):
    found = yield All(list(scores))
    return Trace((), info={"rows": found})


TREES = st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=8), st.randoms(use_true_random=False)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(TREES, st.sampled_from(KINDS))
def test_rows_are_what_they_are_and_computed_once(tree, of):
    asked = []
    for ids, rng in tree:
        last = len(ids) - (of == "next")
        if last >= 1:
            asked.append(Score(tuple(ids), tuple(sorted(rng.sample(range(1, last + 1), rng.randint(1, last)))), of))
    memory = MemoryScores()
    traces, errors, scheduler = run([ask(score) for score in asked], memory)
    assert not errors
    for i, score in enumerate(asked):
        assert traces[i].info["rows"] == [expected(score)]
    distinct = {(score.ids[: n + (of == "next")]) for score in asked for n in score.at}
    assert scheduler.others["scorer"].scores.computed == len(distinct) == len(memory.rows)
    again, _, scheduler = run([ask(score) for score in asked], memory)  # all of it is there
    assert [again[i].info for i in again] == [traces[i].info for i in again]
    assert scheduler.others["scorer"].engine.counters.scored == 0


def test_kinds_models_and_positions_are_told_apart():
    ids, other = (1, 2, 3), ScriptedEngine(seed=8)
    keys = [key for of in KINDS for n in (1, 2) for key in Score(ids, (n,), of).keys("a")]
    keys += Score(ids, (1, 2), (5, 3)).keys("a") + Score(ids, (1, 2), "head").keys(other.fingerprint)
    assert len(set(keys)) == len(keys)
    assert Score(ids, (1, 2), "head").keys("a") == Score((1, 2, 9), (1, 2), "head").keys("a")
    assert Score(ids, (1, 2), "next").keys("a")[0] == Score((1, 2, 9), (1,), "next").keys("a")[0]
    assert Score(ids, (2,), "next").keys("a") != Score((1, 2, 9), (2,), "next").keys("a")


def test_a_trace_counts_what_its_rows_add_each_once():
    trunk = (1, 2, 3, 4)
    scores = [Score((*trunk, 5, 6), (4, 6), "head"), Score((*trunk, 7), (4, 5), "head")]
    traces, _, _ = run([ask(*scores), ask(scores[0])])
    assert sum(traces[0].scored.values()) == 4 + 2 + 1
    assert sum(traces[1].scored.values()) == 6 and {model for model, _ in traces[1].scored} == {"scorer"}
    assert traces[0].reads == {}


def test_reads_go_on_while_scores_are_computed():
    def chain():
        spans = yield All([Read((7,), limit=30), Score((7, 8), (1, 2), (3, 4))])
        return Trace((), info={"read": len(spans[0].ids), "rows": len(spans[1])})

    traces, errors, _ = run([chain() for _ in range(20)])
    assert not errors and all(t.info == {"read": 30, "rows": 2} for t in traces.values())
    assert all(len(t.reads) == 1 and sum(t.scored.values()) == 2 for t in traces.values())


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (Score((1,), (1,), "head", model="judge"), 'Score.model="judge"'),
        (Score((1, 2), (2,), "next"), "rise from 1 or more to 1"),
        (Score((1, 2), (), "head"), "rise from 1"),
        (Score((1, 2), (2, 1), "head"), "rise from 1"),
        (Score((1, 2), (0,), "head"), "rise from 1"),
        (Score((1,) * 9, (3,), "head"), "reads 8 tokens at most; 9 are"),
    ],
)
def test_what_cannot_be_scored_ends_its_method_alone(score, said):
    traces, errors, _ = run([ask(score), ask(Score((1, 2), (1,), "head"))], engine=judge(context_length=8))
    assert list(traces) == [1] and said in str(errors[0])


def test_an_engine_that_cannot_is_named():
    engine = judge()
    engine.scores = frozenset({"next"})
    _, errors, _ = run([ask(Score((1, 2), (1,), "head"))], engine=engine)
    assert 'Score.of="head"' in str(errors[0]) and "scorer.engine" in str(errors[0])


def test_the_policy_can_score_itself():
    traces, errors, scheduler = run([ask(Score((1, 2), (1,), "next", model="policy"))])
    assert not errors and len(traces[0].info["rows"][0]) == 1 and scheduler.streams.scores.computed == 1


class Slow(ScriptedEngine):
    """One row of one scoring at a time, so that scorings are under way for a while."""

    def poll(self, wait=1.0):
        whole = {handle: request for handle, request in self._scorings.items()}
        self._scorings.clear()
        chunks = super().poll(wait)
        from s1x.streams.engine import Rows

        for number, (handle, request) in enumerate(whole.items()):
            if number:
                chunks.append(Rows(handle, [], False))
                self._scorings[handle] = request
                continue
            row, rest = self.rows(Scoring(request.ids, request.at[:1], request.of)), request.at[1:]
            chunks.append(Rows(handle, row, not rest))
            if rest:
                self._scorings[handle] = Scoring(request.ids, rest, request.of, request.priority)
        return chunks


def test_what_is_cancelled_leaves_what_others_wait_for():
    ids = tuple(range(40))

    def hurried():
        values = yield First(lambda results: True, [quick(), Score(ids, tuple(range(1, 41)), "head")], ahead=2)
        return Trace((), info={"n": len(values)})

    def quick():
        rows = yield Score((9, 9), (1,), "head")
        return rows

    engine = Slow(seed=9, vocab=50)
    traces, errors, scheduler = run([hurried(), ask(Score(ids, (5, 20), "head"))], engine=engine)
    assert not errors and traces[0].info == {"n": 1}
    assert traces[1].info["rows"] == [expected(Score(ids, (5, 20), "head"))]
    alone = Slow(seed=9, vocab=50)
    run([hurried()], engine=alone)
    assert alone._scorings == {}


def test_an_interrupted_run_keeps_its_rows(tmp_path):
    ids, at = tuple(range(30)), tuple(range(1, 31))

    class Stops(Slow):
        polls = 0

        def poll(self, wait=1.0):
            self.polls += 1
            if self.polls == 12:
                raise KeyboardInterrupt
            return super().poll(wait)

    with ScoreStore(tmp_path, "f") as store, pytest.raises(KeyboardInterrupt):
        run([ask(Score(ids, at, "head"))], store, engine=Stops(seed=9, vocab=50))
    with ScoreStore(tmp_path, "f") as store:
        assert len(store.rows) == 11
        traces, _, scheduler = run([ask(Score(ids, at, "head"))], store)
        assert scheduler.others["scorer"].scores.computed == 30 - 11
        assert traces[0].info["rows"] == [expected(Score(ids, at, "head"))]


# --- the store ---


def filled(path, n=50):
    rng = random.Random(1)
    rows = {rng.randbytes(16): tuple(rng.uniform(-9, 9) for _ in range(rng.randint(1, 3))) for _ in range(n)}
    with ScoreStore(path, "f") as store:
        for key, row in rows.items():
            store.put(key, row)
        assert not list(path.rglob("*.scores"))
    (file,) = path.rglob("*.scores")
    return rows, file


def test_rows_come_back_as_float32(tmp_path):
    rows, _ = filled(tmp_path)
    with ScoreStore(tmp_path, "f") as store, ScoreStore(tmp_path, "g") as other:
        assert store.rows == {key: rounded(row) for key, row in rows.items()} and not other.rows


@pytest.mark.parametrize("cut", [1, 15, 27, 28, 30, 33])
def test_a_torn_tail_costs_one_row_and_no_word(tmp_path, cut, caplog):
    rows, file = filled(tmp_path)
    file.write_bytes(file.read_bytes()[:-cut])
    with ScoreStore(tmp_path, "f") as store:
        assert len(store.rows) in (len(rows) - 1, len(rows) - 2) and not caplog.records
        assert all(rounded(rows[key]) == row for key, row in store.rows.items())


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(0, 7))
def test_a_flipped_bit_never_makes_a_wrong_row(tmp_path_factory, at, bit):
    path = tmp_path_factory.mktemp("store")
    rows, file = filled(path, 12)
    data = bytearray(file.read_bytes())
    data[at % len(data)] ^= 1 << bit
    file.write_bytes(data)
    logging.disable(logging.WARNING)
    try:
        with ScoreStore(path, "f") as store:
            assert all(rounded(rows[key]) == row for key, row in store.rows.items() if key in rows)
            assert set(store.rows) <= set(rows)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("at", [0, 22, 30], ids=["magic", "width", "row"])
def test_damage_is_said_once_and_not_read_again_and_again(tmp_path, at, caplog, monkeypatch):
    rows, file = filled(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:at] + b"?" + whole[at + 1 :])
    with ScoreStore(tmp_path, "f") as store:
        assert len(caplog.records) == 1 and "damaged" in caplog.text
        sizes = []
        monkeypatch.setattr(scores, "read", lambda data, read=scores.read: sizes.append(len(data)) or read(data))
        for _ in range(5):
            store.refresh()
        assert len(caplog.records) == 1 and sum(sizes) <= 5 * HEAD.size
        file.write_bytes(whole + pack(b"n" * 16, (1.0,)))  # a network's disk shows bytes late
        store.refresh()
        assert store.get(b"n" * 16) == (1.0,) and len(store.rows) >= len(rows)


def test_a_file_that_cannot_be_read_is_said_once(tmp_path, caplog):
    rows, file = filled(tmp_path)
    (file.parent / "x.scores").mkdir()
    with ScoreStore(tmp_path, "f") as store:
        for _ in range(5):
            store.refresh()
        assert len(caplog.records) == 1 and "x.scores cannot be read" in caplog.text and len(store.rows) == len(rows)


def test_refresh_shows_what_others_wrote(tmp_path):
    with ScoreStore(tmp_path, "f") as a, ScoreStore(tmp_path, "f") as b:
        a.put(b"k" * 16, (1.0,))
        a.flush()
        assert b.get(b"k" * 16) is None
        b.refresh()
        assert b.get(b"k" * 16) == (1.0,)
        b.put(b"k" * 16, (2.0,))  # the first stands
        b.flush()
    with ScoreStore(tmp_path, "f") as c:
        assert c.get(b"k" * 16) == (1.0,) and len(list(tmp_path.rglob("*.scores"))) == 1


def test_a_store_that_is_only_read_writes_nothing(tmp_path):
    filled(tmp_path, 3)
    before = sorted(tmp_path.rglob("*"))
    with ScoreStore(tmp_path, "f", writable=False) as store:
        store.put(b"n" * 16, (1.0,))
        store.flush()
        assert store.get(b"n" * 16) == (1.0,) and len(store.rows) == 4
    assert sorted(tmp_path.rglob("*")) == before


def test_the_layout_is_as_it_says():
    record = pack(b"k" * 16, (1.0, 2.0))
    assert record.startswith(MAGIC) and len(record) == HEAD.size + 8
