"""Samples of others as pools: maj@k of their answers, as of our own."""

from __future__ import annotations

import json

import pytest

from s1x.evaluation.votes import vote
from s1x.importing.cells import write
from s1x.importing.reading import read
from s1x.importing.settings import check_import
from s1x.report.load import load_cells
from s1x.report.pools import pools, variances

from .tables import OF, cells, jsonl, settings

TABLE = ("stage=import", "import.format=table", "import.files=a.jsonl", "hydra.run.dir=out", "import.votes=true")


def samples(answers: dict[int, list[str]], target: str = "5", **more):
    return [
        {
            "question": q,
            "sample": s,
            "answer": f"Answer: {answer}",
            "target": target,
            "correct": answer in ("5", "5.0"),
            **OF,
            **more,
        }
        for q, given in answers.items()
        for s, answer in enumerate(given)
    ]


@pytest.mark.long
def test_votes_of_the_majority(command, tmp_path):
    """Of question 1 two of three are right (once as 5.0), of question 2 one is, and the two others agree."""
    jsonl(tmp_path / "a.jsonl", samples({1: ["5", "5.0", "7"], 2: ["5", "9", "9"]}, thinking_tokens=10))
    assert command(*TABLE, "import.regrade=true") == (0, "")
    ((record, lines),) = cells(tmp_path / "out")
    assert (record["n_questions"], record["accuracy"], record["thinking_tokens"]["mean"]) == (2, 0.5, 30)
    assert [line["classes"] for line in lines] == [[0, 0, 1], [0, 1, 1]]
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())["pools"]
    assert [row["k"] for row in rows] == [1, 2, 3]
    assert [row["maj"]["value"] for row in rows] == pytest.approx(
        [0.5, 0.5, 0.5]
    )  # of question 1 2/3, 2/3, 1; of 2 1/3, 1/3, 0
    assert [row["pass"]["value"] for row in rows] == pytest.approx([0.5, (1 + 2 / 3) / 2, 1.0])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "maj@k" in page


@pytest.mark.long
def test_tokens_that_nobody_counted_are_not_known(command, tmp_path):
    jsonl(tmp_path / "a.jsonl", samples({1: ["5", "5", "7"], 2: ["9", "9", "9"]}))
    assert command(*TABLE) == (0, "")
    ((record, lines),) = cells(tmp_path / "out")
    assert record["accuracy"] == 0.5 and record["thinking_tokens"]["mean"] is None and record["path_tokens"] is None
    assert "shortest" not in lines[0]["votes"] and lines[0]["votes"]["maj"]["3"] == 1.0


def test_pools_of_several_sizes_have_the_votes_that_all_of_them_have(tmp_path):
    """Question 1 has 8 samples, 5 of them right, question 2 has 3, one right: k is 1 and 2, by hand."""
    given = {1: ["5"] * 5 + ["7", "8", "9"], 2: ["5", "9", "9"]}
    jsonl(tmp_path / "a.jsonl", samples(given, thinking_tokens=10))
    typed = settings(format="table", files=str(tmp_path / "a.jsonl"), votes=True)
    (record,) = write(read(typed), tmp_path / "out", typed, vote=vote)
    (note,) = record["source"]["notes"]
    assert "questions have 3 to 8 samples, so maj@k and pass@k are known up to k=2 (" in note
    rows = pools(load_cells(tmp_path / "out")[0], None)
    assert [row["k"] for row in rows] == [1, 2]
    assert [row["maj"]["value"] for row in rows] == pytest.approx([(5 / 8 + 1 / 3) / 2, (5 / 8 + 1 / 3) / 2])
    assert [row["pass"]["value"] for row in rows] == pytest.approx([(5 / 8 + 1 / 3) / 2, (25 / 28 + 2 / 3) / 2])
    assert rows[1]["gpass_all"]["value"] == pytest.approx((10 / 28 + 0) / 2)
    assert all(row[whole] is None for row in rows for whole in ("shortest", "bayes", "wrong_longer"))
    (split,) = variances(load_cells(tmp_path / "out")[0])
    assert split["within"] == pytest.approx((15 / 56 + 1 / 3) / 2)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"question": 1, "sample": 0, "correct": True, **OF}], "has no answer to vote with"),
        (samples({1: ["5", "5"], 2: ["5"]}), "question 2 has one sample"),
        (samples({1: ["5", "5"], 0: ["5"]}), "question 0 has one sample"),
        ([row | {"correct": 0.5} for row in samples({1: ["5", "5"]})], "a grade of 0.5 is neither right nor wrong"),
        (
            samples({7: ["5", "9"]}) + [row | {"correct": row["sample"] < 2} for row in samples({8: ["A"] * 4})],
            "1 of 2 questions have equal answers with different grades, first question 8 ('Answer: A' is right in",
        ),
        (
            [row | {"answer": text} for row, text in zip(samples({1: ["5", "9"]}), ("1/2", "0.5"), strict=True)],
            "('1/2' is right in a.jsonl: line 1, '0.5' wrong in a.jsonl: line 2), and one answer has one grade; grade",
        ),
    ],
)
def test_what_cannot_vote_is_a_sentence(command, tmp_path, rows, said):
    jsonl(tmp_path / "a.jsonl", rows)
    status, told = command(*TABLE)
    assert (status, told.count("\n")) == (2, 1) and said in told
    assert not (tmp_path / "out" / "0").exists()


def test_grades_that_contradict_one_another_do_not_matter_where_all_are_graded_here(tmp_path):
    jsonl(tmp_path / "a.jsonl", [row | {"correct": row["sample"] / 2} for row in samples({1: ["5", "5", "5"]})])
    check_import(settings(format="table", files=str(tmp_path / "a.jsonl"), votes=True, regrade=True))
