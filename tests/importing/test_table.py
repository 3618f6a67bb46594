"""Plain tables: what they say becomes cells, and what they do not say is a sentence before anything is written."""

from __future__ import annotations

import gzip
import json
import re
import time
from pathlib import Path

import pytest

from s1x.cell import Cell
from s1x.errors import SettingError
from s1x.evaluation import naming
from s1x.importing.reading import read
from s1x.report.load import job_directories

from .tables import OF, cells, imported, jsonl, rows, settings, table

TABLE = ("stage=import", "import.format=table", "hydra.run.dir=out")


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz"])
def test_every_kind_of_file_says_the_same(tmp_path, name):
    write = jsonl if ".jsonl" in name else table
    write(tmp_path / name, rows(6, samples=2))
    ((record, lines),) = imported(tmp_path / "out", format="table", files=name)
    assert (record["model"], record["task"], record["n_questions"], record["samples_per_question"]) == ("m", "t", 6, 2)
    assert record["accuracy"] == 8 / 12 and record["thinking_tokens"]["mean"] == 25.5
    assert [line["doc_id"] for line in lines[:3]] == [0, 0, 1] and [line["repeat"] for line in lines[:3]] == [0, 1, 0]
    unknown = ("answer_tokens", "path_tokens", "forced_end_rate", "waits_mean", "no_answer_rate", "flops")
    assert [record[key] for key in unknown] == [{"mean": None}, None, None, None, None, None]
    assert record["source"]["format"] == "table" and record["source"]["files"][0]["file"] == name
    assert len(record["source"]["files"][0]["sha256"]) == 64


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "question;answer;correct\n1;a, b;1\n"),
        ("a.csv", 'question, answer, correct \n1, "a, b", 1\n'),
        ("a.CSV", 'question,answer,correct\n1,"a, b",1\n'),
        ("a.Tsv", "question\tanswer\tcorrect\r\n1\ta, b\t1\r\n"),
        ("a.JSONL", '{"question": 1, "answer": "a, b", "correct": 1}\n'),
    ],
)
def test_tables_as_other_programs_write_them(tmp_path, name, text):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text(text, newline="")
    for files in ("in", f"in/{name}"):
        ((record, (line,)),) = imported(tmp_path / "out", format="table", files=files, names="{model}", task="t")
        assert (record["model"], line["doc_id"], line["extracted"], line["score"]) == ("a", 1, "a, b", 1)


def test_file_names_and_columns_part_cells(command, tmp_path):
    for budget, shift in ((64, 0), (128, 1)):
        answers = [
            {"id": row["question"], "grade": "A" if row["correct"] else "C", "usage": {"reasoning": row["thinking_tokens"]},
             "effort": effort}
            for effort in ("low", "high") for row in rows(shift=shift)
        ]  # fmt: skip
        jsonl(tmp_path / f"big-model_sums_b{budget}.jsonl", answers)
    columns = "{question: id, correct: grade, thinking_tokens: usage.reasoning, setting: effort}"
    typed = (f"import.columns={columns}", "import.right=A", "import.no_answer=C")
    assert command(*TABLE, "import.files=*.jsonl", 'import.names="{model}_{task}_b{budget}"', *typed) == (0, "")
    found = [record for record, _ in cells(tmp_path / "out")]
    assert [(r["budget"], r["settings"]["effort"]) for r in found] == [(128, "low"), (128, "high"), (64, "low"), (64, "high")]
    assert {(r["model"], r["task"], r["series"]) for r in found} == {("big-model", "sums", "big-model")}
    assert all(r["limit_tokens"] == [None, r["budget"]] for r in found)
    assert all(r["no_answer_rate"] == pytest.approx(1 - r["accuracy"]) for r in found)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["metrics"][0]["control"]["value"] == 1.0 and summary["metrics"][0]["scaling"]["n_pairs"] == 0


