"""Parallel methods on the model that ships, sampled, against the naive ones (parallel.py) on the plain Hugging Face model."""

from functools import partial

import pytest

from s1x.engines.transformers import TransformersEngine
from s1x.methods.adaptive_consistency import adaptive_consistency
from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.gen_select import gen_select
from s1x.methods.rsa import rsa
from s1x.methods.short_m_of_k import short_m_of_k
from s1x.streams.types import Sampling

from ..engines import tiny
from .parallel import Plain
from .running import scheduled
from .test_on_the_tiny_model import Plain as Model

ANSWER, MOST = 16, 80
WORDS = "{question}\n\n{candidates}\n\nSolve it again."


@pytest.fixture(scope="module")
def model():
    return Model()


@pytest.mark.long
def test_parallel_methods(model):
    chat, (question,) = tiny.chat(), tiny.questions(1)

    def answer_of(ids):
        return "".join(c for c in chat.decode(tuple(ids)) if c.isdigit())[:1] or None

    prompt = chat.prompt(question)
    sampling = Sampling.of(prompt.ids, seed=0, temperature=1.0)
    ask = Ask(prompt, chat, sampling, max_answer_tokens=ANSWER, answer_of=answer_of)
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
    naive = Plain(
        model, lambda t: list(chat.encode(t)), lambda i: chat.decode(tuple(i)), tiny.CONTEXT, ANSWER,
        [sampling.sample(i).noise for i in range(4)], lambda ids: answer_of(ids), MOST,
    )  # fmt: skip
    naive.prompt = lambda text: list(chat.prompt(text).ids)

    def written(trace):
        return [(s.ids("thinking"), s.ids("answer")) for s in trace.samples]

    assert written(short) == naive.short(question, 4, 2)[0]
    pool = [naive.sample(question, i) for i in range(4)]
    assert written(sure) == pool[: sure.info["samples"]] and sure.info["samples"] in (2, 4)
    assert written(chosen) == pool[:2]
    text, cut = naive.show(WORDS, question, pool[:2], most, True)
    assert (chosen.ids("thinking"), chosen.ids("answer")) == naive.sample(text, 0) and chosen.info["prompt_cut"] == cut
    assert written(aggregated) == naive.rsa(question, 2, 2, 2, WORDS, most, sampling.noise)[0]
