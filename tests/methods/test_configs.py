"""Every method config: it composes, is checked, runs; and bad settings get a sentence."""

from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from s1x.composition import BASE
from s1x.engines.scripted import ScriptedEngine
from s1x.evaluation.naming import method_of
from s1x.methods.base import Ask
from s1x.methods.facts import check, facts
from s1x.scorer import Scorer, ScorerFormat
from s1x.streams.types import GREEDY, Sampling

from .conftest import CONTEXT, Tokenizer, make_chat, make_engine
from .running import scheduled

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
CHAT = make_chat()


@cache
def composed(name, *overrides):
    with initialize_config_dir(str(CONF), **BASE):
        return compose(None, [f"+method={name}", *overrides])


def settings(name, *overrides):
    small = {"rejection_sampling": ["method.limit=60"], "majority_voting": ["method.n=4"], "alpha_one": ["method.average=90"]}
    small |= {"rsa": ["method.rounds=2"]}
    return composed(name, *small.get(name, ()), *overrides)


@pytest.mark.parametrize("name", NAMES)
def test_every_config_runs(name):
    cfg = settings(name)
    warm = facts(method_of(cfg)).needs_sampling is not None
    check(method_of(cfg), context_length=CONTEXT, temperature=float(warm), chat=CHAT)
    scorer = Scorer(ScorerFormat("x", template=False, separator="\n"), Tokenizer())
    sampling = Sampling(1.0, noise=3) if warm else GREEDY
    ask = Ask(CHAT.prompt("x"), CHAT, sampling, max_answer_tokens=20, question="x", scorer=scorer)
    (trace,) = scheduled([method_of(cfg)(ask)], make_engine(4), CHAT, ScriptedEngine(context_length=1 << 14))
    assert trace.prompt and (trace.segments or trace.samples)
    assert bool(trace.scored) == facts(method_of(cfg)).needs_scorer
    assert trace.reads


def test_forced_variants_take_the_instructed_number():
    assert settings("token_conditional_forced", "method.tokens=64").method.inner.max_thinking_tokens == 64
    assert settings("token_conditional").method.inner.max_thinking_tokens == "auto"
    assert settings("step_conditional_forced").method.forced is True


def test_methods_compose_on_the_command_line():
    cfg = settings("majority_voting", "method@method.inner=token_conditional_forced", "method.inner.tokens=32")
    check(method_of(cfg), context_length=CONTEXT, temperature=1.0, chat=CHAT)
    (trace,) = scheduled([method_of(cfg)(Ask(CHAT.prompt("x"), CHAT, Sampling(1.0, noise=3)))], make_engine(4), CHAT)
    assert [s.info["instructed"] for s in trace.samples] == [32] * 4
    assert all(s.thinking_tokens <= 32 for s in trace.samples)
    settings("token_conditional", "method@method.inner=none")
    with pytest.raises(ValueError, match=r"method\.inner\.inner\.ignore_end=-1"):
        bad = settings("majority_voting", "method@method.inner=token_conditional", "method.inner.inner.ignore_end=-1")
        check(method_of(bad), context_length=CONTEXT, temperature=1.0, chat=CHAT)


