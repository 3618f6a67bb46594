"""The whole stage: tiny sets, caching by content, cards, difficulty by attempts through an engine."""

import json
import os
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from experiments.data_pipeline import pool as maker
from s1x.data import build as building
from s1x.data import records, steps
from s1x.data.attempts import grade
from s1x.data.build import build
from s1x.errors import SettingError
from s1x.tiny import pool, problems
from s1x.tiny import tokenizer as tiny_tokenizer


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A tiny pool of its own (another seed) whose labels say that one and two steps are easy."""
    file = tmp_path_factory.mktemp("pool") / "pool.parquet"
    rows = [{**r, "base_correct": r["steps"] < 3} for r in maker.build(seed=5, n=600)]
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


@pytest.fixture
def tiny(composed, labelled, tmp_path):
    def make(name, *more):
        return composed(
            f"data={name}",
            "~data.sources.tiny.rows",
            f"+data.sources.tiny.path={labelled}",
            f"store.dir={tmp_path}",
            *(["data.select.n=120"] if name != "tiny_full" else []),
            *more,
        )

    return make


def steps_of(built):
    return {row.step: row for row in built.rows}


def test_the_tiny_s1k_is_what_its_funnel_says(tiny, labelled):
    built = build(tiny("tiny_s1k"))
    rows = built.dataset().to_list()
    assert len(rows) == 120 and built.name == "tiny_s1k"
    everything = {r["id"]: r for r in pq.read_table(labelled).to_pylist()}
    for row in rows:
        source = everything[row["id"]]
        assert row["steps"] >= 3 and row["solved_by_tiny_base"] is False
        assert (
            row["answer"] == f"Final Answer: {row['solution']}"
            and not pool.damaged(pa.table({"thinking": [row["thinking"]]}))[0]
        )
        assert row["length"] == len(row["thinking"]) and row["slips"] == source["slips"]
    funnel = steps_of(built)
    assert list(funnel) == ["pool", "decontaminate", "duplicates", "quality", "difficulty", "domains", "length", "select"]
    assert set(funnel["quality"].dropped) == {"damaged", "wrong_answer", "missing"} - (
        {"missing"} - set(funnel["quality"].dropped)
    )
    assert set(funnel["difficulty"].dropped) == {"solved by tiny_base"}
    for before, after in zip(built.rows, built.rows[1:]):
        assert before.after == after.before == after.after + sum(after.dropped.values())
    assert {row["domain"] for row in rows} == set(problems.DOMAINS)
    assert [r["id"] for r in rows] == [r["id"] for r in maker.select_s1k(list(everything.values()), n=120)]


@pytest.mark.parametrize("name", ["tiny_full", "tiny_random_1k", "tiny_diverse_1k", "tiny_longest_1k"])
def test_the_other_tiny_sets(name, tiny):
    built = build(tiny(name))
    table = built.table
    assert len(table) == (120 if name != "tiny_full" else steps_of(built)["duplicates"].after)
    if name == "tiny_longest_1k":
        rest = build(tiny("tiny_full")).table
        chosen = set(table["id"].to_pylist())
        others = [len(r["thinking"]) for r in rest.to_pylist() if r["id"] not in chosen]
        assert min(table["length"].to_pylist()) >= max(others)
    if name == "tiny_diverse_1k":
        assert max(map(table["domain"].to_pylist().count, problems.DOMAINS)) < 30


def test_the_same_settings_give_the_same_bytes_and_another_seed_another_set(tiny, tmp_path):
    one = build(tiny("tiny_s1k", f"data.dir={tmp_path}/a"))
    two = build(tiny("tiny_s1k", f"data.dir={tmp_path}/b"))
    assert one.key == two.key
    for file in ("train.parquet", "README.md", "funnel.json"):
        assert (one.path / file).read_bytes() == (two.path / file).read_bytes()
    other = build(tiny("tiny_s1k", "data.select.seed=1"))
    assert other.key != one.key and other.path.name != one.path.name
    assert set(other.table["id"].to_pylist()) != set(one.table["id"].to_pylist())


def test_steps_are_cached_by_content(tiny, tmp_path, monkeypatch):
    first = build(tiny("tiny_s1k"))
    cached = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "data" / "steps").iterdir()}
    assert len(cached) == 7

    def refuse(*args, **kwargs):
        raise AssertionError("this step was cached")

    for name in ("decontaminate", "duplicates", "quality", "difficulty", "domains", "length"):
        monkeypatch.setattr(steps, name, refuse)
    again = build(tiny("tiny_s1k"))
    assert again.key == first.key and again.table.equals(first.table)
    build(tiny("tiny_s1k", "data.select.n=100"))  # only the last step is new
    assert len(list((tmp_path / "data" / "steps").iterdir())) == 8
    assert all((tmp_path / "data" / "steps" / name).stat().st_mtime_ns == at for name, at in cached.items())
    with pytest.raises(AssertionError, match="was cached"):
        build(tiny("tiny_s1k", "data.quality.damaged=null"))


def test_a_killed_write_leaves_nothing_half(tiny, tmp_path, monkeypatch):
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(tiny("tiny_random_1k"))
    monkeypatch.setattr(os, "replace", real)
    assert len(build(tiny("tiny_random_1k")).table) == 120


def test_the_card_says_how_to_make_it(tiny):
    built = build(tiny("tiny_s1k"))
    text = (built.path / "README.md").read_text(encoding="utf-8")
    front, _, body = text.removeprefix("---\n").partition("\n---\n")
    assert OmegaConf.create(front).configs[0].data_files == "train.parquet"
    for words in (
        "120 records",
        "stage=data data=tiny_s1k",
        "| difficulty |",
        "solved by tiny_base",
        "| tiny_choice |",
        "halving: 0.125",
    ):
        assert words in body
    described = json.loads((built.path / "funnel.json").read_text(encoding="utf-8"))
    assert described["digest"] == records.digest(pq.read_table(built.path / "train.parquet")) == records.digest(built.table)


def test_too_few_records_is_a_sentence(tiny):
    with pytest.raises(SettingError, match=r"data.select.n=5000: only \d+ records are left"):
        build(tiny("tiny_s1k", "data.select.n=5000"))


def test_missing_labels_and_empty_difficulty_are_sentences(tiny, labelled):
    with pytest.raises(SettingError, match="data.difficulty.columns.tiny_base: the pool has no column 'nobody'"):
        build(tiny("tiny_s1k", "data.difficulty.columns.tiny_base=nobody"))
    with pytest.raises(SettingError, match="give columns with labels, or models"):
        build(tiny("tiny_s1k", "~data.difficulty.columns.tiny_base"))
    with pytest.raises(SettingError, match="data.domains: give either column"):
        build(tiny("tiny_s1k", "data.domains.column=null"))


def test_questions_of_the_configured_task_are_dropped_by_default(composed, tmp_path):
    from s1x.tiny.benchmarks import rows

    known, new = rows("tiny_math", "test")[3]["question"], "Start at 999, up 1, down 1, up 1, down 1. Where are you now?"
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"question": q, "thinking": "t", "answer": "a"}) + "\n" for q in (known, new)))
    built = build(composed("data=local", f"data.sources.local.path={path}", f"store.dir={tmp_path}", "task=tiny_math"))
    assert built.table["question"].to_pylist() == [new]
    assert steps_of(built)["decontaminate"].dropped == {"in tiny_math": 1}
    with pytest.raises(SettingError, match="data.decontaminate.tasks=no_such_task"):
        build(
            composed(
                "data=local",
                f"data.sources.local.path={path}",
                f"store.dir={tmp_path}",
                "data.decontaminate.tasks=[no_such_task]",
            )
        )


def test_rows_without_a_grade_are_dropped_and_counted():
    outcome = steps.difficulty(
        records.table([{"question": q} for q in "abcd"], "s"),
        solved={"small": [True, False, None, False], "large": [False, True, False, False]},
    )
    assert outcome.dropped == ["solved by small", "solved by large", "not graded", None]
    assert outcome.columns["solved_by_large"] == [False, True, False, False]


@pytest.mark.parametrize(
    ("text", "solution", "right"),
    [
        ("... Final Answer: 065", "065", True),
        ("... Final Answer: 65", "065", True),
        ("... Final Answer: 66", "065", False),
        ("so the answer is B.\nAnswer: B) 12", "B", True),
        ("Answer: C", "B", False),
        ("\\boxed{\\frac{1}{2}}", "We find $x = \\boxed{0.5}$.", True),
        ("\\boxed{\\frac{1}{3}}", "We find $x = \\boxed{0.5}$.", False),
        ("I do not know", "12", False),
        ("", "12", False),
        (None, "12", False),
        ("Answer: 12", None, None),
        ("Answer: (D)", "Because of this.\n\nAnswer: D", True),
        ("Answer: (B) toluene", "b", True),
        ("\\boxed{x}", "so \\boxed{x}", True),
        ("Answer: n - 1", "n", False),
    ],
)
def test_grades(text, solution, right):
    assert grade([text], [solution]) == [right]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a tokenizer, which is all that the scripted engine needs of a model."""
    folder = tmp_path_factory.mktemp("model")
    tiny_tokenizer.build(["Final Answer: 12 Start at"] * 30).save_pretrained(folder)
    return folder


