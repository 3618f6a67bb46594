"""The newer sequential methods yield the token ids of their papers' procedures, written a second time (sequential.py)."""

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from s1x.engines.scripted import logprob
from s1x.methods.alpha_one import alpha_one
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.budget_reminder import budget_reminder
from s1x.methods.deer import deer
from s1x.methods.facts import facts
from s1x.methods.none import none
from s1x.methods.prompted import prompted
from s1x.methods.self_refine import self_refine
from s1x.methods.token_conditional import token_conditional
from s1x.streams.types import GREEDY, Sampling, digest

from . import reference, sequential
from .conftest import CONTEXT, make_chat, make_engine
from .running import scheduled
from .test_against_reference import MAX_ANSWER, ask, both, decode, encode, prompt_ids, setting

CHAT = make_chat()
few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 1 << 30)
LIMITS = {"context": CONTEXT, "max_answer": MAX_ANSWER}
AUTO = {"max_thinking_tokens": "auto", "ignore_end": 0, "string": None, "min_thinking_tokens": 0}


def of(question, sampling=GREEDY):
    return ask(CHAT.prompt(question), CHAT, sampling)


def render(messages):
    turns = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages)
    return encode(turns + "<|im_start|>assistant\n")


@few
@given(seeds, st.integers(1, 240), st.integers(5, 60), st.sampled_from(["\n{left}-", " x{used}.", "Wait"]), st.booleans())
def test_budget_reminder(seed, budget, every, text, told):
    engine, model, question = setting(seed)
    how = {"every": every, "text": text}
    asked = f"{question}\n\nThink for up to {budget} tokens." if told else question
    expected, thought = sequential.budget_reminder(model, encode, decode, prompt_ids(asked), budget=budget, **how, **LIMITS)
    words = {} if told else {"instruction": None}
    trace = both(lambda: budget_reminder(of(question), max_thinking_tokens=budget, **how, **words), engine)
    assert list(trace.ids()) == expected and trace.thinking_tokens == thought <= budget
    assert trace.info["reminders"] == sum(s.kind == "injected" for s in trace.segments)


@few
@given(seeds, st.integers(1, 200), st.sampled_from([0.0, 0.4, 1.0, 1.4]), st.sampled_from([0.0, 0.5, 1.0]), st.integers(-1, 3))
def test_alpha_one(seed, average, alpha, p, sample):
    engine, model, question = setting(seed)
    sampling = GREEDY if sample < 0 else Sampling(1.0, noise=77).sample(sample)
    prompt, how = prompt_ids(question), {"average": average, "alpha": alpha, "p": p, "string": "Wait", "mark": "\n"}

    def draw(t):
        return int.from_bytes(digest("append", 3, tuple(prompt), sampling.noise, t)[:8], "little") / 2**64

    words = [encode(w) for w in ("Wait", " Wait", "Hmm", " Hmm")]
    expected, waits, reason = sequential.alpha_one(
        model, encode, decode, prompt, **how, slow=words, draw=draw, noise=sampling.noise, **LIMITS
    )
    trace = both(lambda: alpha_one(of(question, sampling), **how, slow=("Wait", "Hmm"), seed=3), engine)
    assert list(trace.ids()) == expected and trace.waits == trace.info["slowed"] == waits
    assert trace.info["hastened"] == (reason == "slow") and trace.end == ("natural" if reason == "stop" else "forced")


def test_what_alpha_one_draws_is_of_question_sample_seed_and_position_alone():
    engine = make_engine(5, start=1, end=1)
    how = {"average": 150, "alpha": 1.0, "p": 0.5, "mark": "\n", "slow": ("Hmm",)}
    warm = Sampling(1.0, noise=9)
    asked = [(GREEDY, 0, "x"), (GREEDY, 1, "x"), (GREEDY, 0, "x="), (warm, 0, "x"), (warm.sample(1), 0, "x")]
    first, again = ([alpha_one(of(q, s), **how, seed=seed) for s, seed, q in order] for order in (asked, asked[::-1]))
    alone, beside = scheduled(first, engine, CHAT), scheduled([*again, *first[:0]], engine, CHAT)[::-1]
    assert [t.segments for t in alone] == [t.segments for t in beside]
    assert len({t.ids()[:200] for t in alone}) == len(asked)


