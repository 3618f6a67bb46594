"""plan=true: the smallest difference that a command's questions and samples can show."""

from __future__ import annotations

from pathlib import Path

import pytest

from s1x.cell import Cell
from s1x.evaluation import plan


def said_of(*configs) -> list[str]:
    return plan.precision([Cell(cfg, Path(), Path()) for cfg in configs])


PLAIN = "(80% power, alpha 0.05; scale.plan: two cells answer at least 20% of the questions differently): "


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), f"{PLAIN}7.0 points on tiny_math (320 questions x 1 sample)."),
        (("task.limit=20",), "points on tiny_math (20 questions x 1 sample)."),
        (("task.limit=5",), "none on tiny_math (5 questions x 1 sample)."),  # exact tests need six
        (("scale.plan.differ=0.05",), "5% of the questions differently): 3.5 points"),
        (("task.repeats=4",), "(320 questions x 1 sample)"),  # greedy samples are all the same
        (
            ("task.repeats=4", "sampling.temperature=1"),
            "differently, 50% of that variance is between questions): 5.5 points on tiny_math (320 questions x 4 samples)",
        ),
        (("~scale.plan.differ", "~scale.plan.between"), "7.0 points"),  # a scale of one's own that does not say
    ],
)
def test_what_the_questions_can_show(composed, overrides, said):
    (line,) = said_of(composed(*overrides))
    assert said in line


def test_each_number_of_questions_is_said_once(composed):
    aime, math = composed("scale=paper"), composed("scale=paper", "task=math500")
    (line,) = said_of(aime, math, aime)
    least, _, rest = line.partition("differently): ")[2].partition(" points on aime24 (30 questions x 1 sample); ")
    assert 23 < float(least) < 27  # of 30 questions seven or eight must be gained
    assert rest == "5.6 points on math500 (500 questions x 1 sample)."


def test_a_number_of_questions_that_is_not_known_says_nothing(composed):
    assert said_of(composed("task.questions=null")) == []
