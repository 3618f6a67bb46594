"""What cells and series are called in tables and figures: as few settings as will do, in people's words."""

from functools import partial

import pytest

from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.class_conditional import class_conditional
from s1x.methods.early_exit import early_exit
from s1x.methods.facts import facts
from s1x.methods.majority_voting import majority_voting
from s1x.methods.none import none
from s1x.report.labels import cell_labels, comparison_namer, complete, ignored_ends, named_series, point_labels, series_names


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"declared": {"ignored_ends": 4}, "waits_mean": 2.0}, 4),
        ({"declared": {"ignored_ends": 0}, "overrides": ["method.ignore_end=3"]}, 0),
        ({"waits_mean": 1.98, "overrides": ["method.ignore_end=3"]}, 2),  # a record of an older version
        ({"declared": None, "settings": None}, 0),
    ],
)
def test_ignored_ends(record, expected):
    assert ignored_ends(complete(record)) == expected


def cell(model="a", series="bf", budget=None, ignored=0, **settings):
    named = {key.replace("__", "."): value for key, value in settings.items()}
    record = {"task": "t", "model": model, "series": series, "budget": budget, "settings": named}
    return record | {"declared": {"ignored_ends": ignored}}


def test_labels_show_what_the_other_columns_do_not():
    records = [cell(m, method__string=s) for m, s in (("a", "Wait"), ("a", "Hmm"), ("b", "Wait"))]
    assert cell_labels(records) == ["string=Wait", "string=Hmm", "string=Wait"]
    assert list(series_names(records).values()) == ["bf", "b"]
    records.append(cell("b", "none(thinking=false)", 8, method__thinking=False, method__max_thinking_tokens=8))
    assert list(series_names(records + records[:1]).values()) == ["bf", "bf (b)", "none (thinking=false)"]
    assert cell_labels(records)[-1] == ""  # the series says it, and the budget has a column


@pytest.mark.parametrize(
    ("records", "labels"),
    [
        ([cell(budget=b, method__limit=b) for b in (8, 16)], ["", ""]),
        ([cell(seed=s, model__path=f"/m/{s}", train__name=f"m{s}") for s in (0, 1)], ["seed=0", "seed=1"]),
        (
            [cell(seed=s, train__seed=t) for s in (0, 1) for t in (0, 1)],
            ["seed=0, train.seed=0", "seed=0, train.seed=1", "seed=1, train.seed=0", "seed=1, train.seed=1"],
        ),
        ([cell(ignored=n, method__ignore_end=n, sampling__temperature=1.0) for n in (0, 2)], ["", ""]),
        ([cell(series=s, sampling__temperature=t) for s, t in (("bf", 0.0), ("votes", 1.0))], ["", ""]),
        ([cell(method__length=w) for w in ("short", "long")], ["length=short", "length=long"]),
        ([cell(), cell(method__a=None), cell(method__a=True)], ["", "no a", "a"]),  # the first is an older version's
    ],
)
def test_labels_are_as_few_settings_as_will_do(records, labels):
    assert cell_labels(records) == labels


@pytest.mark.parametrize(
    ("run", "series", "title"),
    [
        (partial(budget_forcing, string=None), "budget_forcing(string=null)", "budget_forcing(no Wait)"),
        (partial(budget_forcing, string="Hmm"), "budget_forcing(Hmm)", "budget_forcing(Hmm)"),
        (partial(budget_forcing, max_thinking_tokens=None), "budget_forcing", "budget_forcing"),
        (partial(none, thinking=False), "none(thinking=false)", "none(no thinking)"),
        (
            partial(majority_voting, n=4, inner=partial(none, thinking=False)),
            "majority_voting(none(thinking=false))",
            "majority_voting(none(no thinking))",
        ),
    ],
)
def test_a_series_has_a_name_and_a_title_in_words(run, series, title):
    found = facts(run)
    assert (found.series, found.title) == (series, title)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (partial(budget_forcing), {"max_thinking_tokens": "no budget", "string": "Wait"}),
        (
            partial(budget_forcing, max_thinking_tokens=64, string=None),
            {"max_thinking_tokens": "budget 64", "string": "no Wait"},
        ),
        (partial(class_conditional, length="short", inner=partial(none)), {"length": "short"}),
        (
            partial(early_exit, every=32, agree=2, max_thinking_tokens=None),
            {"every": "every 32", "agree": "2 agree", "max_thinking_tokens": "no budget"},
        ),
        (
            partial(majority_voting, n=4, inner=partial(budget_forcing)),
            {"n": "4 votes", "inner.max_thinking_tokens": "no budget", "inner.string": "Wait"},
        ),
    ],
)
def test_settings_have_the_words_that_their_method_declares(run, words):
    assert facts(run).words == words