@few
@given(seeds, st.sampled_from([0.5, 0.65, 0.7, 0.8]), st.sampled_from([None, "\nFinal Answer: "]), st.integers(1, 9))
def test_deer(seed, threshold, inducer, trial_tokens):
    engine, model, question = setting(seed)
    how = {"threshold": threshold, "marks": ("Wait", "=x"), "inducer": inducer, "trial_tokens": trial_tokens}
    expected, trials, reason = sequential.deer(
        model, lambda ids, token: logprob(token), encode, decode, prompt_ids(question), **how, **LIMITS
    )
    (trace,) = scheduled([deer(of(question), **how)], engine, CHAT)
    assert list(trace.ids()) == expected and trace.info["trials"] == trials
    assert trace.end == ("forced" if reason == "length" else "natural") and not (trace.info["confident"] and reason == "stop")


@few
@given(seeds, st.integers(1, 3), st.sampled_from(["7", "x", None]), st.sampled_from([1, 60, 150]))
def test_self_refine(seed, rounds, satisfied, least):
    engine, model, question = setting(seed)
    how = {"rounds": rounds, "critique": "?", "revision": "so", "satisfied": satisfied}
    expected, revisions, answer = sequential.self_refine(model, encode, decode, render, question, **how, least=least, **LIMITS)

    def inner(ask):
        return budget_forcing(ask, max_thinking_tokens="auto")

    trace = both(lambda: self_refine(of(question), inner=inner, **how, least_room=least), engine)
    assert list(trace.ids()) == expected
    assert trace.info["rounds"] == revisions and CHAT.answer_text(trace).strip() == answer
    roles = [s.role for s in trace.segments if s.role]
    assert roles == (["critique", "revision"] * (rounds + 1))[: len(roles)]
    assert all(len(s.ids) + least + 100 <= CONTEXT for s in trace.segments if s.role)


@few
@given(seeds, st.sampled_from(["Hmm", "Wait\n", "so x"]))
def test_words_instead_of_thinking(seed, text):
    engine, model, question = setting(seed)
    expected = sequential.thought_for(model, encode, prompt_ids(question), text.strip(), context=CONTEXT)
    trace = both(lambda: prompted(of(question), inner=none, thinking=text.strip()), engine)
    assert list(trace.ids()) == expected and list(trace.prompt) == prompt_ids(question)
    assert [s.kind for s in trace.segments] == ["delimiter", "injected", "delimiter", "answer"]


@few
@given(seeds, st.integers(1, 120), st.sampled_from([None, "Hmm"]))
def test_words_behind_the_question_and_before_the_thinking(seed, budget, opening):
    engine, model, question = setting(seed)
    prompt, how = prompt_ids(f"{question}\n\nso x"), AUTO | {"max_thinking_tokens": budget}
    expected, thought, _ = reference.budget_forcing(
        model, encode, decode, prompt, **how, **LIMITS, opening=encode(opening) if opening else []
    )
    inner = partial(budget_forcing, **how)
    trace = both(lambda: prompted(of(question), inner=inner, instruction="so x", opening=opening), engine)
    assert list(trace.ids()) == expected and trace.thinking_tokens == thought and list(trace.prompt) == prompt


@few
@given(seeds, st.sampled_from([16, 64]), st.sampled_from(["Think for {tokens} tokens.", "Think for up to {tokens} tokens."]))
def test_another_wording(seed, tokens, wording):
    engine, model, question = setting(seed)
    asked = prompt_ids(f"{question}\n\n{wording.replace('{tokens}', str(tokens))}")
    expected = reference.budget_forcing_s1(model, encode, decode, asked, **AUTO, **LIMITS)
    inner = partial(budget_forcing, **AUTO)
    trace = both(lambda: token_conditional(of(question), tokens=tokens, inner=inner, wording=wording), engine)
    assert list(trace.ids()) == expected
    assert facts(partial(token_conditional, tokens=tokens, wording=wording, inner=inner)).instructed == tokens
