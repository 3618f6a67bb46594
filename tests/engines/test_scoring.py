"""Log-probabilities of tokens that are there equal those that writing them reported."""

from __future__ import annotations

import random

import pytest

from s1x.engines.replicas import Replicas
from s1x.engines.scripted import ScriptedEngine
from s1x.engines.server import ServerEngine
from s1x.engines.transformers import TransformersEngine
from s1x.streams.engine import Chunk, Open, Rows, Scoring
from s1x.streams.types import GREEDY, Forbid, Sampling

from . import models, tiny
from .loopback import Loopback

PREFIX = (1, 30, 31, 32)
REQUESTS = [  # greedy, hot, masked: what is reported is the same
    Open(PREFIX, 60, GREEDY, logprobs=True),
    Open((*PREFIX, 7), 60, Sampling(1.7, 0.8, 20, noise=3), logprobs=True),
    Open((*PREFIX, 8), 60, Sampling(0.4, noise=4), Forbid(frozenset(range(100, 400)), 30), logprobs=True),
]


def answers(engine) -> dict[int, list]:
    """Everything until nothing is open: ids with log-probabilities by stream, values by scoring."""
    out: dict[int, list] = {}
    while chunks := engine.poll():
        for chunk in chunks:
            mine = out.setdefault(chunk.handle, [])
            if isinstance(chunk, Rows):
                mine += [value for (value,) in chunk.rows]
            else:
                mine += zip(chunk.ids, chunk.logprobs or [0.0] * len(chunk.ids))
    return out


def answers_by_row(engine) -> dict[int, list[tuple[float, ...]]]:
    """Every row until nothing is open, by scoring."""
    out: dict[int, list] = {}
    while chunks := engine.poll():
        for chunk in chunks:
            out.setdefault(chunk.handle, []).extend(chunk.rows)
    return out


def written(engine, requests=REQUESTS) -> list[tuple[tuple[int, ...], int, list[float]]]:
    """All ids of each stream, how many were given, and the log-probabilities of the others."""
    handles = [engine.open(r) for r in requests]
    out = answers(engine)
    streams = [(r, *zip(*out[h])) for r, h in zip(requests, handles, strict=True)]
    return [(r.prefix + ids, len(r.prefix), list(logprobs)) for r, ids, logprobs in streams]


def agree(engine, streams, **tolerance) -> None:
    """Every position: of whole streams together, and of parts."""
    asked = []
    for ids, given, logprobs in streams:
        whole = tuple(range(given, len(ids)))
        for at in (whole, whole[::3], whole[-1:], whole[5:9]):
            asked.append((engine.score(Scoring(ids, at, "next")), [logprobs[n - given] for n in at]))
        n = given + 20
        asked.append((engine.score(Scoring(ids[: n + 1], (n,), "next")), [logprobs[20]]))  # nothing behind it
    out = answers(engine)
    for handle, expected in asked:
        assert out[handle] == pytest.approx(expected, **tolerance)


@pytest.fixture(scope="module")
def tiny_engine():
    engine = TransformersEngine(tiny.MODEL, device="cpu", dtype="float32", slots=4)
    yield engine
    engine.close()


def test_the_hash_model():
    engine = ScriptedEngine(vocab=300)
    agree(engine, written(engine), abs=0)
    assert engine.counters.scored > 0


def test_every_position_of_the_tiny_model(tiny_engine):
    streams = written(tiny_engine)
    decoded = tiny_engine.counters.decoded
    agree(tiny_engine, streams, abs=1e-4)
    counters = tiny_engine.counters
    assert counters.decoded == decoded and 0 < counters.scored_cached < counters.scored
    fresh = TransformersEngine(tiny.MODEL, device="cpu", dtype="float32", slots=2)
    agree(fresh, streams, abs=1e-4)  # nothing cached at first, and fewer slots than scorings
    assert fresh.counters.decoded == fresh.counters.prefill == 0
    fresh.close()


