"""What is said of a scorer: areas under curves, calibration and slip pairs, by hand."""

import math
import random

import pytest

from s1x.tiny import benchmarks, notes, sampled
from s1x.tiny.labels import labels
from s1x.tiny.measured import auc, calibration_error, slip_pairs


@pytest.mark.parametrize(
    "scores, right, expected",
    [
        ([0.9, 0.8, 0.1], [True, True, False], 1.0),
        ([0.1, 0.8, 0.9], [True, True, False], 0.0),
        ([0.5, 0.5], [True, False], 0.5),
        ([0.9, 0.4, 0.4, 0.1], [True, False, True, False], 3.5 / 4),  # of four pairs three are in order, one is a tie
    ],
)
def test_auc_is_the_share_of_pairs_in_order(scores, right, expected):
    assert auc(scores, right) == pytest.approx(expected)


def test_auc_needs_both_kinds():
    assert math.isnan(auc([0.1, 0.2], [True, True])) and math.isnan(auc([0.1], [False]))


def test_calibration_error_weighs_bins_by_their_size():
    # [.9, .9, .9, .9] three of four right: |3.6 - 3| = .6; [.1] wrong: .1; over five scores
    assert calibration_error([0.9, 0.9, 0.9, 0.9, 0.1], [True, True, True, False, False]) == pytest.approx(0.7 / 5)
    assert calibration_error([1.0, 0.0], [True, False]) == 0


def test_a_slip_pair_differs_in_the_result_of_its_last_line_alone():
    rng, traces = random.Random(3), []
    for problem in benchmarks.load("design")[:40]:
        traces.append((problem, notes.trace(rng, problem).text.strip().split("\n")))
    pairs = slip_pairs(traces, each=5)
    assert {what for what, *_ in pairs} == {"+", "-", "*", "**", "check", "so"} and len(pairs) == 30
    for _, problem, right, wrong in pairs:
        assert right[:-1] == wrong[:-1] and len(right[-1]) == len(wrong[-1])
        assert labels(problem, right)[-1] is True and labels(problem, wrong)[-1] is False


def test_drawn_problems_are_no_benchmark_s_and_depend_on_the_seed():
    held_out = benchmarks.held_out()
    first, again, other = sampled.drawn(0, 64, held_out), sampled.drawn(0, 64, held_out), sampled.drawn(1, 64, held_out)
    assert first == again != other and not {p.key for p in first} & held_out
    assert [len(p.steps) for p in first[:8]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not {p.key for p in sampled.drawn(0, 64, held_out | {first[5].key})} & {first[5].key}
