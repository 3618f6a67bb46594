"""The server engine against a loopback server (stdlib, hash model), with and without faults in between."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from s1x.engines.scripted import ScriptedEngine
from s1x.engines.server import ServerEngine
from s1x.streams.engine import EngineError, Open
from s1x.streams.types import Forbid, Sampling

from ..methods.conftest import CONTEXT, END, SPOKEN, START, TOKENS, make_chat
from . import models, proxy, sweep
from .loopback import Loopback
from .sweep import write

SETTINGS = {"vocab": len(SPOKEN), "first_id": 2, "ends": {START: 250, END: 100}, "context_length": CONTEXT}
PROBED = [None] * 6  # requests before the first stream: two for tokens, one for labels, two for prompts, one for the likeliest
TEXTS = [f"{i}+{i}=" for i in range(34)]  # times six settings: 204 traces


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("client")
    return models.without_weights(folder, vocabulary=len(TOKENS), padded=len(TOKENS) + 20, context=CONTEXT)


@pytest.fixture
def served(model):
    with Loopback(model, SETTINGS) as server:
        yield server


def connect(model, urls, **settings) -> ServerEngine:
    return ServerEngine(model, urls=urls, **{"pause_s": 0.01, "in_flight": 32} | settings)


@pytest.fixture(scope="module")
def expected():
    return sweep.run(ScriptedEngine(**SETTINGS), make_chat(), TEXTS)


def test_a_sweep_through_a_server_equals_the_model_itself(model, served, expected):
    engine = connect(model, served.url + "/v1/")
    traces = sweep.run(engine, make_chat(), TEXTS)
    engine.close()
    assert sweep.same(traces, expected) == len(expected) == 204
    assert engine.counters.decoded >= sum(len(t.ids("answer")) for t in expected)
    assert 0 < engine.counters.prefill_cached < engine.counters.prefill
    assert all(r["ignore_eos"] and r["return_token_ids"] for r in served.requests)


def test_a_greedy_sweep_under_every_fault_ends_with_the_same_results(model, served, expected):
    faults = [None, None, "429", None, "cut", None, "garbage", None, None, "500", None, "lost", None, None, "hang"]
    with proxy.FaultyProxy(served.url, faults) as between:
        engine = connect(model, between.url, first_token_s=2, between_tokens_s=2, retries=20)
        traces = sweep.run(engine, make_chat(), TEXTS)
        engine.close()
    assert sweep.same(traces, expected) == len(expected)
    assert set(between.happened) == {None, *proxy.FAULTS} and min(between.happened.values()) > 3


def test_a_sampled_sweep_under_faults_loses_no_token(model, served):
    settings = {"settings": [{"max_thinking_tokens": 60}, {"max_thinking_tokens": 60, "ignore_end": 1}], "temperature": 1.0}
    with proxy.FaultyProxy(served.url, [None, "cut", None, "429", None, "garbage", None]) as between:
        engine = connect(model, between.url)
        traces = sweep.run(engine, make_chat(), TEXTS[:12], **settings)
        engine.close()
    for trace in traces:
        assert trace.end == "natural" or trace.thinking_tokens == 60
        for segment in trace.segments:
            assert segment.kind not in ("thinking", "answer") or len(segment.logprobs) == len(segment.ids)


def test_broken_framing_is_noticed_at_once(model, served):
    requests = [Open((i, 1), 60) for i in range(20)]
    expected = write(ScriptedEngine(**SETTINGS), requests)
    with proxy.FaultyProxy(served.url, [*PROBED, *["garbage", None] * 1000]) as between:
        engine = connect(model, between.url, between_tokens_s=60)
        began = time.monotonic()
        assert write(engine, requests) == expected
        assert time.monotonic() - began < 30
        engine.close()
    assert between.happened["garbage"] >= 10


def test_a_cut_stream_goes_on_from_its_last_token(model, served):
    with proxy.FaultyProxy(served.url, [*PROBED, "cut", None]) as between:  # the probe comes first
        engine = connect(model, between.url)
        (ids,) = write(engine, [Open((5, 6, 7), 60)])
        engine.close()
    first, second = served.streams
    got = len(second["prompt"]) - 3
    assert 0 < got < 60 and second["max_tokens"] == 60 - got and tuple(second["prompt"]) == (5, 6, 7, *ids[:got])
    assert len(ids) == 60


def test_forbidden_padded_and_stop_ids(model):
    wide = SETTINGS | {"vocab": len(TOKENS) + 18, "ends": {START: 3000}}
    request = Open((5, 6), 80, forbid=Forbid(frozenset({START}), 4), stop_ids=frozenset({START}))
    with Loopback(model, wide) as server:
        engine = connect(model, server.url)
        ids = write(engine, [request, Open((9, 9, 9), 80)])
        engine.close()
    reference = ScriptedEngine(**wide)
    padding = frozenset(range(len(TOKENS), len(TOKENS) + 20))
    for prefix, written, first in (((5, 6), ids[0], 4), ((9, 9, 9), ids[1], 0)):
        for i, token in enumerate(written):
            banned = padding | (frozenset({START}) if i < first else frozenset())
            assert token == reference.next_token(prefix + tuple(written[:i]), forbidden=banned)
    assert ids[0].count(START) == 1 and ids[0][-1] == START and len(ids[1]) == 80
    assert any(len(r.get("logit_bias", ())) == 20 for r in server.streams)  # a padded id was drawn, and drawn again


def test_several_servers_share_the_load_and_answers_stay_with_their_prompts(model, expected):
    with Loopback(model, SETTINGS) as one, Loopback(model, SETTINGS) as two:
        engine = connect(model, [one.url, two.url])
        traces = sweep.run(engine, make_chat(), TEXTS)
        engine.close()
    assert sweep.same(traces, expected) == len(expected)
    heads = [{tuple(r["prompt"][:12]) for r in server.streams} for server in (one, two)]
    assert not heads[0] & heads[1] and min(map(len, heads)) > len(TEXTS) / 4


def test_a_server_that_goes_down_leaves_its_streams_to_the_others(model, expected):
    with Loopback(model, SETTINGS) as one, Loopback(model, SETTINGS) as two:
        with proxy.FaultyProxy(two.url, [*PROBED, None, *["lost"] * 10_000]) as between:
            engine = connect(model, [one.url, between.url])
            traces = sweep.run(engine, make_chat(), TEXTS)
            engine.close()
    assert sweep.same(traces, expected) == len(expected)
    assert between.happened["lost"] > 0


def test_cancelled_streams_say_no_more(model, served):
    engine = connect(model, served.url)
    gone, kept, never = (engine.open(Open((5, i), 300)) for i in range(3))
    engine.cancel(never)
    seen = {gone: 0, kept: 0}
    while chunks := engine.poll():
        for chunk in chunks:
            seen[chunk.handle] += len(chunk.ids)
        if seen[gone]:
            engine.cancel(gone)
            cancelled_at = seen.pop(gone)
            seen[gone] = cancelled_at if cancelled_at == 300 else 0
    engine.close()
    assert seen[kept] == 300


def test_answers_overtake_thinking_that_waits_for_a_place(model, served):
    engine = connect(model, served.url, in_flight=1)
    requests = [Open((5, i), 5, priority=(1, i)) for i in range(6)] + [Open((8, 8), 5, priority=(0, 9))]
    write(engine, requests)
    engine.close()
    order = [tuple(r["prompt"]) for r in served.streams]
    assert order[0] == (8, 8) and order[1:] == [(5, i) for i in range(6)]


def test_the_key_reaches_the_server_and_nothing_else(model, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("OUR_KEY", "s3cret")
    with Loopback(model, SETTINGS, key="s3cret") as server:
        engine = connect(model, server.url, api_key_env="OUR_KEY")
        assert len(write(engine, [Open((5, 6), 10)])[0]) == 10 and "0.32" in engine.fingerprint
        engine.close()
        monkeypatch.setenv("OUR_KEY", "wr0ng")
        with pytest.raises(EngineError) as refused:
            write(connect(model, server.url, api_key_env="OUR_KEY"), [Open((5, 6), 10)])
    said = str(refused.value) + caplog.text + engine.fingerprint + repr(vars(engine))
    assert "401" in said and "s3cret" not in said and "wr0ng" not in said


def test_what_a_server_cannot_do_is_said_before_any_token(model):
    cases = [
        ({"returns_ids": False}, {}, "does not return token ids"),
        ({"honours_bias": False}, {}, "ignores logit_bias"),
        ({}, {"model_id": "other/model"}, f"serves another model; it has {model}"),
    ]
    for capabilities, settings, sentence in cases:
        with Loopback(model, SETTINGS, **capabilities) as server:
            with pytest.raises(EngineError, match=sentence):
                write(connect(model, server.url, **settings), [Open((5, 6), 10)])
            assert not server.streams
    with Loopback(model, SETTINGS | {"context_length": 100}) as server:
        with pytest.raises(EngineError, match="set engine.max_model_len=100"):
            write(connect(model, server.url), [Open((5, 6), 10)])
        assert len(write(connect(model, server.url, max_model_len=100), [Open((5, 6), 500)])[0]) == 98


def test_a_server_that_runs_files_of_another_name_is_reported(model, caplog):
    for root, warned in ((f"elsewhere/{Path(model).name}", False), ("elsewhere/other", True)):
        caplog.clear()
        with Loopback("served", SETTINGS, root=root) as server:
            write(connect(model, server.url, model_id="served"), [Open((5, 6), 3)])
        assert ("runs elsewhere/other, the configuration says" in caplog.text) == warned


def test_priorities_are_sent_only_to_servers_that_take_them(model):
    for takes in (True, False):
        with Loopback(model, SETTINGS, takes_priority=takes) as server:
            engine = connect(model, server.url)
            write(engine, [Open((5, 6), 3, priority=(0, 4))])
            engine.close()
            assert ("priority" in server.streams[0]) == takes


# What a server fills in where a request says nothing (vLLM 0.32: ModelConfig.get_diff_sampling_param, less the length), and
# what else CompletionRequest has that changes tokens.
NEUTRAL = {
    "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "temperature": 0.0, "top_k": 0, "top_p": 1.0,
    "min_p": 0.0, "min_tokens": 0, "n": 1, "stop": [], "stop_token_ids": [], "logit_bias": {}, "bad_words": [],
    "watermarking": False, "ignore_eos": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Open((5, 6), 3), {}),
        (Open((5, 6), 3, Sampling(0.7, noise=3)), {"temperature": 0.7}),
        (Open((5, 6), 3, Sampling(1.0, 0.9, 40, noise=3)), {"temperature": 1.0, "top_p": 0.9, "top_k": 40}),
        (Open((5, 6), 3, stop_ids=frozenset({9, 7}), logprobs=True), {"stop_token_ids": [7, 9]}),
        (Open((5, 6), 3, forbid=Forbid(frozenset({4}), 3)), {"logit_bias": {"4": -100}}),
    ],
)
def test_every_request_says_all_that_changes_tokens(model, served, request_, said):
    engine = connect(model, served.url)
    write(engine, [request_])
    engine.close()
    for body in served.requests:
        expected = NEUTRAL | (said if body in served.streams else {})
        if body not in served.streams and body.get("logit_bias"):  # the probe that forbids
            expected = expected | {"logit_bias": body["logit_bias"]}
        assert {name: body.get(name) for name in expected} == expected
    assert served.streams and len(served.requests) == len(PROBED) + 1
    assert all(("seed" in body) == (body["temperature"] > 0) for body in served.streams)


@pytest.mark.parametrize(
    "refuses", [("watermarking",), ("repetition_penalty", "min_p"), ("min_tokens", "priority"), ("top_k",)]
)
def test_fields_that_a_server_refuses_are_left_out_while_they_say_nothing(model, caplog, refuses):
    with Loopback(model, SETTINGS, refuses=refuses) as server:
        engine = connect(model, server.url)
        assert len(write(engine, [Open((5, 6), 20)])[0]) == 20
        engine.close()
    assert not set(refuses) & server.streams[0].keys()
    assert "the server refuses bad_words, min_p" in caplog.text and any(f"unknown field {f}" in caplog.text for f in refuses)
    assert {"n", "top_p", "presence_penalty", "frequency_penalty"} < server.streams[0].keys()  # what every server knows


def test_a_field_that_is_needed_is_not_left_out(model):
    with Loopback(model, SETTINGS, refuses=("top_k",)) as server:
        with pytest.raises(EngineError, match="the server refused a request .*unknown field top_k"):
            write(connect(model, server.url), [Open((5, 6), 3, Sampling(1.0, top_k=20, noise=1))])
    with Loopback(model, SETTINGS, refuses=("ignore_eos",)) as server:
        with pytest.raises(EngineError, match="unknown field ignore_eos"):
            write(connect(model, server.url), [Open((5, 6), 3)])


@pytest.mark.parametrize(
    ("version", "key"),
    [
        ("0.32.0", "server-0.32"),
        ("0.32.4+cpu", "server-0.32"),
        ("0.11.1rc2.dev7+gabc", "server-0.11"),
        ("1.4.2", "server-1"),
        (None, "server-unknown"),
    ],
)
def test_streams_are_known_by_the_servers_version(model, version, key):
    with Loopback(model, SETTINGS, version=version) as server:
        engine = connect(model, server.url)
        assert not server.requests and engine.fingerprint.split("/")[0] == key
        assert engine.fingerprint == connect(model, [server.url, server.url]).fingerprint
    assert connect(model, "http://127.0.0.1:9", version=version or "0.32").fingerprint.startswith(
        version and key or "server-0.32"
    )


def test_servers_that_differ_in_version_do_not_mix(model):
    with Loopback(model, SETTINGS) as one, Loopback(model, SETTINGS, version="0.33.1") as two:
        with pytest.raises(EngineError, match="the servers differ .* runs 0.32.0, .* runs 0.33.1"):
            _ = connect(model, [one.url, two.url]).fingerprint
        with pytest.raises(EngineError, match=r"engine.version=0.32.0: .* runs 0.33.1; leave engine.version out"):
            write(connect(model, two.url, version="0.32.0"), [Open((5, 6), 3)])
        assert len(write(connect(model, two.url, version="0.33.0"), [Open((5, 6), 3)])[0]) == 3  # the same 0.33
    with pytest.raises(EngineError, match="nobody answers.*engine.version"):
        _ = connect(model, "http://127.0.0.1:9").fingerprint
    with pytest.raises(ValueError, match="engine.version=0.3: must be a version in full"):
        connect(model, one.url, version=0.30)


def test_nobody_there_and_nothing_helps(model, served):
    with pytest.raises(EngineError, match="no connection, 3 tries"):
        write(connect(model, "http://127.0.0.1:9", retries=1000), [Open((5, 6), 10)])
    with proxy.FaultyProxy(served.url, [*PROBED, *["500"] * 1000]) as between:
        with pytest.raises(EngineError, match="4 tries in a row failed, the last with: HTTP status 500"):
            write(connect(model, between.url, retries=3), [Open((5, 6), 10)])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"urls": []}, r"engine.urls=\[\]"),
        ({"urls": "localhost:8000"}, "engine.urls=localhost:8000"),
        ({"urls": "http://localhost:80x"}, "engine.urls=http://localhost:80x"),
        ({"stream_interval": 0}, "engine.stream_interval=0"),
        ({"in_flight": 0}, "engine.in_flight=0"),
        ({"max_model_len": 9999}, "engine.max_model_len=9999"),
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "engine.api_key_env: no environment variable of that name is set"),
        ({"urls": "http://user:secret@localhost:80"}, "engine.urls: must be one or more addresses"),
    ],
)
def test_wrong_settings_are_refused_without_a_server(model, settings, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        ServerEngine(model, **{"urls": "http://127.0.0.1:9"} | settings)
    assert "secret" not in str(error.value)


def test_servers_are_asked_for_some_tokens_at_a_time_unless_a_stream_is_watched(model, served):
    engine = connect(model, served.url)
    write(engine, [Open((5, 6), 3), Open((7, 8), 3, watched=True)])
    engine.close()
    assert {tuple(r["prompt"]): r.get("stream_interval") for r in served.streams} == {(5, 6): 8, (7, 8): None}


def test_sampled_streams_have_noise_of_their_own(model, served):
    engine = connect(model, served.url)
    one, two, again = write(engine, [Open((5, 6), 20, Sampling(1.0, noise=n)) for n in (1, 2, 1)])
    engine.close()
    assert one == again != two
