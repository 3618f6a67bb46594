"""The laptop experiments still write what was recorded of them; and the comparison would tell if they did not."""

import copy
import json
import shutil
from importlib.util import find_spec

import pytest

from .recording import HERE, RUNS, STORE, Comparison, Difference, Expected, read, record, replay, write

SIX = [name for name in RUNS if name != "few_questions"]


@pytest.fixture
def before():
    return read(HERE / "few_questions.json.gz")


@pytest.mark.long
def test_few_questions_generated_anew(tmp_path):
    comparison, decoded = replay("few_questions", tmp_path / "out", tmp_path / "store")
    comparison.show()
    assert not comparison.differences
    assert decoded == 5954  # what b211357 decoded
    assert (comparison.cells, comparison.traces) == (12, 96)


@pytest.mark.long
def test_few_questions_from_the_recorded_store(tmp_path):
    shutil.copytree(STORE, tmp_path / "store")
    comparison, decoded = replay("few_questions", tmp_path / "out", tmp_path / "store")
    comparison.show()
    assert not comparison.differences
    assert decoded == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SIX)
def test_whole_experiments_generated_anew(name, tmp_path):
    if name == "step_conditional" and find_spec("trl") is None:
        pytest.skip("step_conditional trains its model first, and trl is not installed: pip install -e '.[train]'")
    comparison, _ = replay(name, tmp_path / "out", tmp_path / "store")
    comparison.show()
    assert not comparison.differences


def test_a_recording_of_every_experiment():
    for name in SIX:
        cells = read(HERE / f"{name}.json.gz")["cells"]
        assert len(cells) > 1
        assert all(c["traces"] and c["cell"]["accuracy"] is not None for c in cells.values())


LINE = {
    "doc_id": 4, "repeat": 1, "doc": {"answer": "9"}, "score": 1.0, "end": "forced", "no_answer": False, "thinking_tokens": 3,
    "info": {"tries": 2}, "reads": {"ab": 3},
    "segments": [
        {"kind": "delimiter", "ids": [1, 399], "text": "<"},
        {"kind": "thinking", "ids": [7, 8], "text": "."},
        {"kind": "injected", "ids": [5], "text": "Wait"},
        {"kind": "thinking", "ids": [9], "text": "."},
    ],
}  # fmt: skip
CELL = {
    "cell_id": "x-1", "job": 0, "overrides": ["a=1"], "model": "m", "accuracy": 0.5, "thinking_tokens": {"mean": 3.0, "max": 4},
    "limit_tokens": [0, None], "info": {"tries": 2.0},
}  # fmt: skip


def sweep(directory, cell=CELL, line=LINE, run=None):
    """A sweep directory of one job with one line."""
    (directory / "0").mkdir(parents=True)
    (directory / "0" / "cell.json").write_text(json.dumps(cell))
    (directory / "0" / "samples_t.jsonl").write_text(json.dumps(line) + "\n")
    (directory / "run.json").write_text(json.dumps({"git": {"commit": "c"}, "versions": {}}))
    return directory


def changed(value, *path, to):
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return value


SAME = [
    ("cell", changed(CELL, "cell_id", to="y-2")),
    ("cell", changed(CELL, "overrides", to=[])),
    ("cell", CELL | {"settings": {"method.n": 3}}),
    ("cell", changed(CELL, "accuracy", to=0.5 + 1e-16)),
    ("line", LINE | {"declared": 5}),
    ("line", changed(LINE, "reads", to={"cd": 4})),
    ("line", changed(LINE, "doc", "answer", to="10")),
]
DIFFERENT = [
    ("cell", changed(CELL, "accuracy", to=0.5000001), ["accuracy"]),
    ("cell", changed(CELL, "thinking_tokens", "max", to=5), ["thinking_tokens.max"]),
    ("cell", changed(CELL, "limit_tokens", to=[None, None]), ["limit_tokens.0"]),
    ("cell", changed(CELL, "model", to="n"), ["model"]),
    ("cell", changed(CELL, "info", to={}), ["info.tries"]),
    ("line", changed(LINE, "segments", 1, "ids", 0, to=6), ["ids of thinking"]),
    ("line", changed(LINE, "segments", 2, "ids", 0, to=6), ["ids of injected"]),
    ("line", changed(LINE, "segments", 3, "ids", to=[9, 9]), ["shape of the segments", "ids of thinking"]),
    ("line", changed(LINE, "segments", 3, "kind", to="answer"), ["shape of the segments", "ids of thinking", "ids of answer"]),
    ("line", changed(LINE, "score", to=0.0), ["score"]),
    ("line", changed(LINE, "end", to="natural"), ["end"]),
    ("line", changed(LINE, "info", "tries", to=3), ["info.tries"]),
    ("line", changed(LINE, "repeat", to=0), ["question 4/0", "question 4/1"]),
    ("line", LINE | {"samples": [LINE]}, ["question 4/1/0"]),
    ("cell", changed(CELL, "job", to=1), ["job 0", "job 1"]),
]  # fmt: skip


@pytest.mark.parametrize("part, value", SAME)
def test_what_is_no_result_is_not_compared(tmp_path, part, value):
    before, after = record(sweep(tmp_path / "before")), record(sweep(tmp_path / "after", **{part: value}))
    assert not Comparison("x", before, after, []).differences


@pytest.mark.parametrize("part, value, what", DIFFERENT)
def test_every_other_change_is_noticed(tmp_path, part, value, what):
    before, after = record(sweep(tmp_path / "before")), record(sweep(tmp_path / "after", **{part: value}))
    assert [d.what for d in Comparison("x", before, after, []).differences] == what


def test_a_changed_id_in_a_pool_is_said_in_words(tmp_path, capsys):
    pool = LINE | {"samples": [LINE, changed(LINE, "segments", 1, "ids", to=[7])]}
    before = record(sweep(tmp_path / "before", line=pool))
    after = record(sweep(tmp_path / "after", line=changed(pool, "samples", 1, "segments", 1, "ids", to=[7, 7])))
    Comparison("x", before, after, []).show()
    assert "job 0, question 4/1/1: shape of the segments was d2 t1 i1 t1, now d2 t2 i1 t1" in capsys.readouterr().out


def test_a_changed_number_of_the_recorded_run_is_noticed(before):
    after = copy.deepcopy(before)
    after["cells"]["3"]["cell"]["accuracy"] += 1 / 8
    del after["cells"]["5"]["traces"]["7/0"]
    found = Comparison("few_questions", before, after).differences
    old, new = (r["cells"]["3"]["cell"]["accuracy"] for r in (before, after))
    assert found == [Difference("job 3", "accuracy", old, new), Difference("job 5", "question 7/0", "there", "absent")]


def test_an_expected_change_is_named_and_counted(tmp_path, capsys):
    before = record(sweep(tmp_path / "before"))
    after = record(sweep(tmp_path / "after", cell=changed(CELL, "info", "tries", to=9.0), line=changed(LINE, "score", to=0.0)))
    expected = [Expected("x", "info.*", "tries are counted from one"), Expected("y", "score", "of another experiment")]
    comparison = Comparison("x", before, after, expected)
    assert [d.what for d in comparison.differences] == ["score"]
    comparison.show()
    said = capsys.readouterr().out
    assert "expected, 1 times: info.* (tries are counted from one)" in said and "another" not in said


def test_a_recording_is_the_same_file_again(tmp_path, before):
    for name in ("a", "b"):
        write(before, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read(tmp_path / "a") == before


def test_a_directory_without_cells_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no cell.json"):
        record(tmp_path)
