"""On the model that ships: all settings of all methods in one scheduler on the embedded engine, token for token what s1's
procedure (reference.py) makes of the plain Hugging Face model, one question and one token at a time."""

from functools import partial

import pytest
import torch
from transformers import AutoModelForCausalLM

from s1x.engines import sampler
from s1x.engines.transformers import TransformersEngine
from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.class_conditional import INSTRUCTIONS, class_conditional
from s1x.methods.rejection_sampling import rejection_sampling
from s1x.methods.step_conditional import step_conditional
from s1x.methods.token_conditional import token_conditional
from s1x.streams.types import GREEDY, Sampling

from ..engines import tiny
from . import reference
from .running import scheduled

QUESTIONS, MAX_ANSWER = 3, 16
PLAIN = {"max_thinking_tokens": "auto", "ignore_end": 0, "string": None, "min_thinking_tokens": 0}
FORCED = [PLAIN | {"max_thinking_tokens": budget} for budget in (1, 48, 200, 700)]
FORCED += [PLAIN | {"ignore_end": n, "string": s} for n in (1, 2, 3, 4) for s in ("Wait", "Hmm", "Alternatively", None)]
FORCED += [PLAIN | {"max_thinking_tokens": 400, "ignore_end": 4, "string": "Wait"}, PLAIN | {"min_thinking_tokens": 500}]


def ask(prompt, chat, sampling):
    return Ask(prompt, chat, sampling, max_answer_tokens=MAX_ANSWER)


class Plain:
    """The Hugging Face model: the next token after `ids`, from a cache of the ids that it has read last."""

    def __init__(self):
        self.model = AutoModelForCausalLM.from_pretrained(tiny.MODEL, dtype=torch.float32)
        self.ids, self.cache, self.logits, self.known = (), None, None, {}

    @torch.inference_mode()
    def __call__(self, ids, noise, banned):
        if (ids, noise, banned) not in self.known:
            shared = next((i for i, (a, b) in enumerate(zip(self.ids, ids)) if a != b), min(len(self.ids), len(ids)))
            if shared < len(ids) or shared < len(self.ids):
                keep = min(shared, len(ids) - 1)
                if self.cache is not None:
                    self.cache.crop(keep)
                out = self.model(torch.tensor([ids[keep if self.cache is not None else 0 :]]), past_key_values=self.cache)
                self.ids, self.cache, self.logits = ids, out.past_key_values, out.logits[:, -1, : tiny.VOCABULARY]
            self.known[ids, noise, banned] = self.draw(self.logits.clone(), len(ids), noise, banned)
        return self.known[ids, noise, banned]

    def draw(self, logits, position, noise, banned):
        logits[:, sorted(banned)] = -torch.inf
        if noise is None:
            return int(logits.argmax())
        one = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "noise": noise, "position": position}
        return int(sampler.draw(logits, *(torch.tensor([value]) for value in one.values())))


@pytest.fixture(scope="module")
def chat():
    return tiny.chat()


@pytest.fixture(scope="module")
def model():
    return Plain()


@pytest.fixture
def engine():
    engine = TransformersEngine(tiny.MODEL, threads=1)
    yield engine
    engine.close()


class Both:
    """s1x and the reference on the same question."""

    def __init__(self, chat, model):
        self.chat, self.limits = chat, {"context": tiny.CONTEXT, "max_answer": MAX_ANSWER}
        self.model, self.encode, self.decode = model, lambda text: list(chat.encode(text)), lambda ids: chat.decode(tuple(ids))

    def reference(self, name, question, **settings):
        words = [self.model, self.encode, self.decode, list(self.chat.prompt(question).ids)]
        return getattr(reference, name)(*words, **settings, **self.limits)


@pytest.fixture
def both(chat, model):
    return Both(chat, model)


def forced(**settings):
    return partial(budget_forcing, **settings)


@pytest.mark.long
def test_budget_forcing(both, chat, engine):
    cases = [(q, how) for q in tiny.questions(QUESTIONS) for how in FORCED]
    methods = [forced(**how)(ask(chat.prompt(q), chat, GREEDY)) for q, how in cases]
    methods += [forced(**how, compat="s1")(ask(chat.prompt(q), chat, GREEDY)) for q, how in cases]
    traces = scheduled(methods, engine, chat)
    for (question, how), ours, like_s1 in zip(cases, traces, traces[len(cases) :], strict=False):
        assert list(ours.ids()) == both.reference("budget_forcing", question, **how)[0], how
        assert list(like_s1.ids()) == both.reference("budget_forcing_s1", question, **how), how
    assert max(trace.waits for trace in traces) == 4


@pytest.mark.long
def test_conditional_methods(both, chat, engine):
    methods, expected = [], []
    for question in tiny.questions(QUESTIONS):
        prompt = chat.prompt(question)
        for tokens in (64, 256):
            for how in (PLAIN, PLAIN | {"max_thinking_tokens": tokens}):
                methods.append(token_conditional(ask(prompt, chat, GREEDY), tokens=tokens, inner=forced(**how)))
                asked = f"{question}\n\nThink for up to {tokens} tokens."
                expected.append(both.reference("budget_forcing_s1", asked, **how))
        for length in ("short", "long"):
            methods.append(class_conditional(ask(prompt, chat, GREEDY), length=length, inner=forced(**PLAIN)))
            expected.append(both.reference("budget_forcing_s1", f"{question}\n\n{INSTRUCTIONS[length]}", **PLAIN))
        for compat, name in ((None, "step_conditional_forced"), ("s1", "step_conditional_forced_s1")):
            settings = {"steps": 8, "forced": True, "compat": compat}
            methods.append(step_conditional(ask(prompt, chat, GREEDY), **settings))
            expected.append(both.reference(name, f"{question}\n\nThink for up to 8 steps."))
    for trace, ids in zip(scheduled(methods, engine, chat), expected, strict=True):
        assert list(trace.ids()) == ids


@pytest.mark.long
def test_rejection_sampling(both, chat, engine):
    tries, methods, expected = 4, [], []
    for question in tiny.questions(QUESTIONS):
        prompt = chat.prompt(question)
        sampling = Sampling.of(prompt.ids, seed=0, temperature=1.0)
        noises = [sampling.sample(i).noise for i in range(tries)]
        for limit in (120, 300, 900):
            settings = {"limit": limit, "max_tries": tries, "ahead": 2}
            methods.append(rejection_sampling(ask(prompt, chat, sampling), **settings))
            expected.append(both.reference("rejection_sampling", question, limit=limit, noises=noises))
    for trace, (used, ids) in zip(scheduled(methods, engine, chat), expected, strict=True):
        assert trace.info["tries"] == used and trace.info["exhausted"] == (ids is None)
        assert ids is None or list(trace.ids()) == ids