def test_the_directories_above_may_say_it(tmp_path):
    for wait in (0, 2):
        jsonl(tmp_path / f"wait{wait}" / "some" / "x.jsonl", rows())
    found = imported(tmp_path / "out", format="table", files="**/x.jsonl", names="wait{wait}/{}/{}")
    found = [record for record, _ in found]
    assert [r["declared"]["ignored_ends"] for r in found] == [0, 2] and found[1]["waits_mean"] is None


def test_no_count_is_made_up(command, tmp_path):
    """Counts that some rows lack are not known of the cell; a cell without them has an accuracy and no place on the axis."""
    some = [row | {"thinking_tokens": None} if row["question"] == 3 else row for row in rows()]
    jsonl(tmp_path / "a.jsonl", some)
    jsonl(tmp_path / "b.jsonl", [row | {"model": "n"} for row in rows()])
    assert command(*TABLE, "import.files=[a.jsonl,b.jsonl]") == (0, "")
    (gap, _), (whole, _) = cells(tmp_path / "out")
    assert gap["thinking_tokens"] == dict.fromkeys(("mean", "median", "p95", "max"))
    assert whole["thinking_tokens"]["mean"] == 25
    assert gap["source"]["notes"] == ["a.jsonl: 1 of 6 rows have no thinking_tokens, so those of the cell are not known"]
    for row in json.loads((tmp_path / "out" / "summary.json").read_text())["metrics"]:
        assert row["scaling"]["value"] is None and row["control"]["value"] is None
        assert row["performance"]["value"] == pytest.approx(4 / 6, abs=1e-6)
    page = (tmp_path / "out" / "report.html").read_text()
    assert not re.search(r"[:,\[]NaN", page)


def test_without_a_grade_answers_are_graded_here(tmp_path):
    said = [
        ("\\boxed{1/2}", "0.5", 1),
        ("The answer is B.", "B", 1),
        ("12", "13", 0),
        ("thus\n\nnothing", "4", 0),
        ("7", "7.0", 1),
    ]
    jsonl(tmp_path / "a.jsonl", [{"question": f"q{n}", "answer": a, "target": t, **OF} for n, (a, t, _) in enumerate(said)])
    ((record, lines),) = imported(tmp_path / "out", format="table", files="a.jsonl")
    assert [line["score"] for line in lines] == [score for *_, score in said]
    assert record["graded_by"]["rules"] == 5 and record["no_answer_rate"] == 1 / 5
    jsonl(tmp_path / "b.jsonl", [{"question": n, "answer": "4", "target": "4", "correct": n > 0, **OF} for n in range(3)])
    ((record, lines),) = imported(tmp_path / "b", format="table", files="b.jsonl", regrade=True)
    assert record["accuracy"] == 1 and record["source"]["regraded"] == {"answers": 3, "to_right": 1, "to_wrong": 0}
    assert [line["published"] for line in lines] == [0, 1, 1]


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("1.0", 1), ("12", 12), ("-3.0", -3), ("0.0", 0), ("1.5", "1.5"), ("01", "01"), ("1.00", "1.00"), ("1e3", "1e3"),
        ("٣", "٣"), ("7" * 5000, "7" * 5000),
    ],
)  # fmt: skip
def test_an_id_is_a_number_where_its_text_is_one(tmp_path, text, id):
    """A CSV of pandas says 1.0 where a JSONL says 1; what is not written so is a name."""
    table(tmp_path / "a.csv", [{"question": text, "correct": 1, **OF}])
    ((_, (line,)),) = imported(tmp_path / "out", format="table", files="a.csv")
    assert line["doc_id"] == id and type(line["doc_id"]) is type(id)


