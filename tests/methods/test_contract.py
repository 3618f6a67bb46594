"""What a method declares is found whatever it is called: limits, series, checks, plan, and the newcomer's first method."""

from functools import partial

import pytest

from s1x.methods import budget_forcing as budget_forcing_module
from s1x.methods.base import Ask, method
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.checks import BadLimit
from s1x.methods.class_conditional import class_conditional
from s1x.methods.facts import check, facts
from s1x.methods.majority_voting import majority_voting
from s1x.methods.none import none
from s1x.methods.token_conditional import token_conditional
from s1x.streams.types import GREEDY, Method, Sampling

from .conftest import CONTEXT, make_chat, make_engine
from .running import naive, scheduled

CHAT = make_chat()


@method(limits=lambda s: (0, s.tokens))
def mine(ask: Ask, *, tokens: int):
    span = yield ask.think(limit=tokens)
    return (yield from ask.close([ask.thinking(span)], span))


def test_the_worked_example_is_budget_forcing_in_small():
    engine = make_engine(3)
    ask = Ask(CHAT.prompt("x"), CHAT, GREEDY, max_answer_tokens=20)
    ours, theirs = scheduled([mine(ask, tokens=30), budget_forcing(ask, max_thinking_tokens=30)], engine, CHAT)
    assert (ours.segments, ours.end) == (theirs.segments, theirs.end)
    assert facts(partial(mine, tokens=30)).limits == (0, 30)


@pytest.mark.parametrize("limit", [-1, 2.0, "8", True, (4,)])
def test_a_limit_is_a_whole_number_of_tokens(limit):
    ask = Ask(CHAT.prompt("x"), CHAT)
    for read in (ask.think, lambda limit: ask.answer(ask.head, limit=limit)):
        with pytest.raises(BadLimit, match="must be a whole number of tokens, 0 or more, or null for no limit"):
            read(limit)
        assert [read(n).limit for n in (0, 7, None)] == [0, 7, None]
    with pytest.raises(ValueError, match=r"^method.tokens=.*: must be a whole number of tokens"):
        check(partial(mine, tokens=limit), context_length=None, temperature=0, chat=None)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (partial(budget_forcing), {"series": "budget_forcing", "limits": (0, None), "free": True, "ignored_ends": 0}),
        (partial(budget_forcing, max_thinking_tokens=64), {"series": "budget_forcing", "limits": (0, 64), "free": False}),
        (partial(budget_forcing, ignore_end=2, string="Hmm"), {"series": "budget_forcing(Hmm)", "ignored_ends": 2}),
        (partial(budget_forcing, string=None), {"series": "budget_forcing(string=null)"}),
        (partial(budget_forcing, string="\n"), {"series": 'budget_forcing(string="\\n")'}),
        (partial(none, thinking=False), {"series": "none(thinking=false)", "free": False, "limits": (None, None)}),
        (partial(class_conditional, length="short", inner=partial(budget_forcing)), {"relative": "less", "free": False}),
        (
            partial(token_conditional, tokens=9, inner=partial(budget_forcing, max_thinking_tokens=9)),
            {"series": "token_conditional(budget_forcing, forced)", "limits": (0, 9)},
        ),
        (
            partial(majority_voting, n=4, inner=partial(budget_forcing, max_thinking_tokens=9, ignore_end=1)),
            {"limits": (0, 9), "ignored_ends": 1, "free": False, "needs_sampling": "all votes would be the same"},
        ),
    ],
)
def test_facts(run, expected):
    found = facts(run)
    assert {key: getattr(found, key) for key in expected} == expected


def test_methods_are_found_under_any_name_and_in_lists():
    @method
    def several(ask: Ask, *, first: Method, others: list):
        return (yield from first(ask))

    run = partial(
        several, first=partial(mine, tokens=7), others=[partial(mine, tokens=8), partial(majority_voting, n=2, inner=none)]
    )
    found = facts(run)
    assert found.limits == (0, 7) and found.needs_sampling
    assert found.series == "several(mine, mine, majority_voting(none))"
    with pytest.raises(ValueError, match=r"method\.others\.1\.n=0"):
        bad = partial(several, first=none, others=[none, partial(majority_voting, n=0, inner=none)])
        check(bad, context_length=None, temperature=1.0, chat=None)


def test_a_method_renamed_keeps_what_it_declares():
    import types

    copy = types.FunctionType(budget_forcing.__code__, vars(budget_forcing_module), "renamed", None, budget_forcing.__closure__)
    copy.__kwdefaults__, copy.declared = budget_forcing.__kwdefaults__, budget_forcing.declared
    for settings in ({}, {"max_thinking_tokens": 64}, {"ignore_end": 2, "string": "Hmm"}):
        one, other = facts(partial(budget_forcing, **settings)), facts(partial(copy, **settings))
        assert other.series == one.series.replace("budget_forcing", "renamed")
        assert (one.limits, one.ignored_ends, one.free) == (other.limits, other.ignored_ends, other.free)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (partial(mine, tokens=3, token=4), r"method\.token: there is no such setting; mine has tokens"),
        (mine, r"method\.tokens: must be set"),
        (partial(majority_voting, n=2, inner=partial(mine)), r"method\.inner\.tokens: must be set"),
    ],
)
def test_unknown_and_missing_settings_are_told(run, says):
    with pytest.raises(ValueError, match=says):
        check(run, context_length=CONTEXT, temperature=1.0, chat=CHAT)


def test_a_plain_generator_without_the_decorator_works():
    def bare(ask: Ask, *, tokens: int = 5):
        span = yield ask.think(limit=tokens)
        return (yield from ask.close([ask.thinking(span)], span))

    check(partial(bare, tokens=9), context_length=CONTEXT, temperature=0.0, chat=CHAT)
    assert facts(partial(bare, tokens=9)).series == "bare"
    assert naive(bare(Ask(CHAT.prompt("x"), CHAT)), make_engine(1), CHAT).thinking_tokens <= 5


def test_derived_questions_keep_the_root_noise_and_have_room_of_their_own():
    ask = Ask(CHAT.prompt("x"), CHAT, Sampling(1.0, noise=5), answer_reserve=50)
    assert ask.sample(0).sampling == ask.sampling and ask.sample(3).sampling == ask.sampling.sample(3)
    longer = ask.saying("Think for up to 8 tokens.")
    assert longer.sampling == ask.sampling and longer.room < ask.room
    turn = ask.turn([{"role": "assistant", "content": "12"}, {"role": "user", "content": "x=1"}])
    text = CHAT.decode(turn.prompt.ids)
    assert text.endswith("<|im_start|>assistant\n12<|im_end|>\n<|im_start|>user\nx=1<|im_end|>\n<|im_start|>assistant\n")
    assert turn.turn([]).prompt.ids == turn.prompt.ids and turn.room < ask.room