@pytest.mark.parametrize(
    ("name", "override", "says"),
    [
        (
            "budget_forcing",
            "method.max_thinking_tokens=0",
            r"method\.max_thinking_tokens=0: must be a whole number of 1 or more, auto, null",
        ),
        ("budget_forcing", "method.max_thinking_tokens=-5", r"method\.max_thinking_tokens=-5"),
        ("budget_forcing", "method.max_thinking_tokens=2.5", r"method\.max_thinking_tokens=2\.5"),
        ("budget_forcing", "method.max_thinking_tokens=true", r"method\.max_thinking_tokens=True"),
        ("budget_forcing", "method.max_thinking_tokens=lots", r"method\.max_thinking_tokens='lots'"),
        (
            "budget_forcing",
            "method.max_thinking_tokens=419",
            r"method\.max_thinking_tokens=419: must be at most 3\d\d .*context is 420 tokens",
        ),
        ("budget_forcing", "method.ignore_end=-1", r"method\.ignore_end=-1: must be a whole number of 0 or more"),
        ("budget_forcing", "method.min_thinking_tokens=-1", r"method\.min_thinking_tokens=-1"),
        ("budget_forcing", "method.min_thinking_tokens=400", r"method\.min_thinking_tokens=400: must be at most"),
        ("budget_forcing", "method.string='<|im_start|>Wait'", r"method\.string='<\|im_start\|>Wait'.*ends thinking"),
        ("budget_forcing", "method.string=''", r"method\.string=''"),
        ("budget_forcing", "method.compat=s2", r"method\.compat='s2': must be one of null, 's1'"),
        ("none", "method.max_tokens=0", r"method\.max_tokens=0"),
        ("none", "method.thinking=maybe", r"method\.thinking='maybe'"),
        ("token_conditional", "method.tokens=0", r"method\.tokens=0"),
        ("token_conditional_forced", "method.tokens=410", r"method\.inner\.max_thinking_tokens=410: must be at most"),
        ("step_conditional", "method.steps=0", r"method\.steps=0"),
        ("step_conditional", "method.steps=many", r"method\.steps='many'"),
        ("step_conditional", "method.step_start=steps", r"'steps' is 5 tokens"),
        ("class_conditional", "method.length=medium", r"method\.length='medium': must be one of 'long', 'short'"),
        ("rejection_sampling", "method.limit=0", r"method\.limit=0"),
        ("rejection_sampling", "method.limit=4000", r"method\.limit=4000: must be at most"),
        ("rejection_sampling", "method.max_tries=0", r"method\.max_tries=0"),
        ("rejection_sampling", "method.ahead=0", r"method\.ahead=0"),
        ("majority_voting", "method.n=0", r"method\.n=0"),
        ("early_exit", "method.every=0", r"method\.every=0"),
        ("early_exit", "method.agree=1", r"method\.agree=1"),
        (
            "early_exit",
            "method.max_thinking_tokens=null",
            r"method\.max_thinking_tokens=null: must be a whole number of 1 or more, auto$",
        ),
    ],
)
def test_bad_settings_get_a_sentence(name, override, says):
    cfg = settings(name, override)
    with pytest.raises(ValueError, match=says):
        check(method_of(cfg), context_length=CONTEXT, temperature=1.0, chat=CHAT)


@pytest.mark.parametrize("name", ["majority_voting", "rejection_sampling"])
def test_pools_need_a_temperature(name):
    with pytest.raises(ValueError, match=r"sampling\.temperature=0.*would be the same"):
        check(method_of(settings(name)), context_length=CONTEXT, temperature=0.0, chat=CHAT)


def test_minimum_above_maximum():
    with pytest.raises(ValueError, match=r"method\.min_thinking_tokens=20: must be at most method\.max_thinking_tokens=10"):
        check(
            method_of(settings("budget_forcing", "method.min_thinking_tokens=20", "method.max_thinking_tokens=10")),
            context_length=CONTEXT,
            temperature=0.0,
            chat=CHAT,
        )


def test_a_reserve_that_leaves_no_room():
    with pytest.raises(ValueError, match=r"answer\.reserve=1000: leaves no room to think: .* context is 420 tokens"):
        check(method_of(settings("budget_forcing")), context_length=CONTEXT, temperature=0.0, chat=CHAT, reserve=1000)


def test_a_model_without_the_formats_tokens():
    chat = make_chat(thinking_stop=("</think>",))
    with pytest.raises(ValueError, match=r"'</think>' is 4 tokens"):
        check(method_of(settings("budget_forcing")), context_length=CONTEXT, temperature=0.0, chat=chat)


@pytest.mark.parametrize("name", NAMES)
def test_checks_work_before_context_and_tokenizer_are_known(name):
    check(method_of(settings(name)), context_length=None, temperature=1.0, chat=None)