@pytest.mark.parametrize(
    ("name", "grades", "typed"),
    [
        ("a.csv", ["True", "False"], {"right": True}),  # Hydra's, of import.right=True
        ("a.csv", ["True", "False"], {"right": "TRUE"}),
        ("a.jsonl", [1.0, 0.0], {"right": 1}),
        ("a.csv", ["1.0", "0.0"], {"right": [1], "no_answer": 0}),
        ("a.jsonl", [" Correct", "wrong"], {"right": ["correct"]}),
    ],
)
def test_grades_are_compared_without_regard_to_how_they_are_spelt(tmp_path, name, grades, typed):
    write = jsonl if name == "a.jsonl" else table
    write(tmp_path / name, [{"question": at, "correct": grade, **OF} for at, grade in enumerate(grades)])
    ((record, lines),) = imported(tmp_path / "out", format="table", files=name, **typed)
    assert [line["score"] for line in lines] == [1, 0] and record["source"]["notes"] == []
    assert record["no_answer_rate"] == (0.5 if "no_answer" in typed else None)


def test_a_grade_that_is_in_no_row_is_said(tmp_path):
    """What is right must be in a row of one of the files; that a model always answered is a note."""
    for name, grades in (("a.jsonl", "AC"), ("b.jsonl", "CC")):
        jsonl(tmp_path / name, [{"question": at, "correct": grade, **OF, "model": name} for at, grade in enumerate(grades)])
    found = imported(tmp_path / "out", format="table", files=["a.jsonl", "b.jsonl"], right="a", no_answer="X")
    assert [record["accuracy"] for record, _ in found] == [0.5, 0]
    assert found[0][0]["source"]["notes"] == ["import.no_answer=X: is the grade of no row; the files hold A, C"]
    for right in ("A", ["C", "A"]):
        with pytest.raises(SettingError, match=r"^import.right=A: is the grade of no row; .*, which hold C$"):
            read(settings(format="table", files="b.jsonl", right=right))


@pytest.mark.parametrize(
    ("models", "called"),
    [
        (["orgA/m", "orgB/m", "orgA/n"], ["orgA/m", "orgB/m", "n"]),
        (["orgA/m", "orgB/m", "m"], ["orgA/m", "orgB/m", "m"]),
        (["/data/one/last", "/data/two/last/"], ["one/last", "two/last"]),
        (["/data/one/last", "/two/one/last"], ["data/one/last", "two/one/last"]),
    ],
)
def test_models_of_two_owners_are_two(tmp_path, models, called):
    jsonl(tmp_path / "a.jsonl", [{"question": q, "correct": 1, "model": m, "task": "t"} for m in models for q in (1, 2)])
    found = [record for record, _ in imported(tmp_path / "out", format="table", files="a.jsonl")]
    assert [record["model"] for record in found] == [record["series"] for record in found] == called


def test_a_model_without_its_owner_is_the_only_owners(tmp_path):
    answers = [{"question": q, "correct": 1, "model": m, "task": f"org{q}/t"} for q, m in enumerate(["org/m", "m", "m"])]
    jsonl(tmp_path / "a.jsonl", answers)
    found = imported(tmp_path / "out", format="table", files="a.jsonl")
    assert [(r["model"], r["task"]) for r, _ in found] == [("m", "org0__t"), ("m", "org1__t"), ("m", "org2__t")]


