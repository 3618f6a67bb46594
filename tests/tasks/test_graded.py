"""Grades of real outputs against published ones, and real answer keys against themselves. (The data are kept elsewhere.)"""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from s1x.tasks import answers
from s1x.tasks.equivalence import Rules

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REASONS = {  # why our grade and the published one differ
    "ours right": "the text states an answer, and it is (or is not) the target",
    "theirs right": "none is left",
    "no stated answer": "the text ends without a box and without saying what the answer is",
}


def lines(name: str) -> list[dict]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def rules():
    rules = Rules()
    yield rules
    rules.close()


def verdicts(rules, pairs):
    for pair in pairs:
        rules.submit(*pair)
    return [rules.verdict(*pair) for pair in pairs]


@pytest.mark.long
def test_every_disagreement_with_published_grades_is_known_and_explained(rules):
    outputs = lines("graded/outputs.jsonl.gz")
    read = [answers.math(row["response"]) for row in outputs]
    stated = iter(verdicts(rules, [(a, row["target"]) for a, row in zip(read, outputs) if a is not None]))
    ours = ["none" if a is None else next(stated) for a in read]
    assert "ungraded" not in ours
    differ = [i for i, row in enumerate(outputs) if (ours[i] == "same") != row["published"]]
    known = [json.loads(line) for line in Path(__file__).with_name("disagreements.jsonl").read_text("utf-8").splitlines()]
    assert [row["row"] for row in known] == differ
    for row in known:
        output = outputs[row["row"]]
        assert [row[key] for key in ("set", "model", "id")] == [output[key] for key in ("set", "model", "id")]
        assert row["ours"] == (ours[row["row"]] == "same") and row["reason"]
        assert (row["right"] == "no stated answer") == (ours[row["row"]] == "none")
    assert Counter(row["right"] for row in known) == {"no stated answer": 46, "ours right": 18}


WRITTEN = ["{}", "${}$", r"\({}\)", r"\[{}\]", "$${}$$"]
STATED = [r"\boxed{{{}}}", r"So \(\boxed{{{}}}\).", "Final Answer: {}", "Final Answer: ${}$.", "The final answer is {}."]


@pytest.mark.parametrize("name", ["math500", "aime24", "aime25", "gsm8k_test"])
def test_targets_equal_themselves_however_they_are_written(rules, name):
    targets = [str(row["answer"]).rpartition("#### ")[2] for row in lines(f"benchmarks/{name}.jsonl")]
    pairs = [(form.format(target), target) for target in targets for form in WRITTEN]
    for form in STATED:
        pairs += [(answers.math(form.format(target)) or "", target) for target in targets]
    found = verdicts(rules, pairs)
    assert [pair for pair, verdict in zip(pairs, found) if verdict != "same"] == []
    if name != "math500":
        assert [answers.integer(form.format(t)) for t in targets for form in STATED] == [
            answers.integer(t) for t in targets for _ in STATED
        ]


def test_targets_differ_from_their_neighbours(rules):
    targets = [row["answer"] for row in lines("benchmarks/math500.jsonl")]
    pairs = list(zip(targets, targets[1:] + targets[:1]))
    same = [(a, b) for (a, b), verdict in zip(pairs, verdicts(rules, pairs)) if verdict == "same" and a != b]
    assert same == [("5", "x=5")]