def test_attempts_go_through_the_engine_and_the_store(model, tiny, tmp_path, monkeypatch):
    from s1x.data import probe

    engines = []
    real = probe.engine
    monkeypatch.setattr(probe, "engine", lambda *args: engines.append(real(*args)) or engines[-1])
    overrides = [
        "engine=scripted",
        f"+data.difficulty.models.scripted={{path: {model}}}",
        "data.difficulty.max_tokens=16",
        "~data.difficulty.columns.tiny_base",
        "data.select.n=100",
    ]
    built = build(tiny("tiny_s1k", *overrides))
    assert set(built.table["solved_by_scripted"].to_pylist()) == {False}  # a hash function solves nothing
    decoded = sum(e.counters.decoded for e in engines)
    assert decoded > 1000
    (step,) = [f for f in (tmp_path / "data" / "steps").iterdir() if "solved_by_scripted" in pq.read_schema(f).names]
    step.unlink()  # the step is made again: every token is in the store
    engines.clear()
    again = build(tiny("tiny_s1k", *overrides))
    assert again.key == built.key and sum(e.counters.decoded for e in engines) == 0


def test_the_stage_prints_and_leaves_the_funnel(command, labelled, tmp_path, capsys):
    began = time.monotonic()
    status, errors = command(
        "stage=data",
        "data=tiny_random_1k",
        "~data.sources.tiny.rows",
        f"+data.sources.tiny.path={labelled}",
        f"store.dir={tmp_path}/store",
        "data.select.n=50",
        f"hydra.run.dir={tmp_path}/job",
    )
    assert status == 0, errors
    assert time.monotonic() - began < 60
    described = json.loads((tmp_path / "job" / "funnel.json").read_text(encoding="utf-8"))
    assert described["records"] == 50 and described["steps"][-1]["dropped"].keys() == {"not chosen"}


def test_a_plan_builds_nothing(command, tmp_path):
    status, errors = command(
        "stage=data", "data=questions_59k", "plan=true", f"store.dir={tmp_path}/store", f"hydra.run.dir={tmp_path}/job"
    )
    assert status == 0, errors
    assert not (tmp_path / "store").exists()


def test_changed_filter_code_is_not_served_from_the_cache(tiny, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def bad(table):\n    return [False] * len(table)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    override = "+data.quality.mine={_target_: mine.bad, _partial_: true}"
    first = build(tiny("tiny_full", override))
    (tmp_path / "mine.py").write_text("def bad(table):\n    return [True] * len(table)\n")
    sys.modules.pop("mine")
    again = build(tiny("tiny_full", override))
    assert again.key != first.key and len(again.table) == 0 < len(first.table) and again.digest != first.digest


def test_the_code_is_part_of_the_key():
    files = {f.name for f in building.Path(building.__file__).parent.glob("*.py")}
    assert {"steps.py", "quality.py", "selection.py", "ngrams.py", "duplicates.py", "attempts.py", "classify.py"} <= files
