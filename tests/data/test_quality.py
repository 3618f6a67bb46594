"""Each quality filter on its own, and hostile rows through the whole pipeline: nothing raises, everything is counted."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from s1x.data import quality, records, steps
from s1x.data.build import build
from s1x.errors import SettingError

CONF = Path(__file__).parents[2] / "conf"


def table(*questions, **columns):
    rows = [{"question": q, **{name: values[i] for name, values in columns.items()}} for i, q in enumerate(questions)]
    return records.table(rows, "test")


@pytest.fixture(scope="module")
def s1_filters():
    return instantiate(OmegaConf.load(CONF / "data" / "s1k_selected.yaml").quality, _convert_="all")


@pytest.mark.parametrize(
    ("question", "source", "reason"),
    [
        ("plain", "math", None),
        ("draw [asy] size(3); [/asy]", "math", "figure_code"),
        ("draw [asy] size(3); [/asy]", "aime", None),
        ("see ![Image](x.png)", "aime", "image"),
        ("p1. First p2. Second", "math", "numbered_parts"),
        ("at p999. end", "math", "numbered_parts"),
        ("at p1000. end, p0. or p01.", "math", None),
        ("**12** is", "math", "bold_number"),
        ("**a3b** is", "math", "bold_number"),
        ("**bold words 3** is", "math", None),  # a space: not the reference's pattern
        ("a\x07b", "math", None),  # conf/data/local.yaml drops these three; s1's rules do not
        ("broken \ufffd", "math", None),
        ("line\nbreak\tand tab\r\n", "math", None),
        ("x" * 100_001, "math", None),
        ("   ", "math", "missing"),
        (None, "math", "missing"),
    ],
)
def test_s1s_formatting_rules(question, source, reason, s1_filters):
    rows = table(question, thinking=["T"], answer=["A"], solution=["S"], source=[source])
    assert steps.quality(rows, s1_filters).dropped == [reason]


@pytest.mark.parametrize("field", ["thinking", "answer", "solution"])
def test_a_failed_call_or_a_missing_solution_is_counted_as_missing(field, s1_filters):
    given = {"thinking": ["T", "T", "T"], "answer": ["A"] * 3, "solution": ["S"] * 3}
    given[field] = [None, " \n", "x"]
    assert steps.quality(table("a", "b", "c", **given), s1_filters).dropped == ["missing", "missing", None]


def test_filters_can_be_switched_off_and_are_counted_under_their_own_name():
    rows = table("bad", "good")
    filters = {"mine": lambda t: [q == "bad" for q in t["question"].to_pylist()], "off": None}
    assert steps.quality(rows, filters).dropped == ["mine", None]


def test_wrong_answers_and_whole_forms():
    rows = table("a", "b", "c", answer=["Final Answer: 12", "Final Answer: 13", None], solution=["12", "12", "12"])
    assert quality.wrong_answer(rows) == [False, True, True]
    assert quality.not_like(rows, pattern=r"Final Answer: \d+", of="answer") == [False, False, True]


def test_a_column_that_is_not_there_is_a_sentence():
    with pytest.raises(SettingError, match=r"data.select.how=longest .* no column 'length'"):
        steps.select(table("a"), how="longest", n=1)
    with pytest.raises(SettingError, match="data.select.how=best: choose one of"):
        steps.select(table("a"), how="best", n=1)
    with pytest.raises(SettingError, match="data.select.n=None"):
        steps.select(table("a"), how="random")


HOSTILE = [
    {"id": "1", "question": "fine question number one", "thinking": "t", "answer": "a"},
    {"id": "1", "question": "another question with the same id", "thinking": "t", "answer": "a"},
    {"id": "2", "question": "fine  QUESTION number one\n", "thinking": "t", "answer": "a"},
    {"id": None, "question": "", "thinking": "t", "answer": "a"},
    {"id": None, "question": None, "thinking": "t", "answer": "a"},
    {"id": 7, "question": 12345, "thinking": ["a", None, "b"], "answer": 1.5},
    {"question": "giant " + "x" * 3_000_000, "thinking": "t", "answer": "a"},
    {"question": "control \u0000 \u0007 \u001b[31m characters", "thinking": "t", "answer": "a"},
    {"question": "lone surrogate \ud800 here", "thinking": "t", "answer": "a"},
    {
        "question": "right to left \u202e and \u0301\u0301 marks [bold]x[/bold]",
        "thinking": "t",
        "answer": "a",
        "extra": {"deep": [1]},
    },
    {"question": "nested", "thinking": None, "answer": None, "extra": "text"},
    {"question": {"an": "object"}, "thinking": "t", "answer": "a", "extra": 2**70},
]


@pytest.fixture
def strict(composed, tmp_path):
    """The local pool with all cheap steps on."""

    def make(path, *more):
        return composed(
            "data=local",
            "data.decontaminate=null",
            f"data.sources.local.path={path}",
            f"store.dir={tmp_path}",
            "data.duplicates.near=0.9",
            *more,
        )

    return make


def steps_of(built):
    return {row.step: row for row in built.rows}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_hostile_rows_are_dropped_and_counted(suffix, strict, tmp_path):
    path = tmp_path / f"hostile{suffix}"
    if suffix == ".jsonl":
        lines = [json.dumps(row).encode() for row in HOSTILE]
        lines += [
            b'{"question": "bad bytes \xff\xfe", "thinking": "t", "answer": "a"}',
            b'{"question": "torn',
            b"[1, 2]",
            b"",
            b"null",
        ]
        path.write_bytes(b"\n".join(lines))
    else:
        good = [
            {k: str(v) for k, v in row.items() if k in ("question", "thinking", "answer") and v is not None} for row in HOSTILE
        ]
        plain = pa.Table.from_pylist(
            [{k: v.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for k, v in row.items()} for row in good]
        )
        broken = pa.array(
            [
                b"bad bytes \xff\xfe" if i == 0 else q.encode()
                for i, q in enumerate(plain["question"].to_pylist())
                if q is not None
            ]
            + [None] * plain["question"].null_count,
            pa.binary(),
        )
        bad = pa.Array.from_buffers(pa.string(), len(broken), broken.buffers())  # text that is not UTF-8
        pq.write_table(plain.set_column(plain.column_names.index("question"), "question", bad), path)
    built = build(strict(path))
    reasons = Counter()
    for row in built.rows:
        reasons.update(row.dropped)
    assert built.rows[0].before - sum(reasons.values()) == len(built.table)
    assert {"missing", "unreadable", "too_long"} <= set(reasons)
    if suffix == ".jsonl":
        assert built.rows[0].before == len(HOSTILE) + 4
        assert reasons == {"duplicate question": 1, "duplicate id": 1, "missing": 6, "unreadable": 3, "too_long": 1}
        assert sorted(built.table["question"].to_pylist())[:2] == ["12345", "fine question number one"]
        row = built.table.filter(pa.compute.equal(built.table["question"], "12345")).to_pylist()[0]
        assert (row["thinking"], row["answer"], row["id"]) == ("a\nb", "1.5", "7")
    assert json.loads((built.path / "funnel.json").read_text(encoding="utf-8"))["records"] == len(built.table)
    assert "\x1b" not in (built.path / "funnel.json").read_text(encoding="utf-8").replace("\\u001b", "")


def test_the_funnel_prints_hostile_text_as_text(strict, tmp_path):
    from io import StringIO

    from rich.console import Console

    from s1x.data import funnel
    from s1x.report import listings
    from s1x.report.render import terminal

    path = tmp_path / "hostile.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in HOSTILE[:10]))
    built = build(strict(path, "data.select.how=random", "data.select.n=1"))
    out = StringIO()
    terminal(listings.funnel(built.rows), Console(file=out, width=200))
    assert "\x1b[31m" not in out.getvalue() and "\x07" not in out.getvalue()
    page = funnel.as_html([funnel.Row("<step>", 3, 1, {"<b>": 2}, {"<b>": ["<script>"]})], "<name>")
    assert "<script>" not in page and "<b>" not in page and "&lt;script&gt;" in page


def test_an_empty_pool_and_a_pool_of_nothing_good(strict, tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    assert len(build(strict(path)).table) == 0
    path.write_text("{}\n{}\n")
    assert steps_of(build(strict(path)))["quality"].dropped == {"missing": 2}
    with pytest.raises(SettingError, match="data.select.n=5: only 0 records are left"):
        build(strict(path, "data.select.how=random", "data.select.n=5"))


def test_two_hundred_thousand_rows(strict, tmp_path):
    path = tmp_path / "big.parquet"
    numbers = range(200_000)
    pq.write_table(
        pa.table(
            {
                "question": [f"what is {i % 190_000} plus seven in this row" for i in numbers],
                "thinking": ["t"] * 200_000,
                "answer": [None if i % 1000 == 0 else "a" for i in numbers],
            }
        ),
        path,
    )
    built = build(strict(path, "data.duplicates.near=null", "data.select.how=random", "data.select.n=1000"))
    assert built.rows[0].before == 200_000 and len(built.table) == 1000
    assert steps_of(built)["duplicates"].dropped == {"duplicate question": 10_000}
