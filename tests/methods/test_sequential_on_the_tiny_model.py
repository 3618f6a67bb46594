"""On the model that ships: the newer sequential methods, token for token what their papers' procedures (sequential.py) make of
the plain Hugging Face model, one question and one token at a time."""

from functools import partial

import pytest
import torch

from s1x.methods.alpha_one import alpha_one
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.budget_reminder import budget_reminder
from s1x.methods.deer import deer
from s1x.methods.self_refine import self_refine
from s1x.streams.types import GREEDY, digest

from ..engines import tiny
from . import sequential
from .running import scheduled
from .test_on_the_tiny_model import MAX_ANSWER, Plain, ask, chat, engine  # noqa: F401  fixtures

LIMITS = {"context": tiny.CONTEXT, "max_answer": MAX_ANSWER}


class Sure(Plain):
    """The plain model, and how probable it finds a token."""

    def logprob(self, ids, token):
        self.known.pop((ids, None, frozenset()), None)
        self(ids, None, frozenset())
        return float(torch.log_softmax(self.logits[0].float(), -1)[token])


@pytest.fixture(scope="module")
def plain():
    return Sure()


@pytest.fixture
def words(chat, plain):  # noqa: F811
    """What every procedure is told first, for a question."""
    codec = plain, lambda text: list(chat.encode(text)), lambda ids: chat.decode(tuple(ids))
    return lambda question: (*codec, list(chat.prompt(question).ids))


@pytest.mark.long
def test_reminders_and_schedules_of_wait(words, chat, engine):  # noqa: F811
    methods, expected = [], []
    for question in tiny.questions(2):
        for budget, every in ((60, 20), (200, 50)):
            how = {"every": every, "text": "\n{left} "}
            methods.append(budget_reminder(ask(chat.prompt(question), chat, GREEDY), max_thinking_tokens=budget, **how))
            asked = f"{question}\n\nThink for up to {budget} tokens."
            expected.append(sequential.budget_reminder(*words(asked), budget=budget, **how, **LIMITS)[0])
        for mark, slow in (("\n", ("\n",)), ("=", ("so", "Wait"))):  # what this model writes often
            how = {"average": 120, "alpha": 1.4, "p": 0.8, "string": "Wait", "mark": mark}
            methods.append(alpha_one(ask(chat.prompt(question), chat, GREEDY), **how, slow=slow))
            prompt = chat.prompt(question).ids

            def draw(t, prompt=prompt):
                return int.from_bytes(digest("append", 0, prompt, None, t)[:8], "little") / 2**64

            ids = [list(chat.encode(before + w)) for w in slow for before in ("", " ")]
            expected.append(sequential.alpha_one(*words(question), **how, slow=ids, draw=draw, **LIMITS)[0])
    traces = scheduled(methods, engine, chat)
    assert [list(trace.ids()) for trace in traces] == expected
    assert max(trace.waits for trace in traces) > 1 and any(trace.info.get("hastened") for trace in traces)
    assert max(trace.info.get("reminders", 0) for trace in traces) > 1


def test_trial_answers(words, chat, engine):  # noqa: F811
    methods, expected = [], []
    for question in tiny.questions(2):
        for threshold in (0.6, 0.9):
            how = {"threshold": threshold, "marks": ("\n",), "inducer": None, "trial_tokens": 8}
            methods.append(deer(ask(chat.prompt(question), chat, GREEDY), **how))
            model, *codec = words(question)
            expected.append(sequential.deer(model, model.logprob, *codec, **how, **LIMITS))
    traces = scheduled(methods, engine, chat)
    assert [(list(t.ids()), t.info["trials"]) for t in traces] == [(ids, trials) for ids, trials, _ in expected]
    assert any(trace.info["confident"] for trace in traces)


@pytest.mark.long
def test_critique_and_revision(words, chat, engine):  # noqa: F811
    how = {"rounds": 2, "critique": "Check it.", "revision": "Answer again.", "satisfied": None}
    methods, expected = [], []
    for question in tiny.questions(1):
        inner = partial(budget_forcing, max_thinking_tokens="auto")
        methods.append(self_refine(ask(chat.prompt(question), chat, GREEDY), inner=inner, **how, least_room=64))

        def render(messages):
            turns = [{"role": role, "content": text} for role, text in messages]
            text = chat.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            return chat.tokenizer.encode(text, add_special_tokens=False)

        expected.append(sequential.self_refine(*words(question)[:3], render, question, **how, least=64, **LIMITS))
    for trace, (ids, revisions, answer) in zip(scheduled(methods, engine, chat), expected, strict=True):
        assert list(trace.ids()) == ids and trace.info["rounds"] == revisions == 2
        assert chat.answer_text(trace).strip() == answer