def said(record, title, **words):
    named = {f"method.{key}": text for key, text in words.items()}
    return record | {"declared": record["declared"] | {"title": title, "words": named}}


def test_labels_and_series_speak_the_methods_words():
    records = [
        said(cell(series="f(string=null)", method__string=None), "f(no Wait)", string="no Wait"),
        said(cell(series="f", method__string="Hmm"), "f", string="Hmm"),
        said(cell(series="f", method__string="Wait"), "f", string="Wait"),
    ]
    assert cell_labels(records) == ["no Wait", "Hmm", "Wait"]
    assert list(series_names(records).values()) == ["f (no Wait)", "f"]
    assert {named_series(records, name) for name in ("f(string=null)", "f(no Wait)", "f (no Wait)")} == {"f (no Wait)"}
    assert named_series(records, "g") is None


def test_series_that_are_the_same_in_words_keep_their_own_names():
    own = ["budget_forcing(alpha)", "budget forcing (alpha)"]
    records = [cell("m", name, budget) | {"cell_id": f"{name}{budget}"} for name in own for budget in (8, 16)]
    names = [f"{name} (m)" for name in own]
    assert list(dict.fromkeys(series_names(records).values())) == names
    assert [named_series(records, name) for name in names] == names


def test_a_comparison_says_of_which_cells():
    models = [cell(m, "bf", b) | {"cell_id": f"{m}{b}"} for m in "ab" for b in (8, 16)]
    named = comparison_namer([*models, cell("a", "vote") | {"cell_id": "vote"}])
    assert [named({"kind": "ends", "a": f"{m}8", "b": f"{m}16"}) for m in "ab"] == [
        "bf: budget 16 against 8", "b: budget 16 against 8",
    ]  # fmt: skip
    assert named({"kind": "reference", "a": "b16", "b": "vote"}) == "vote against b, budget 16"


def test_models_of_one_series_are_all_named_where_none_of_them_is_the_main_one():
    one, other = cell("a"), cell("b")
    assert list(series_names([one, other]).values()) == ["a", "b"]
    assert list(series_names([one, other, cell("a", budget=3)]).values()) == ["bf", "b"]
    assert list(series_names([one, cell("b", "none")]).values()) == ["bf", "b"]


def test_points_say_what_tells_them_from_the_others_of_their_series():
    forced = [cell(budget=b) | {"forced_end_rate": 1.0, "cell_id": str(b)} for b in (8, 1024)]
    free = [cell() | {"forced_end_rate": 0.1, "cell_id": "free"}, cell(ignored=2) | {"cell_id": "2"}]
    assert point_labels([*forced, *free]) == {"8": "8", "1024": "1,024", "free": "natural end", "2": "2x"}
    assert point_labels([free[0]]) == {"free": ""}
    cut = free[0] | {"forced_end_rate": 0.9}
    assert point_labels([*forced, cut])["free"] == "no budget"
    pools = [cell(series="v", method__n=n) | {"cell_id": str(n)} for n in (4, 16)]
    assert point_labels(pools) == {"4": "n=4", "16": "n=16"}