def test_scorings_and_streams_side_by_side_change_nothing(tiny_engine):
    streams = written(tiny_engine)
    handles = []
    for ids, given, logprobs in streams:
        handles.append(
            (
                tiny_engine.open(Open(ids[:given], 60, REQUESTS[len(handles)].sampling, REQUESTS[len(handles)].forbid)),
                ids[given:],
            )
        )
        tiny_engine.poll()
        tiny_engine.score(Scoring(ids, tuple(range(1, len(ids))), "next", priority=(0,)))
        tiny_engine.poll()
    out = answers(tiny_engine)
    for handle, ids in handles:
        got = [i for i, _ in out[handle]]
        assert tuple(got) == ids[-len(got) :] and len(got) > 50


def test_long_scorings_come_in_parts_and_fit_the_whole_context(tiny_engine):
    rng = random.Random(0)
    ids = tuple(rng.randrange(tiny.VOCABULARY) for _ in range(tiny.CONTEXT))
    handle = tiny_engine.score(Scoring(ids, tuple(range(1, len(ids))), "next"))
    parts = [c for chunks in iter(tiny_engine.poll, []) for c in chunks if c.handle == handle and c.rows]
    assert len(parts) == 4 and [p.done for p in parts] == [False, False, False, True]
    values = [value for part in parts for (value,) in part.rows]
    again = tiny_engine.score(Scoring(ids, (3, 700, len(ids) - 1), "next"))
    assert answers(tiny_engine)[again] == pytest.approx([values[n - 1] for n in (3, 700, len(ids) - 1)], abs=1e-4)


def test_little_memory_and_few_slots_lose_no_row():
    path, layer_bytes = tiny.MODEL, None
    plenty = TransformersEngine(path, device="cpu", dtype="float32", slots=6)
    rng = random.Random(1)
    texts = [tuple(rng.randrange(tiny.VOCABULARY) for _ in range(n)) for n in (40, 900, 300, 1500, 700, 60)]
    expected = [answers_of(plenty, ids) for ids in texts]
    facts = plenty.facts
    layer_bytes = 2 * facts["kv_heads"] * facts["head_dim"] * 4 * facts["layers"]
    tight = TransformersEngine(path, device="cpu", dtype="float32", slots=6, kv_cache_gib=2.5 * 1501 * layer_bytes / 2**30)
    handles = [tight.score(Scoring(ids, tuple(range(1, len(ids))), "next")) for ids in texts]
    out = answers(tight)
    assert tight._slots.ids.shape[0] < 6
    for handle, values in zip(handles, expected, strict=True):
        assert out[handle] == pytest.approx(values, abs=1e-4)
    plenty.close(), tight.close()


def answers_of(engine, ids) -> list[float]:
    handle = engine.score(Scoring(ids, tuple(range(1, len(ids))), "next"))
    return answers(engine)[handle]


def test_cancelled_scorings_say_no_more_and_leave_their_slot(tiny_engine):
    ids = tuple(range(2, 300))
    handles = [tiny_engine.score(Scoring(ids, (n,), "next")) for n in range(10, 20)]
    for handle in handles[1:]:
        tiny_engine.cancel(handle)
    assert set(answers(tiny_engine)) == {handles[0]} and tiny_engine.poll() == []
    assert not tiny_engine._scoring and len(tiny_engine._slots.idle()) == 4


def test_the_more_urgent_scoring_is_read_first():
    engine = TransformersEngine(tiny.MODEL, device="cpu", dtype="float32", slots=1)
    late, soon = (engine.score(Scoring((1, 2, 3, n), (3,), "next", (n,))) for n in (9, 4))
    order = [c.handle for chunks in iter(engine.poll, []) for c in chunks if c.rows]
    engine.close()
    assert order == [soon, late]


