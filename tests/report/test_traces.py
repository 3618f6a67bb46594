"""What the page gets of a line: the pool and its vote in a sentence, the tree of a search. Numbers by hand."""

import math

import pytest

from s1x.report.traces import shown, size

from .sweep import sample, search


def pool(answers, rewards=None, **line):
    members = [sample(0, 16, 0) | {"extracted": a, "score": float(a == "7"), "info": {}} for a in answers]
    for member, reward in zip(members, rewards or [], strict=bool(rewards)):
        member["info"] = {"reward": reward}
    return shown(sample(0, 16, 0) | {"samples": members} | line)["pool"]


@pytest.mark.parametrize(
    ("rule", "answers", "rewards", "classes", "answer", "why", "counted"),
    [
        ("majority", "7 8 7".split(), None, [0, 1, 0], "7", "7 counts: 2 of 3 samples say it.", [0, 2]),
        ("majority", ["1/2", "8", "0.5"], None, [0, 1, 0], "1/2", "1/2 counts: 2 of 3 samples say it.", [0, 2]),
        (
            "majority", "7 8 9 8 7".split(), None, [0, 1, 2, 1, 0], "7",
            "7 counts: 2 of 5 samples say it, as often as 1 other, so that each counts 1/2.", [0, 4],
        ),
        (
            "majority", "7 8 9".split(), None, [0, 1, 2], "7",
            "7 counts: 1 of 3 samples say it, as often as 2 others, so that each counts 1/3.", [0],
        ),
        (
            "weighted", "8 7 7".split(), [0.5, 0.25, 0.375], [0, 1, 1], "7",
            "7 counts: the rewards of the samples that say it add up to 0.625 of 1.125.", [1, 2],
        ),
        (
            "best", "8 7 7".split(), [0.5, 0.25, 0.75], [0, 1, 1], "7",
            "7 counts: of 3, number 3 has the highest reward, 0.750.", [2],
        ),
        ("best", "8 7".split(), [0.5, 0.5], [0, 1], "8", "8 counts: of 2, number 1 has the highest reward, 0.500.", [0]),
        (None, "8 7 7".split(), None, None, "7", "7 counts.", [1, 2]),  # a line of an older version
        ("best", [None, None], [0.5, 0.25], [None, None], None, "No sample has an answer.", []),
        ("majority", ["a\u202eb", "8"], None, [0, 0], "a\u202eb", "a\\\\u202eb counts: 2 of 2 samples say it.", [0, 1]),
    ],
)  # fmt: skip
def test_why_an_answer_counts(rule, answers, rewards, classes, answer, why, counted):
    line = {"extracted": answer} | ({"vote": rule} if rule else {}) | ({"classes": classes} if classes else {})
    found = pool(answers, rewards, **line)
    assert (found["why"], found["counted"], found["nodes"]) == (why.replace("\\\\", "\\"), counted, None)


def test_weights_of_a_method_are_told():
    found = pool("8 7 7".split(), vote="weights", weights=[1.5, 1.0, 0.75], classes=[0, 1, 1], extracted="7")
    assert found["why"] == "7 counts: the weights of the samples that say it add up to 1.75 of 3.25."
    assert found["counted"] == [1, 2] and [m[3] for m in found["members"]] == [1.5, 1.0, 0.75]


def test_of_a_large_pool_every_sample_is_told_and_the_text_of_some():
    found = pool(["8"] * 20 + ["7"], [0.1] * 20 + [0.9], vote="best", extracted="7", classes=[0] * 20 + [1])
    assert [m[0] for m in found["members"]] == ["8"] * 20 + ["7"] and found["counted"] == [20]
    assert [at for at, m in enumerate(found["members"]) if m[6] is not None] == [*range(8), 20]


def test_a_search_is_a_tree_with_its_dropped_steps():
    """Two steps of width 2: the first child was kept; both of its children are leaves."""
    line = search(
        0, [([0], 0.75, "a\n"), ([1], 0.25, "b\n"), ([0, 0], 0.5, "c"), ([0, 1], 0.875, "d")], leaves=[[0, 0], [0, 1]]
    )
    found = shown(line)["pool"]
    assert found["nodes"] == [
        [-1, 0.75, 0.75, 2, "a\n"],
        [0, 0.5, 0.5, 1, "c"],
        [0, 0.875, 0.875, 1, "d"],
        [-1, 0.25, 0.25, 2, "b\n"],
    ]
    assert [m[5] for m in found["members"]] == [1, 2] and found["counted"] == [1]
    assert [[s[0] for s in m[6]] for m in found["members"]] == [[2, 3], [2, 3]]  # their thinking stands in the nodes


def test_several_trees_hang_on_one_root():
    found = shown(search(0, [([0, 1], 0.5, "a"), ([1, 0], 0.25, "b")], leaves=[[0, 1], [1, 0]]))["pool"]
    assert [node[0] for node in found["nodes"]] == [-1, 0, -1, 2] and [node[1] for node in found["nodes"]] == [
        None,
        0.5,
        None,
        0.25,
    ]


@pytest.mark.parametrize(
    "info",
    [
        {"nodes": [{"path": [0], "value": 1, "worth": 1, "tokens": 1, "text": "a"}]},  # a leaf has no place
        {"nodes": [{"path": [0]}]}, {"nodes": 5}, {"nodes": [None]}, {}, None,
    ],
)  # fmt: skip
def test_without_a_whole_tree_it_is_a_pool(info):
    line = search(0, [([0], 0.5, "a")], leaves=[[0], [3]]) | {"info": info}
    found = shown(line)["pool"]
    assert found["nodes"] is None and all(m[5] is None and m[6] for m in found["members"])


def test_a_leaf_at_the_root_and_numbers_that_json_has_not():
    found = shown(search(0, [], leaves=[[]]))["pool"]
    assert found["nodes"] == [] and found["members"][0][5] == -1
    line = search(0, [([0], math.nan, "a")], leaves=[[0]])
    assert shown(line)["pool"]["nodes"] == [[-1, None, None, 1, "a"]]


def test_without_text_a_line_is_small_and_says_how_it_came_out():
    line = search(0, [([0], 0.5, "a" * 10_000)], leaves=[[0]])
    whole, short = shown(line), shown(line, text=False)
    assert size(whole) > 10_000 and size(short) == 100
    assert (short["segments"], short["pool"]) == (None, None) and short["score"] == whole["score"]