GOOD = {"question": 1, "correct": True, "thinking_tokens": 5, **OF}
MORE = GOOD | {"question": 2}
WRONG = [
    (
        [GOOD, GOOD],
        {},
        "a.jsonl: line 2: question 1 stands in one cell twice (first in a.jsonl: line 1); import.columns.sample",
    ),
    ([GOOD, GOOD | {"correct": "A"}], {}, "line 2: correct=A: must be true or false"),
    ([GOOD, MORE | {"correct": None}], {}, "line 2: correct is empty"),
    (
        [GOOD, MORE | {"correct": -1}],
        {},
        "line 2: correct=-1: must be true or false, or a number from 0 to 1; where grades are",
    ),
    (
        [GOOD | {"correct": 0}, MORE | {"correct": 100}],
        {},
        "line 2: correct=100: must be true or false, or a number from 0 to 1; ",
    ),
    ([GOOD, MORE | {"correct": 62.5}], {}, "percentages are to be divided by 100"),
    ([GOOD, MORE | {"correct": float("nan")}], {}, "line 2: correct is empty"),
    ([GOOD, GOOD | {"question": None}], {}, "line 2: question=None: must say which question"),
    ([GOOD, GOOD | {"question": [1]}], {}, "line 2: question=[1]: must say which question"),
    ([GOOD, GOOD | {"question": {"id": 1}}], {}, "line 2: question={'id': 1}: must say which question"),
    ([GOOD, GOOD | {"question": False}], {}, "line 2: question=False: must say which question"),
    ([GOOD, MORE | {"thinking_tokens": -3}], {}, "line 2: thinking_tokens=-3: must be a whole number"),
    ([GOOD, MORE | {"thinking_tokens": "many"}], {}, "line 2: thinking_tokens=many: must be"),
    ([GOOD, MORE | {"thinking_tokens": True}], {}, "line 2: thinking_tokens=True: must be"),
    ([GOOD | {"sample": 0}, MORE | {"sample": None}], {}, "line 2: sample is empty: must tell the samples"),
    ([GOOD | {"sample": {"a": 1}}], {}, "line 1: sample={'a': 1}: must tell the samples"),
    ([GOOD, MORE | {"correct": 10**400}], {}, "line 2: correct=1000"),
    ([GOOD | {"budget": 10.5}], {}, "line 1: budget=10.5: must be a whole number"),
    ([GOOD | {"model": None}], {}, "import.model: nothing says of which model a.jsonl: line 1 is"),
    ([GOOD | {"model": "a\x07b"}], {}, "must be text in one line"),
    ([GOOD], {"columns": {"correct": "grade"}}, "import.columns.correct=grade: a.jsonl has no such column; it has question"),
    ([GOOD], {"columns": {"setting": ["effort"]}}, "import.columns.setting=effort: a.jsonl has no such column"),
    ([{"id": 1, "correct": 1}], {}, "import.columns.question: needs a column that says which question"),
    ([{"question": 1, "answer": "x"}], {}, "import.columns.correct: needs a column with its grade"),
    ([GOOD], {"regrade": True}, "import.columns.answer: needs a column and one for target"),
    ([GOOD], {"names": "{model}_{task}"}, "the file a is not named like that"),
    ([GOOD], {"names": "{x}{x}"}, "{x}: each field needs a name of its own"),
    ([GOOD], {"names": "{2}"}, "{2}: each field needs a name of its own"),
    ([GOOD], {"format": "csv"}, "import.format=csv: must be one of lm_eval, inspect, table"),
    ([GOOD], {"metric": "f1"}, "import.metric=f1: is for import.format=lm_eval and inspect alone"),
]


@pytest.mark.parametrize(("answers", "typed", "said"), WRONG)
def test_what_is_wrong_is_one_sentence(tmp_path, answers, typed, said):
    jsonl(tmp_path / "a.jsonl", answers)
    with pytest.raises(SettingError) as error:
        read(settings(**{"format": "table", "files": "a.jsonl"} | typed))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "import.columns.quesion=id",
            "import.columns.quesion: there is no such setting; did you mean import.columns.question?",
        ),
        ("import.file=a", "import.file: there is no such setting; did you mean import.files?"),
        ("import.regrade=maybe", "import.regrade=maybe: must be true or false"),
        ("import.metric=f1", "import.metric=f1: is for import.format=lm_eval and inspect alone"),
    ],
)
def test_a_command_that_is_wrong_writes_nothing(command, tmp_path, typed, said):
    jsonl(tmp_path / "a.jsonl", [GOOD])
    status, err = command(*TABLE, "import.files=a.jsonl", typed)
    assert status == 2 and said in err and err.count("\n") == 1, err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