@pytest.mark.parametrize(
    ("scoring", "words"),
    [
        (Scoring((1, 2, 3), (0,), "next"), "rise from 1 or more to 2"),
        (Scoring((1, 2, 3), (3,), "next"), "rise from 1 or more to 2"),
        (Scoring((1, 2, 3), (2, 1), "next"), "rise from"),
        (Scoring((1, 2, 3), (), "next"), "rise from"),
        (Scoring((1,) * 3000, (1,), "next"), "3000 tokens; this engine reads 2048 at most"),
    ],
)
def test_what_cannot_be_scored_is_a_sentence(tiny_engine, scoring, words):
    for engine in (tiny_engine, ScriptedEngine(context_length=2048)):
        with pytest.raises(ValueError, match=words):
            engine.score(scoring)


def test_a_model_without_a_value_head_has_no_head_to_score(tiny_engine):
    with pytest.raises(ValueError, match='Scoring.of="head": this engine scores kl, labels, next, top20'):
        tiny_engine.score(Scoring((1, 2, 3), (1,), "head"))


def test_ids_without_a_token_are_refused(tiny_engine):
    with pytest.raises(ValueError, match=f"holds the id {tiny.VOCABULARY}; this model's tokens end before {tiny.VOCABULARY}"):
        tiny_engine.score(Scoring((1, tiny.VOCABULARY), (1,), "next"))
    with pytest.raises(ValueError, match=f"holds the id {tiny.VOCABULARY}"):
        tiny_engine.score(Scoring((1, 2), (1,), (3, tiny.VOCABULARY)))


# --- servers and replicas ---


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return models.without_weights(tmp_path_factory.mktemp("client"), vocabulary=400, padded=410, context=64)


SETTINGS = {"vocab": 390, "context_length": 64}


def test_a_server(model):
    with Loopback(model, SETTINGS) as server:
        engine = ServerEngine(model, urls=server.url, pause_s=0.01)
        streams = written(engine, [Open((5, 6), 100, logprobs=True), Open((7, 8, 9), 50, logprobs=True)])
        assert len(streams[0][0]) == 64  # no room for the token that a request for log-probabilities must write
        agree(engine, streams, abs=1e-9)
        assert engine.scores == {"labels", "next", "top20"} and engine.counters.scored > 0
        engine.close()
    assert [r["allowed_token_ids"] for r in server.streams if "allowed_token_ids" in r] == [[streams[0][0][-1]]] * 2


def test_a_server_that_scores_no_prompts_says_so(model):
    with Loopback(model, SETTINGS, scores_prompts=False, labels=None) as server:
        engine = ServerEngine(model, urls=server.url)
        assert engine.scores == frozenset()
        engine.open(Open((5, 6), 3))
        assert len(answers(engine)[0]) == 3
        with pytest.raises(ValueError, match="this engine scores nothing"):
            engine.score(Scoring((5, 6, 7), (1,), "next"))
        engine.close()


def make():
    return ScriptedEngine(vocab=300)


def test_replicas_pass_scorings_on():
    engine = Replicas(make, 2)
    assert engine.scores == {"labels", "next", "head", "top20", "kl"}
    streams = written(engine)
    agree(engine, streams, abs=0)
    assert engine.confidences == {"top20", "kl"}
    engine.open(Open(PREFIX, 9, confidences=frozenset({"kl"})))
    chunks = [chunk for chunks in iter(engine.poll, []) for chunk in chunks if chunk.ids]
    ids = [i for chunk in chunks for i in chunk.ids]
    expected = [make().confidence("kl", (*PREFIX, *ids[:n])) for n in range(9)]
    assert [value for chunk in chunks for value in chunk.confidences["kl"]] == expected
    engine.close()
    assert engine.counters.scored > 0


def test_a_sign_of_life_is_of_the_kind_that_was_asked_for(tiny_engine):
    tiny_engine.score(Scoring(tuple(range(2, 400)) * 3, (1190,), "next"))
    kinds = {type(c) for chunks in iter(tiny_engine.poll, []) for c in chunks}
    tiny_engine.open(Open((5, 6), 1))
    assert kinds == {Rows} and {type(c) for chunks in iter(tiny_engine.poll, []) for c in chunks} == {Chunk}
