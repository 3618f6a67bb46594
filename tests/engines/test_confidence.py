"""Measures of confidence: what their formulas make of a model's logits, with new tokens and of tokens that are there."""

from __future__ import annotations

import math

import pytest
import torch

from s1x.engines.build import check_confidences
from s1x.engines.scripted import ScriptedEngine
from s1x.engines.transformers import TransformersEngine
from s1x.streams.engine import Chunk, EngineError, Open, Rows, Scoring
from s1x.streams.types import GREEDY, Forbid, Sampling

from . import tiny
from .loopback import Loopback
from .test_server import SETTINGS, connect, model  # noqa: F401

PREFIX = (1, 30, 31, 32)
REQUESTS = [  # greedy, hot, masked: what is reported is the same
    Open(PREFIX, 30, GREEDY),
    Open((*PREFIX, 7), 30, Sampling(1.7, 0.8, 20, noise=3)),
    Open((*PREFIX, 8), 30, Sampling(0.4, noise=4), Forbid(frozenset(range(100, 400)), 15)),
]


def asked(requests, *measures):
    return [Open(**{**vars(r), "confidences": frozenset(measures)}) for r in requests]


def everything(engine):
    """Until nothing is open: by handle, what came with the tokens (ids, numbers by measure), or the rows of a scoring."""
    ids, numbers, rows = {}, {}, {}
    while chunks := engine.poll():
        for chunk in chunks:
            if isinstance(chunk, Rows):
                rows.setdefault(chunk.handle, []).extend(value for (value,) in chunk.rows)
                continue
            ids.setdefault(chunk.handle, []).extend(chunk.ids)
            mine = numbers.setdefault(chunk.handle, {})
            for name, values in (chunk.confidences or {}).items():
                mine.setdefault(name, []).extend(values)
    return ids, numbers, rows


def formulas(ids, first, logits):
    """Of each of ids[first:], by the papers' formulas; logits: [positions, vocabulary] of the ids before each."""
    p = torch.softmax(logits[first - 1 : len(ids) - 1].double(), -1)
    size = p.shape[1]
    likeliest = p.sort(-1, descending=True).values[:, :20]
    kl = (torch.full_like(p, 1 / size) * (math.log(1 / size) - p.log())).sum(-1)
    return {"top20": (-likeliest.log().mean(-1)).tolist(), "kl": kl.tolist()}


def agree(engine, expected, measures, **tolerance):
    """What is reported with tokens, and what is said of them afterwards, whole and in parts."""
    handles = [engine.open(r) for r in asked(REQUESTS, *measures)]
    ids, numbers, _ = everything(engine)
    texts = [r.prefix + tuple(ids[h]) for r, h in zip(REQUESTS, handles, strict=True)]
    scorings = []
    for r, h, text in zip(REQUESTS, handles, texts, strict=True):
        known = expected(text, len(r.prefix))
        assert numbers[h].keys() == set(measures)
        for name in measures:
            assert numbers[h][name] == pytest.approx(known[name], **tolerance)
            for at in (tuple(range(len(r.prefix), len(text))), (len(text) - 1,), (5, 9, 20)):
                scorings.append((engine.score(Scoring(text, at, name)), [known[name][n - len(r.prefix)] for n in at]))
    _, _, rows = everything(engine)
    for handle, values in scorings:
        assert rows[handle] == pytest.approx(values, **tolerance)
    return texts


def of_the_hash_model(ids, first):
    engine = ScriptedEngine(**SETTINGS)
    return {m: [engine.confidence(m, ids[:n]) for n in range(first, len(ids))] for m in ("top20", "kl")}


def test_transformers_says_what_the_formulas_make_of_the_models_logits():
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny.MODEL, dtype=torch.float32)

    def expected(ids, first):
        with torch.inference_mode():
            return formulas(ids, first, plain(torch.tensor([ids])).logits[0, :, : tiny.VOCABULARY])

    engine = TransformersEngine(tiny.MODEL, device="cpu", dtype="float32", slots=2, threads=1)
    decoded = agree(engine, expected, ("top20", "kl"), abs=1e-4)
    assert engine.counters.decoded == sum(map(len, decoded)) - sum(len(r.prefix) for r in REQUESTS)
    engine.close()


def test_the_hash_model():
    agree(ScriptedEngine(**SETTINGS), of_the_hash_model, ("top20", "kl"), abs=0)


def test_a_server_says_the_likeliest_ids(model):  # noqa: F811
    with Loopback(model, SETTINGS) as server:
        engine = connect(model, server.url)
        assert engine.confidences == {"top20"}
        agree(engine, of_the_hash_model, ("top20",), abs=1e-9)
        engine.open(REQUESTS[0])
        everything(engine)
        assert "logprobs" not in server.streams[-1]  # nobody asked
        engine.close()


@pytest.mark.parametrize("top", [5, "few"])
def test_a_server_that_says_fewer_is_known_before_anything_is_written(model, top):  # noqa: F811
    with Loopback(model, SETTINGS, top=top) as few, Loopback(model, SETTINGS) as all_of_them:
        engine = connect(model, [few.url, all_of_them.url])
        assert engine.confidences == frozenset() and engine.scores == {"labels", "next"}
        with pytest.raises(ValueError, match="engine=server: it does not say the log-probabilities of the 20 likeliest tokens"):
            check_confidences({"name": "server"}, {"top20"}, engine)
        engine.close()
        assert not few.streams and not all_of_them.streams


class Spoilt(Loopback):
    """Numbers that are none, now and then."""

    def likeliest(self, read, token, beside):
        if len(read) % 3 == 0 and len(self.streams) % 2:
            return {**super().likeliest(read, token, beside), 7: self.wrong}
        return super().likeliest(read, token, beside)


@pytest.mark.parametrize("wrong", [math.nan, 3.5])
def test_numbers_that_are_none_are_asked_for_again(model, wrong):  # noqa: F811
    with Spoilt(model, SETTINGS) as server:
        server.wrong = wrong
        engine = connect(model, server.url, in_flight=1, retries=40, pause_s=0.001)
        agree(engine, of_the_hash_model, ("top20",), abs=1e-9)
        engine.close()
        assert len(server.streams) > 20


@pytest.mark.parametrize(
    ("target", "measure", "says"),
    [
        ("s1x.engines.vllm.VllmEngine", "kl", r"^engine=x: it does not say the log-probabilities of the whole vocabulary at"),
        ("tests.engines.toy.Parrot", "top20", "choose another, such as engine=transformers or engine=vllm$"),
        ("s1x.engines.vllm.VllmEngine", "top20", None),
        ("s1x.engines.transformers.TransformersEngine", "kl", None),
        ("s1x.engines.scripted.ScriptedEngine", "kl", None),
        ("s1x.engines.server.ServerEngine", "top20", None),  # it is asked once it is there
    ],
)
def test_what_an_engine_never_says_is_known_by_its_class(target, measure, says):
    engine = {"_target_": target, "name": "x"}
    if says is None:
        return check_confidences(engine, {measure})
    with pytest.raises(ValueError, match=says):
        check_confidences(engine, {measure})


def test_a_stream_that_asks_for_nothing_gets_nothing():
    engine = TransformersEngine(tiny.MODEL, device="cpu", dtype="float32", slots=2, threads=1)
    engine.open(REQUESTS[0])
    assert all(c.confidences is None and c.logprobs is None for chunks in iter(engine.poll, []) for c in chunks)
    engine.close()
    assert Chunk(0, [], None, False).confidences is None and issubclass(EngineError, RuntimeError)
