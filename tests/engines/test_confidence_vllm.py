"""The confidence of the 20 likeliest ids by transformers, vLLM in this process and a real `vllm serve`: one number.

Float32, the tiny model without its padding: ids that stand for no token have up to 0.1% of the probability in vLLM's numbers.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.store import Store
from s1x.streams.types import GREEDY, Forbid, Read, Sampling, Score, Until

from . import tiny
from .serve import serving

pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = pytest.mark.vllm

PREFIX = (1, 30, 31, 32)
READS = [
    Read(PREFIX, limit=60, confidence="top20"),
    Read((*PREFIX, 7), Sampling(1.0, noise=3), limit=60, confidence="top20", logprobs=True),
    Read(
        (*PREFIX, 8), Sampling(0.6, 0.9, noise=4), limit=60, confidence="top20", forbid=Forbid(frozenset(range(100, 300)), 20)
    ),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("unpadded") / "tiny-s1"
    shutil.copytree(tiny.MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    weights = AutoModelForCausalLM.from_pretrained(tiny.MODEL)
    weights.resize_token_embeddings(tiny.VOCABULARY)
    weights.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def url(tmp_path_factory, model):
    with serving(model, tmp_path_factory.mktemp("serve"), "--served-model-name", "tiny-s1") as url:
        yield url


@pytest.fixture(scope="module", params=["vllm", "server"])
def make(request, model):
    def vllm(model=model):
        from s1x.engines.vllm import VllmEngine

        return VllmEngine(model, dtype="float32", max_num_seqs=8, enforce_eager=True, kv_cache_gib=0.5)

    def server():
        from s1x.engines.server import ServerEngine

        return ServerEngine(model, urls=request.getfixturevalue("url"), model_id="tiny-s1", pause_s=0.02)

    return vllm if request.param == "vllm" else server


def run(engine, store, *steps):
    found = {}

    def one(step):
        return (yield step)

    scheduler = Scheduler(engine, store)
    scheduler.run(Job((i,), one(step), lambda value, i=i: found.update({i: value})) for i, step in enumerate(steps))
    return [found[i] for i in range(len(steps))], scheduler.progress


def by_transformers(model: str, spans) -> list[tuple[float, ...]]:
    from s1x.engines.transformers import TransformersEngine

    engine = TransformersEngine(model, device="cpu", dtype="float32", slots=4)
    try:
        asked = [
            Score(r.prefix + s.ids, tuple(range(len(r.prefix), len(r.prefix + s.ids))), "top20", model="policy")
            for r, s in zip(READS, spans, strict=True)
        ]
        return [tuple(value for (value,) in rows) for rows in run(engine, MemoryStore(), *asked)[0]]
    finally:
        engine.close()


def test_fresh_from_the_store_and_scored_afterwards(tmp_path: Path, model, make):
    engine = make()
    assert "top20" in engine.confidences
    try:
        with Store(tmp_path / "with", engine.fingerprint) as store:
            fresh, _ = run(engine, store, *READS)
        expected = by_transformers(model, fresh)
        for span, values in zip(fresh, expected, strict=True):
            assert len(span.ids) == 60 and span.confidence == pytest.approx(values, abs=1e-4)
        decoded = engine.counters.decoded
        with Store(tmp_path / "with", engine.fingerprint) as store:
            again, progress = run(engine, store, *READS)
        assert again == fresh and progress.scored == 0 and engine.counters.decoded == decoded
        with Store(tmp_path / "without", engine.fingerprint) as store:
            for read, span in zip(READS, fresh, strict=True):
                store.append(read.key(engine.fingerprint), span.ids)
        with Store(tmp_path / "without", engine.fingerprint) as store:
            scored, progress = run(engine, store, *READS)
        assert engine.counters.decoded == decoded and progress.scored >= 180
        for span, values in zip(scored, expected, strict=True):
            assert span.confidence == pytest.approx(values, abs=1e-4)
        whole = Read(PREFIX, limit=None, confidence="top20")  # to the last position of the context
        full, _ = run(engine, MemoryStore(), whole)
        store = MemoryStore()
        store.append(whole.key(engine.fingerprint), full[0].ids)
        (late,), progress = run(engine, store, whole)
        assert progress.scored == tiny.CONTEXT - len(PREFIX) and late.confidence == pytest.approx(full[0].confidence, abs=1e-3)
    finally:
        engine.close()


def test_a_condition_ends_at_the_same_token_and_others_pay_nothing(make):
    engine = make()
    try:
        (whole,), _ = run(engine, MemoryStore(), READS[0])
        bar = sorted(whole.confidence)[20]
        first = next(i + 1 for i, c in enumerate(whole.confidence) if c > bar)

        def fold(state, token, confidence):
            return None, confidence > bar

        (cut, plain), _ = run(engine, MemoryStore(), Until(READS[0], fold, of="top20"), Read((*PREFIX, 9), GREEDY, limit=60))
        assert cut.end == first and cut.confidence == pytest.approx(whole.confidence[:first], abs=1e-4)
        assert plain.confidence is None and plain.logprobs is None
    finally:
        engine.close()


def test_the_padding_of_the_model_that_ships_is_small(make):
    if make.__name__ != "vllm":
        pytest.skip("a server says what vLLM says")
    engine = make(tiny.MODEL)
    try:
        spans, _ = run(engine, MemoryStore(), *READS)
    finally:
        engine.close()
    for span, values in zip(spans, by_transformers(tiny.MODEL, spans), strict=True):
        assert span.confidence == pytest.approx(values, abs=2e-3)


def test_fewer_than_20_are_no_confidence(model):
    from s1x.engines.vllm import VllmEngine

    engine = VllmEngine(model, arguments={"max_logprobs": 5})
    assert engine.confidences == frozenset() and engine.scores == {"labels", "next"}
    assert VllmEngine(model, arguments={"max_logprobs": -1}).confidences == {"top20"}
