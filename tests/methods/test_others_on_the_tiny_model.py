"""On the model that ships: the methods that the other files leave out, and every pool of one greedy chain, token for token what
naive ones (parallel.py, sequential.py) make of the plain Hugging Face model."""

from functools import partial

import pytest

from s1x.methods.adaptive_consistency import adaptive_consistency
from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.confidence_stop import confidence_stop
from s1x.methods.deepconf import deepconf
from s1x.methods.deepconf_online import deepconf_online
from s1x.methods.early_exit import early_exit
from s1x.methods.esc import esc
from s1x.methods.gen_select import gen_select
from s1x.methods.majority_voting import majority_voting
from s1x.methods.none import none
from s1x.methods.pdr import pdr
from s1x.methods.prompted import prompted
from s1x.methods.rsa import rsa
from s1x.methods.short_m_of_k import short_m_of_k
from s1x.streams.types import GREEDY, Sampling

from ..engines import tiny
from . import reference, sequential
from .parallel import Plain
from .running import scheduled
from .test_on_the_tiny_model import MAX_ANSWER, PLAIN, chat, engine  # noqa: F401  fixtures
from .test_sequential_on_the_tiny_model import LIMITS, Sure

pytestmark = pytest.mark.long
MOST, PROMPT = 80, 600
WORDS, REFINE = "{question}\n\n{candidates}\n\nSolve it again.", "{question}\n\n{workspace}"


@pytest.fixture(scope="module")
def plain():
    return Sure()


def digit(chat, ids):  # noqa: F811
    return next((c for c in chat.decode(tuple(ids)) if c.isdigit()), None)


def both(chat, plain, sampling, n):  # noqa: F811
    """A question as methods meet it, and as the naive ones do."""
    (question,) = tiny.questions(1)
    prompt = chat.prompt(question)
    sampling = Sampling.of(prompt.ids, seed=0, temperature=1.0) if sampling is None else sampling
    ask = Ask(prompt, chat, sampling, max_answer_tokens=MAX_ANSWER, answer_of=lambda ids: digit(chat, ids))
    naive = Plain(
        plain, lambda t: list(chat.encode(t)), lambda i: chat.decode(tuple(i)), tiny.CONTEXT, MAX_ANSWER,
        [sampling.sample(i).noise for i in range(n)], lambda ids: digit(chat, ids), MOST,
    )  # fmt: skip
    naive.prompt = lambda text: list(chat.prompt(text).ids)
    return question, ask, naive


def written(trace):
    return [(s.ids("thinking"), s.ids("answer")) for s in trace.samples]


def test_pools(chat, plain, engine):  # noqa: F811
    question, ask, naive = both(chat, plain, None, 4)
    inner = partial(budget_forcing, max_thinking_tokens=MOST)
    last, pool, windows, refined = scheduled(
        [
            short_m_of_k(ask, k=4, m=2, max_thinking_tokens=MOST, which="last"),
            majority_voting(ask, n=4, inner=inner),
            esc(ask, n=4, window=2, inner=inner),
            pdr(ask, n=2, rounds=1, inner=inner, distill=WORDS, refine=REFINE, workspace_tokens=8, prompt_tokens=PROMPT),
        ],
        engine, chat,
    )  # fmt: skip
    samples = [naive.sample(question, i) for i in range(4)]
    assert written(last) == naive.short(question, 4, 2, last=True)[0]
    assert written(pool) == samples
    assert (written(windows), windows.info["decided"]) == naive.esc(question, 4, 2)
    drafts, cut = naive.pdr(question, 2, 1, WORDS, REFINE, 8, PROMPT)
    assert written(refined) == drafts and refined.info["prompt_cut"] == cut


def test_pools_of_one_greedy_chain(chat, plain, engine):  # noqa: F811
    question, ask, naive = both(chat, plain, GREEDY, 1)
    inner = partial(budget_forcing, max_thinking_tokens=MOST)
    how = {"inner": inner, "words": WORDS, "prompt_tokens": PROMPT}
    traces = scheduled(
        [
            majority_voting(ask, n=1, inner=inner),
            short_m_of_k(ask, k=1, m=1, every=16, max_thinking_tokens=MOST),
            adaptive_consistency(ask, n=1, inner=inner),
            deepconf(ask, n=1, window=16, inner=inner),
            deepconf_online(ask, n=1, warmup=1, window=16, max_thinking_tokens=MOST),
            gen_select(ask, n=1, **how),
            rsa(ask, n=1, k=1, rounds=2, **how),
            pdr(ask, n=1, rounds=1, inner=inner, distill=WORDS, refine=REFINE, workspace_tokens=8, prompt_tokens=PROMPT),
        ],
        engine, chat,
    )  # fmt: skip
    alone = [naive.sample(question, 0)]
    assert [written(trace) for trace in traces[:6]] == [alone] * 6
    text, _ = naive.show(WORDS, question, alone, PROMPT, False)
    assert (traces[5].ids("thinking"), traces[5].ids("answer")) == naive.sample(text, 0)
    assert written(traces[6]) == naive.rsa(question, 1, 1, 2, WORDS, PROMPT, None)[0]
    assert written(traces[7]) == naive.pdr(question, 1, 1, WORDS, REFINE, 8, PROMPT)[0]


def test_words_and_exits(chat, plain, engine):  # noqa: F811
    methods, expected = [], []
    codec = plain, lambda text: list(chat.encode(text)), lambda ids: chat.decode(tuple(ids))
    sure = {"threshold": -0.02, "window": 24}
    for question in tiny.questions(2):
        ask, prompt = Ask(chat.prompt(question), chat, GREEDY, max_answer_tokens=MAX_ANSWER), list(chat.prompt(question).ids)
        methods.append(prompted(ask, inner=none, thinking="Okay."))
        expected.append(sequential.thought_for(plain, codec[1], prompt, "Okay.", context=tiny.CONTEXT))
        methods.append(prompted(ask, inner=partial(budget_forcing, max_thinking_tokens=MOST), instruction="Be short."))
        told = list(chat.prompt(f"{question}\n\nBe short.").ids)
        expected.append(reference.budget_forcing(*codec, told, **PLAIN | {"max_thinking_tokens": MOST}, **LIMITS)[0])
        for agree in (2, 4):
            how = {"every": 24, "agree": agree, "probe_tokens": 6}
            methods.append(early_exit(ask, **how))
            expected.append(sequential.early_exit(*codec, prompt, **how, **LIMITS)[0])
        methods.append(confidence_stop(ask, **sure))
        expected.append(sequential.confidence_stop(plain, plain.logprob, *codec[1:], prompt, **sure, **LIMITS)[0])
    traces = scheduled(methods, engine, chat)
    assert [list(trace.ids()) for trace in traces] == expected
    assert any(t.info.get("agreed") for t in traces) and any(t.info.get("confident") for t in traces)
