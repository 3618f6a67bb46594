"""Every method of the paper yields the same token ids as s1's procedure written a second time (reference.py)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.class_conditional import class_conditional
from s1x.methods.none import none
from s1x.methods.rejection_sampling import rejection_sampling
from s1x.methods.step_conditional import step_conditional
from s1x.methods.token_conditional import token_conditional
from s1x.streams.types import GREEDY, Sampling

from . import reference
from .conftest import CONTEXT, make_chat, make_engine
from .running import naive, scheduled

MAX_ANSWER = 20
LONG = (
    "\n\nAnswer after a long amount of thinking. If you feel like you are finished early, spend the extra time trying to "
    "double-check your work until you are absolutely sure that you have the correct answer."
)
SHORT = "\n\nAnswer after a short amount of thinking. Do not spend excessive time double-checking your work."

chat = make_chat()
seeds = st.integers(0, 1 << 30)
strings = st.sampled_from(["Wait", "Hmm", "Alternatively", "Wait\n", None])
budgets = st.one_of(st.integers(1, 250), st.just("auto"))
many = settings(max_examples=60, deadline=None)


def encode(text):
    return list(chat.encode(text))


def decode(ids):
    return chat.decode(tuple(ids))


def setting(seed, **kw):
    """An engine whose stop tokens are rare or frequent, its model for the reference, and a question."""
    kw = {"start": [40, 250, 900][seed % 3], "end": [10, 100, 300][seed % 5 % 3], **kw}
    engine = make_engine(seed, **kw)

    def model(ids, noise, banned):
        return engine.next_token(ids, GREEDY if noise is None else Sampling(1.0, noise=noise), banned)

    return engine, model, f"x={seed}"


def ask(prompt, chat, sampling):
    return Ask(prompt, chat, sampling, max_answer_tokens=MAX_ANSWER)


def prompt_ids(question):
    return encode(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")


def both(make, engine):
    """The trace of a method by the naive driver and by the scheduler: the same ids."""
    first = naive(make(), engine, chat)
    (second,) = scheduled([make()], engine, chat)
    assert summary(first) == summary(second)
    return second


def summary(trace):
    return [(s.kind, s.ids) for s in trace.segments], trace.end, trace.waits, trace.info


@many
@given(seeds, budgets, st.integers(0, 4), strings, st.integers(0, 40))
def test_budget_forcing_as_in_the_reference_code(seed, max_thinking_tokens, ignore_end, string, min_thinking_tokens):
    engine, model, question = setting(seed)
    how = {
        "max_thinking_tokens": max_thinking_tokens,
        "ignore_end": ignore_end,
        "string": string,
        "min_thinking_tokens": min_thinking_tokens,
    }
    expected = reference.budget_forcing_s1(
        model, encode, decode, prompt_ids(question), context=CONTEXT, max_answer=MAX_ANSWER, **how
    )
    trace = both(lambda: budget_forcing(ask(chat.prompt(question), chat, GREEDY), compat="s1", **how), engine)
    assert list(trace.ids()) == expected
    assert max_thinking_tokens == "auto" or trace.thinking_tokens <= max_thinking_tokens


@many
@given(seeds, budgets, st.integers(0, 4), strings, st.integers(0, 40))
def test_budget_forcing_as_in_the_paper(seed, max_thinking_tokens, ignore_end, string, min_thinking_tokens):
    engine, model, question = setting(seed)
    min_thinking_tokens = (
        min_thinking_tokens if max_thinking_tokens == "auto" else min(min_thinking_tokens, max_thinking_tokens)
    )
    how = {
        "max_thinking_tokens": max_thinking_tokens,
        "ignore_end": ignore_end,
        "string": string,
        "min_thinking_tokens": min_thinking_tokens,
    }
    expected, thought, ignored = reference.budget_forcing(
        model, encode, decode, prompt_ids(question), context=CONTEXT, max_answer=MAX_ANSWER, **how
    )
    trace = both(lambda: budget_forcing(ask(chat.prompt(question), chat, GREEDY), **how), engine)
    assert list(trace.ids()) == expected
    assert (trace.thinking_tokens, trace.waits) == (thought, ignored)
    assert min_thinking_tokens <= trace.thinking_tokens <= (CONTEXT if max_thinking_tokens == "auto" else max_thinking_tokens)


@many
@given(seeds, st.sampled_from([16, 64, 128]), st.booleans())
def test_token_conditional(seed, tokens, forced):
    engine, model, question = setting(seed)
    how = {"max_thinking_tokens": tokens if forced else "auto", "ignore_end": 0, "string": None, "min_thinking_tokens": 0}
    expected = reference.budget_forcing_s1(
        model,
        encode,
        decode,
        prompt_ids(f"{question}\n\nThink for up to {tokens} tokens."),
        context=CONTEXT,
        max_answer=MAX_ANSWER,
        **how,
    )

    def inner(ask):
        return budget_forcing(ask, **how)

    trace = both(lambda: token_conditional(ask(chat.prompt(question), chat, GREEDY), tokens=tokens, inner=inner), engine)
    assert list(trace.ids()) == expected
    assert trace.info["instructed"] == tokens


@many
@given(seeds, st.sampled_from(["long", "short"]))
def test_class_conditional(seed, length):
    engine, model, question = setting(seed)
    expected = reference.budget_forcing_s1(
        model,
        encode,
        decode,
        prompt_ids(question + {"long": LONG, "short": SHORT}[length]),
        max_thinking_tokens="auto",
        ignore_end=0,
        string=None,
        min_thinking_tokens=0,
        context=CONTEXT,
        max_answer=MAX_ANSWER,
    )

    def inner(ask):
        return budget_forcing(ask, max_thinking_tokens="auto")

    trace = both(lambda: class_conditional(ask(chat.prompt(question), chat, GREEDY), length=length, inner=inner), engine)
    assert list(trace.ids()) == expected


@many
@given(seeds, st.sampled_from([8, 64]), st.booleans(), st.sampled_from([None, "s1"]))
def test_step_conditional(seed, steps, forced, compat):
    engine, model, question = setting(seed, start=1500)  # many markers, so that some are followed by 0 and by "answer"
    prompt = prompt_ids(f"{question}\n\nThink for up to {steps} steps.")
    limits = {"context": CONTEXT, "max_answer": MAX_ANSWER}
    if forced:
        run = reference.step_conditional_forced_s1 if compat else reference.step_conditional_forced
        expected = run(model, encode, decode, prompt, **limits)
    else:
        start = [] if compat else encode("<|im_start|>")
        expected = reference.plain(model, encode, prompt, start=start, **limits)
    trace = both(
        lambda: step_conditional(ask(chat.prompt(question), chat, GREEDY), steps=steps, forced=forced, compat=compat),
        engine,
    )
    assert list(trace.ids()) == expected


@many
@given(seeds, st.booleans())
def test_plain_generation(seed, thinking):
    engine, model, question = setting(seed, start=900)
    start = encode("<|im_start|>think") if thinking else []
    prompt = prompt_ids(question)
    trace = both(lambda: none(ask(chat.prompt(question), chat, GREEDY), thinking=thinking), engine)
    if thinking:
        assert list(trace.ids()) == reference.plain(model, encode, prompt, start=start, context=CONTEXT, max_answer=MAX_ANSWER)
    else:
        out, _ = reference.generate(model, prompt, CONTEXT, context=CONTEXT, stop=[encode("<|im_end|>")])
        assert list(trace.ids()) == reference.strip(out, [encode("<|im_end|>")])
        assert trace.thinking_tokens == 0 and trace.end == "none"


@many
@given(seeds, st.integers(1, 60), st.integers(1, 5), st.integers(0, 1 << 40))
def test_rejection_sampling(seed, limit, ahead, noise):
    engine, model, question = setting(seed)
    sampling, tries = Sampling(1.0, noise=noise), 12
    expected_tries, expected = reference.rejection_sampling(
        model,
        encode,
        decode,
        prompt_ids(question),
        limit=limit,
        noises=[sampling.sample(i).noise for i in range(tries)],
        context=CONTEXT,
        max_answer=MAX_ANSWER,
    )
    trace = both(
        lambda: rejection_sampling(ask(chat.prompt(question), chat, sampling), limit=limit, max_tries=tries, ahead=ahead),
        engine,
    )
    assert trace.info["tries"] == expected_tries
    assert trace.info["exhausted"] == (expected is None)
    if expected is not None:
        assert list(trace.ids()) == expected
        assert trace.end == "natural" and trace.thinking_tokens < limit
    else:
        assert trace.answer_tokens == 0 and trace.end == "forced"
