"""Parallel methods on the model that ships, sampled, against the naive ones (parallel.py) on the plain Hugging Face model."""

import math
from functools import partial

import pytest
import torch

from s1x.engines.transformers import TransformersEngine
from s1x.methods.adaptive_consistency import adaptive_consistency
from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.deepconf import deepconf
from s1x.methods.deepconf_online import deepconf_online
from s1x.methods.gen_select import gen_select
from s1x.methods.rsa import rsa
from s1x.methods.self_certainty import self_certainty
from s1x.methods.short_m_of_k import short_m_of_k
from s1x.streams.types import Sampling

from ..engines import tiny
from . import confident
from .parallel import Plain
from .running import scheduled
from .test_on_the_tiny_model import Plain as Model

ANSWER, MOST = 16, 80
WORDS = "{question}\n\n{candidates}\n\nSolve it again."


@pytest.fixture(scope="module")
def model():
    return Model()


def asked(question):
    """The question as a method meets it, and as the naive ones do (without their model)."""
    chat = tiny.chat()

    def answer_of(ids):
        return "".join(c for c in chat.decode(tuple(ids)) if c.isdigit())[:1] or None

    prompt = chat.prompt(question)
    sampling = Sampling.of(prompt.ids, seed=0, temperature=1.0)
    naive = partial(
        Plain, encode=lambda t: list(chat.encode(t)), decode=lambda i: chat.decode(tuple(i)), context=tiny.CONTEXT,
        max_answer=ANSWER, noises=[sampling.sample(i).noise for i in range(8)], answer_of=answer_of, limit=MOST,
    )  # fmt: skip

    def plain(model):
        mine = naive(model)
        mine.prompt = lambda text: list(chat.prompt(text).ids)
        return mine

    return Ask(prompt, chat, sampling, max_answer_tokens=ANSWER, answer_of=answer_of), chat, plain


def written(trace):
    return [(s.ids("thinking"), s.ids("answer")) for s in trace.samples]


@pytest.mark.long
def test_methods_that_look_at_how_sure_the_model_is(model):
    question = tiny.questions(6)[5]  # of those whose answers part and one of whose chains becomes unsure
    ask, chat, plain = asked(question)
    inner = partial(budget_forcing, max_thinking_tokens=MOST)
    how = {"n": 8, "warmup": 3, "keep": 1.0, "consensus": 1.0, "window": 12}
    engine = TransformersEngine(tiny.MODEL, threads=1)
    try:
        sure, cut, certain = scheduled(
            [
                deepconf(ask, n=4, keep=0.5, window=12, inner=inner),
                deepconf_online(ask, **how, max_thinking_tokens=MOST),
                self_certainty(ask, n=4, inner=inner),
            ],
            engine,
            chat,
        )
    finally:
        engine.close()

    def logprobs(prefix, written):
        with torch.inference_mode():
            logits = model.model(torch.tensor([[*prefix, *written]])).logits[0, len(prefix) - 1 : -1, : tiny.VOCABULARY]
            return torch.log_softmax(logits.double(), -1)

    def top20(prefix, written):
        return (-logprobs(prefix, written).sort().values[:, -20:].mean(-1)).tolist()

    def kl(prefix, written):
        return (-(logprobs(prefix, written) + math.log(tiny.VOCABULARY)).mean(-1)).tolist()

    samples, worth, weights = confident.offline(plain(model), top20, question, 4, 0.5, "bottom", 12)
    assert written(sure) == samples and sure.weights == pytest.approx(weights, abs=1e-4)
    assert [s.info["confidence"] for s in sure.samples] == pytest.approx(worth, abs=1e-4)
    finished, weights, ends, agreed = confident.online(plain(model), top20, question, **how)
    assert written(cut) == finished and cut.weights == pytest.approx(weights, abs=1e-4)
    assert (cut.info["cut"], cut.info["cut_tokens"], cut.info["agreed"]) == (len(ends), sum(ends), agreed) and ends
    samples, worth, votes = confident.borda(plain(model), kl, question, 4, 0.5)
    assert written(certain) == samples and certain.weights == pytest.approx(votes)
    assert [s.info["certainty"] for s in certain.samples] == pytest.approx(worth, abs=1e-4)


@pytest.mark.long
def test_parallel_methods(model):
    (question,) = tiny.questions(1)
    ask, chat, plain = asked(question)
    sampling = ask.sampling
    inner, most = partial(budget_forcing, max_thinking_tokens=MOST), 600
    engine = TransformersEngine(tiny.MODEL, threads=1)
    try:
        short, sure, chosen, aggregated = scheduled(
            [
                short_m_of_k(ask, k=4, m=2, every=16, max_thinking_tokens=MOST),
                adaptive_consistency(ask, n=4, inner=inner, window=2),
                gen_select(ask, n=2, inner=inner, words=WORDS, thoughts=True, prompt_tokens=most),
                rsa(ask, n=2, k=2, rounds=2, inner=inner, words=WORDS, prompt_tokens=most),
            ],
            engine,
            chat,
        )
    finally:
        engine.close()
    naive = plain(model)
    assert written(short) == naive.short(question, 4, 2)[0]
    pool = [naive.sample(question, i) for i in range(4)]
    assert written(sure) == pool[: sure.info["samples"]] and sure.info["samples"] in (2, 4)
    assert written(chosen) == pool[:2]
    text, cut = naive.show(WORDS, question, pool[:2], most, True)
    assert (chosen.ids("thinking"), chosen.ids("answer")) == naive.sample(text, 0) and chosen.info["prompt_cut"] == cut
    assert written(aggregated) == naive.rsa(question, 2, 2, 2, WORDS, most, sampling.noise)[0]
