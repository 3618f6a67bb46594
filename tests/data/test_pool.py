"""The tiny pool and what ships of it."""

import json
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from experiments.data_pipeline import pool as maker
from s1x.data import records
from s1x.data.build import build
from s1x.tiny import benchmarks, pool
from s1x.tiny.problems import DOMAINS

DATA = Path(pool.__file__).parent / "data"


@pytest.fixture(scope="module")
def built():
    return maker.build(seed=3, n=1200)


def test_the_pool_is_the_same_every_time(built):
    assert built == maker.build(seed=3, n=1200)
    assert built[:50] != maker.build(seed=4, n=50)


def test_shares_of_choices_and_damage(built):
    choices = sum(r["source"] == "tiny_choice" for r in built) / len(built)
    broken = sum(re.compile(pool.FORMAT).fullmatch(r["thinking"]) is None for r in built) / len(built)
    assert 0.12 < choices < 0.18 and 0.07 < broken < 0.13  # two of three defects are visible in the form
    assert {r["domain"] for r in built} == set(DOMAINS) and {r["steps"] for r in built} == set(range(1, 9))


def test_answers_are_what_the_trace_concludes(built):
    agree = Counter()
    for r in built:
        said = r["answer"].removeprefix("Final Answer: ")
        if r["source"] == "tiny" and re.fullmatch(pool.FORMAT, r["thinking"]):
            agree[said == r["thinking"][-5:-2]] += 1
    assert agree[False] / agree.total() < 0.08  # the third defect: another answer than the trace's


def test_slips_are_wrong_results_inside_the_trace(built):
    for r in built:
        for start, end in r["slips"]:
            assert 0 <= start < end <= len(r["thinking"])
    whole = [r for r in built if re.fullmatch(pool.FORMAT, r["thinking"])]
    lines = 0
    for r in whole:
        for start, end in r["slips"]:
            line = r["thinking"][r["thinking"].rfind("\n", 0, start) + 1 : end]
            number, before, op, x, result = re.fullmatch(r"(\d):(\d{3})([-+*])(\d+)=(\d{3})", line).groups()
            right = {"+": int(before) + int(x), "-": int(before) - int(x), "*": int(before) * int(x)}[op] % 1000
            assert int(result) != right
            lines += 1
    assert lines > 500


def test_no_benchmark_problem_is_in_the_pool(built):
    questions = {row["question"] for row in pool.benchmark_rows()}
    assert len(pool.benchmark_rows()) == 2 * 3 * benchmarks.SIZE
    assert not questions & {r["question"] for r in built}


def test_the_shipped_pool_is_what_the_code_builds():
    shipped = pool.load()
    assert {type(r["base_correct"]) for r in shipped} == {bool}
    assert [{k: v for k, v in r.items() if k != "base_correct"} for r in shipped] == maker.build()


@pytest.mark.parametrize("name", ["tiny_s1k", "tiny_random_1k", "tiny_diverse_1k", "tiny_longest_1k", "tiny_full"])
def test_the_shipped_sets_are_rebuilt_byte_for_byte(name, composed, tmp_path):
    made = build(composed(f"data={name}", f"store.dir={tmp_path}"))
    shipped = json.loads((DATA / "subsets.json").read_text())[name]
    assert {"records": len(made.table), "digest": records.digest(made.table)} == shipped
    if name == "tiny_s1k":
        file = DATA / "tiny_s1k.parquet"
        assert records.digest(pq.read_table(file)) == shipped["digest"]
        if (
            pq.read_metadata(file).created_by == pq.read_metadata(made.path / "train.parquet").created_by
        ):  # one writer, one encoding
            assert (made.path / "train.parquet").read_bytes() == file.read_bytes()
        assert [r["id"] for r in pq.read_table(file).to_pylist()] == [r["id"] for r in maker.select_s1k(pool.load())]
