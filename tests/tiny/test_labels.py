"""Labels by the tiny world's arithmetic: hand-made traces with slips, wrong operands and repairs."""

import random

import pytest

from s1x.tiny import notes, problems
from s1x.tiny.labels import STATES_NOTHING, kind, labels, slipped
from s1x.tiny.problems import Problem, Step

# 751 * 9 = 6759 -> 759; 759 + 250 = 1009 -> 009; 009 * 48 = 432
CHAIN = Problem("chain", 751, (Step("*", 9), Step("+", 250), Step("*", 48)))


def said(text, problem=CHAIN):
    return labels(problem, text.split("\n"))


def test_a_trace_without_a_slip_is_right_throughout():
    assert said("1:751*9=759\n2:759+250=009\n3:009*48=432\nSo 432.") == [True] * 4


def test_after_a_slip_everything_that_follows_from_it_is_wrong():
    """759 is the truth; 749 + 250 = 999 and 999 * 48 = 952 modulo 1000 are right operations on wrong values."""
    assert said("1:751*9=749\n2:749+250=999\n3:999*48=952\nSo 952.") == [False] * 4


def test_a_check_repairs_what_follows():
    trace = (
        "1:751*9=749\n2:749+250=999\n3:999*48=952\nSo 952.\n"
        "Wait, check 1:751*9 1*9=09 5*9+0=45 7*9+4=67 759.\n2:759+250=009\n3:009*48=442\nSo 442.\n"
        "Wait, check 3:009*48 9*8=72 0*8+7=07 0*8+0=00 072 9*4=36 0*4+3=03 36 7+6=13 0+3+1=04 432.\nSo 432."
    )
    assert said(trace) == [False] * 4 + [True, True, False, False, True, True]


def test_two_slips_that_cancel_make_the_later_lines_right():
    """The second line says a wrong value of a wrong input, which happens to be the true one."""
    assert said("1:751*9=758\n2:758+250=009\n3:009*48=432\nSo 432.") == [False, False, True, True]


@pytest.mark.parametrize(
    "line",
    [
        "2:759+251=009",  # operand
        "2:759-250=009",  # operator
        "2:758+250=008",  # input
        "1:759+250=009",  # the number of another step
        "4:432+250=682",  # a step that there is not
        "0:751*9=759",
        "2:759+250=09",  # no result of three digits
        "2:759+250",  # cut
        "So 43.",
        "So 432",
        "Wait, check 2:759+250 9+0=09 5+5+0=10 7+2+1=10 008.",
        "Wait, check 2:749+250 9+0=09 4+5+0=09 7+2+0=09 999.",  # right arithmetic of a wrong input
        "Final Answer: 432",
    ],
)
def test_a_line_is_wrong_where_any_part_of_it_is(line):
    assert said(line) == [False]


@pytest.mark.parametrize("word", ["Wait", "Hmm"])
def test_checks_are_labelled_by_either_word(word):
    assert said(f"{word}, check 2:759+250 9+0=09 5+5+0=10 7+2+1=10 009.") == [True]


def test_what_states_nothing_has_no_label():
    assert said("\n".join([*STATES_NOTHING, "So 432."])) == [None, None, True]


def test_a_step_is_known_by_its_number_where_all_steps_are_alike():
    power = Problem("power", 505, (Step("*", 57),) * 2)  # 505 * 57 = 28785; 785 * 57 = 44745
    assert said("1:505*57=785\n2:785*57=745\nSo 745.", power) == [True] * 3
    assert said("2:505*57=785\n1:785*57=745", power) == [False, False]


def test_results_below_one_hundred_keep_their_zeros():
    p = Problem("alt", 300, (Step("-", 295), Step("-", 105)))  # 5, then -100 -> 900
    assert said("1:300-295=005\n2:005-105=900\nSo 900.", p) == [True] * 3
    assert said("1:300-295=5\nSo 900.", p) == [False, True]


def test_every_trace_of_the_world_without_slips_is_right_and_each_slip_is_noticed():
    rng = random.Random(5)
    for _ in range(200):
        problem = problems.sample(rng, rng.randint(1, 8))
        lines = notes.trace(rng, problem, slips=None, checks=rng.randint(0, 9)).text.strip().split("\n")
        for line, right in zip(lines, labels(problem, lines), strict=True):
            assert right is (None if line in STATES_NOTHING else True), line
            if right:
                wrong = slipped(rng, line)
                assert labels(problem, [wrong]) == [False] and kind(wrong) == kind(line) and len(wrong) == len(line)


def test_kinds_of_lines():
    lines = ["1:751*9=759", "2:759+250=009", "3:009*48=432", "1:751-100=651", "So 432.", "Wait, all steps checked.", "x"]
    assert [kind(line) for line in lines] == ["*", "+", "**", "-", "so", None, None]
    assert kind("Wait, check 1:751*9 1*9=09 5*9+0=45 7*9+4=67 759.") == "check"