DAMAGED = [
    ("a.jsonl", b'{"question": 1, "correct": 1}\n{"question": 2, "corr', "line 2 is not JSON"),
    ("a.jsonl", b'{"question": 1}\n{"question": "\xff"}\n', "line 2 is not UTF-8"),
    ("a.jsonl", b"\n\n", "the file holds no rows"),
    ("a.jsonl", b"[1, 2]", "entry 1 is int, not an object"),
    ("a.json", b'{"question": 1}', "must hold one list"),
    ("a.jsonl.gz", gzip.compress(b'{"question": 1}\n' * 400, mtime=0)[:-12], "is no whole gzip file"),
    ("a.csv.gz", b"no gzip", "is no whole gzip file"),
    ("a.csv", b"question,correct\n1,1\n2\n", "line 3 does not have as many columns as line 1 (2)"),
    ("a.csv", b"question,question\n1,1\n", "line 1 names the column 'question' twice"),
    ("a.jsonl", b'{"question": 1}\n' + b"[" * 5000, "line 2 has objects or lists nested too deeply to be read"),
    ("a.json", b"[" * 5000, "the file has objects or lists nested too deeply to be read"),
    ("a.jsonl", b'{"question": ' + b"7" * 5000 + b"}", "line 1 has a number of too many digits to be read"),
    ("a.parquet", b"PAR1 and no more", "import.files=a.parquet: "),
    ("a.xlsx", b"PK", "must end in .jsonl, .json, .csv, .tsv, .parquet"),
]


@pytest.mark.parametrize(("name", "data", "said"), DAMAGED)
def test_a_damaged_file_is_one_sentence(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SettingError) as error:
        read(settings(format="table", files=name, model="m", task="t"))
    assert str(error.value).startswith(f"import.files={name}: ") and said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("files", "said"),
    [("nothing*.csv", "no such file"), ([], "must be a file"), (["a", 3], "must be a file"), ("empty", "holds no *.jsonl or")],
)
def test_files_that_are_not_there(tmp_path, files, said):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingError, match="import.files") as error:
        read(settings(format="table", files=files))
    assert said in str(error.value)


def test_a_job_that_made_several_cells_is_its_cells(tmp_path):
    for model in "mn":
        jsonl(tmp_path / f"{model}.jsonl", [row | {"model": model} for row in rows()])
    for job, files in (("0", ["m.jsonl", "n.jsonl"]), ("1", "m.jsonl")):
        (tmp_path / "out" / job / ".hydra").mkdir(parents=True)
        imported(tmp_path / "out" / job, format="table", files=files)
    (tmp_path / "out" / "2" / ".hydra").mkdir(parents=True)
    found = [path.relative_to(tmp_path / "out").as_posix() for path in job_directories(tmp_path / "out")]
    assert found == ["0/0", "0/1", "1/0", "2"]  # the last one did not finish


def test_a_file_that_changed_is_read_again(tmp_path):
    for shift in (0, 1):
        jsonl(tmp_path / "a.jsonl", rows(4, shift=shift))
        ((record, _),) = imported(tmp_path / "out", format="table", files="a.jsonl")
        assert record["accuracy"] == (0.5, 0.75)[shift]


def test_thousands_of_rows_take_no_time(command, tmp_path):
    jsonl(tmp_path / "a.jsonl", [row | {"answer": "so it is " * 200} for row in rows(2000, samples=4)])
    began = time.process_time()
    assert command(*TABLE[:2], "import.files=a.jsonl", "plan=true") == (0, "")
    assert time.process_time() - began < 8 and [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_directory_belongs_to_one_import(composed):
    def key(*typed):
        return naming.results_key([composed("stage=import", *typed)])

    assert key("import.files=[a,b]") == key("import.files=[a,b]", "tracking=none")
    assert len({key("import.files=[a,b]"), key("import.files=[a]"), key("import.files=[a,b]", "import.right=A")}) == 3


def test_what_is_typed_of_an_import_changes_no_other_cell(composed):
    """Keys of own results and ids of own cells are as they were before there was an import."""
    plain, typed = composed(), composed("import.files=a", "import.model=m")
    assert naming.results_key([plain]) == naming.results_key([typed])
    one, other = (naming.identity(Cell(cfg, Path(), Path())) for cfg in (plain, typed))
    assert one == other and not [key for key in one["settings"] if key.startswith("import")]
