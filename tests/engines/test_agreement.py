"""One model, three engines: transformers, vLLM in this process, and a real `vllm serve` (also behind a proxy with faults).

Greedy, float32, tiny model. Floating-point ties may part; the report says where. The model comes with a generation_config.json
that would penalise and sample where an engine does not say otherwise.
"""

from __future__ import annotations

import json
import shutil
import urllib.request
from functools import partial

import pytest

from s1x.engines.build import build
from s1x.engines.completions import NEUTRAL
from s1x.streams.engine import EngineError, Open

from . import proxy, sweep, tiny
from .serve import serving
from .test_replicas import killing

pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = pytest.mark.vllm

SETTINGS = [{"max_thinking_tokens": 64}, {"max_thinking_tokens": 200, "ignore_end": 1}]
QUESTIONS = 200
GENERATION = {
    "repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.3, "do_sample": True, "temperature": 0.7,
    "top_k": 5, "top_p": 0.8, "min_p": 0.2, "eos_token_id": [2, 5],
}  # fmt: skip
VLLM = {"_target_": "s1x.engines.vllm.VllmEngine", "dtype": "float32", "max_num_seqs": 64, "kv_cache_gib": 0.5}
KEY = "a-key-for-tests"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("opinionated") / "tiny-s1"
    shutil.copytree(tiny.MODEL, folder)
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    return str(folder)


@pytest.fixture(scope="module")
def url(tmp_path_factory, model):
    with serving(model, tmp_path_factory.mktemp("serve"), "--served-model-name", "tiny-s1", "--api-key", KEY) as url:
        yield url


@pytest.fixture(scope="module")
def chat():
    return tiny.chat()


@pytest.fixture(scope="module")
def reference(chat, model):
    from s1x.engines.transformers import TransformersEngine

    engine = TransformersEngine(model, device="cpu", dtype="float32")
    return sweep.run(engine, chat, tiny.questions(QUESTIONS), settings=SETTINGS)


@pytest.fixture
def connect(model, monkeypatch):
    return partial(_connect, model, monkeypatch)


def _connect(model: str, monkeypatch, url: str, **settings):
    from s1x.engines.server import ServerEngine

    monkeypatch.setenv("S1X_TEST_KEY", KEY)
    settings = {"urls": url, "model_id": "tiny-s1", "api_key_env": "S1X_TEST_KEY", "in_flight": 64, "pause_s": 0.02} | settings
    return ServerEngine(model, **settings)


def report(name: str, traces, reference) -> float:
    """The share of questions that agree; prints the others with the place where they part."""
    parted = set()
    for number, (one, other) in enumerate(zip(traces, reference, strict=True)):
        a, b = one.ids(), other.ids()
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            question, setting = divmod(number, len(SETTINGS))
            print(f"{name}: question {question}, setting {setting}: differs from token {at} on")
            parted.add(question)
    print(f"{name}: {QUESTIONS - len(parted)} of {QUESTIONS} questions agree token for token")
    return 1 - len(parted) / QUESTIONS


@pytest.fixture(scope="module")
def through_vllm(chat, model):
    """The traces and what the engine counted."""
    engine = build(VLLM, {"path": model, "revision": None, "tokenizer": None})
    traces = sweep.run(engine, chat, tiny.questions(QUESTIONS), settings=SETTINGS)
    engine.close()
    return traces, engine.counters


def test_vllm_agrees_with_transformers(through_vllm, reference):
    traces, counters = through_vllm
    assert report("vllm", traces, reference) >= 0.99
    assert counters.starts == 1 and counters.prefill_cached > 0.7 * counters.prefill


def test_a_killed_replica_changes_no_trace(chat, model, through_vllm, caplog):
    engine = build(VLLM | {"replicas": 2}, {"path": model, "revision": None, "tokenizer": None})
    engine.poll = killing(engine, 10_000, [1])
    traces = sweep.run(engine, chat, tiny.questions(QUESTIONS), settings=SETTINGS)
    engine.close()
    assert "process 1 ended (exit status -9); it is started again" in caplog.text
    assert engine.counters.starts >= 2  # a killed process may not have reported its own
    assert report("replicas", traces, through_vllm[0]) == 1


def test_a_server_agrees_with_transformers_with_and_without_faults(chat, reference, url, connect):
    engine = connect(url)
    plain = sweep.run(engine, chat, tiny.questions(QUESTIONS), settings=SETTINGS)
    engine.close()
    assert report("server", plain, reference) >= 0.99
    assert engine.counters.prefill_cached > 0.7 * engine.counters.prefill

    faults = [None, None, "429", None, "cut", None, "garbage", None, None, "500", None, "lost", None, None, "hang"]
    with proxy.FaultyProxy(url, faults) as between:
        engine = connect(between.url, first_token_s=10, between_tokens_s=5, retries=20)
        broken = sweep.run(engine, chat, tiny.questions(QUESTIONS), settings=SETTINGS)
        engine.close()
        print(dict(between.happened))
    assert min(between.happened[fault] for fault in proxy.FAULTS) > 0
    assert report("faults", broken, plain) == 1


def test_what_the_server_would_fill_in_is_there_and_would_show(url, chat, connect):
    """The same prompt with a request that leaves out what ours say: the model's own generation_config.json speaks."""
    prompt = list(chat.prompt(tiny.questions(1)[0]).ids)

    def ask(**said) -> list[int]:
        body = {"model": "tiny-s1", "prompt": prompt, "max_tokens": 60, "ignore_eos": True, "return_token_ids": True} | said
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        answer = urllib.request.urlopen(urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers))
        return json.load(answer)["choices"][0]["token_ids"]

    engine = connect(url)
    engine.open(Open(tuple(prompt), 60))
    ours = [token for chunks in iter(engine.poll, []) for chunk in chunks for token in chunk.ids]
    assert engine.fingerprint.startswith("server-0.32/served/")
    engine.close()
    assert ask(temperature=0, **{name: value for name, value in NEUTRAL.items() if name != "n"}) == ours
    assert ask(temperature=0) != ours


def test_a_sampled_sweep_under_faults_is_complete(chat, url, connect):
    with proxy.FaultyProxy(url, [None, "cut", None, "429", None, "500", None]) as between:
        engine = connect(between.url, retries=20)
        traces = sweep.run(engine, chat, tiny.questions(20), settings=SETTINGS, temperature=1.0)
        engine.close()
    for trace in traces:
        assert trace.end == "natural" or trace.thinking_tokens in (64, 200)
        assert max(trace.ids("thinking", "answer"), default=0) < tiny.VOCABULARY
        assert all(len(s.logprobs) == len(s.ids) for s in trace.segments if s.kind in ("thinking", "answer"))


def test_a_real_server_says_no_in_sentences(url, connect, monkeypatch):
    def first_poll(engine):
        engine.open(Open((1, 2, 3), 5))
        return engine.poll()

    with pytest.raises(EngineError, match="engine.model_id=other: .* serves another model; it has tiny-s1"):
        first_poll(connect(url, model_id="other"))
    engine = connect(url)
    monkeypatch.setenv("S1X_TEST_KEY", "wrong-key")
    with pytest.raises(EngineError, match="401") as refused:
        first_poll(engine)
    assert "wrong-key" not in str(refused.value)
