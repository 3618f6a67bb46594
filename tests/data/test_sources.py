"""Every source of the pool in its own column layout, and what happens when a source cannot be had."""

import json
import socket
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from s1x.composition import BASE, register
from s1x.data import build, sources
from s1x.data.records import question_id
from s1x.errors import SettingError

CONF = Path(__file__).parents[2] / "conf"
SOURCES = sorted(p.stem for p in (CONF / "data" / "source").glob("*.yaml"))
DATA = sorted(p.stem for p in (CONF / "data").glob("*.yaml"))
register()

MATH = {"problem": "P", "solution": "S", "answer": "7", "subject": "Algebra", "level": 5, "unique_id": "train/algebra/1.json"}
GPQA = {
    "Question": " Which? ",
    "Correct Answer": "right\n",
    "Incorrect Answer 1": "w1",
    "Incorrect Answer 2": "w2",
    "Incorrect Answer 3": "w3",
    "Explanation": "Because.",
    "Subdomain": "Physics (general)",
    "High-level domain": "Physics",
    "Record ID": "rec1",
}
SCIEVAL = {
    "question": "What moves?\n\nA. x\nB. y\n\nAnswer:",
    "answer": ["B"],
    "type": "multiple-choice",
    "category": "biology",
    "topic": "Cells",
    "ability": "Base",
    "id": "1",
    "task_name": "SocraticQA",
}
AGIEVAL = {"passage": "A text.", "id": 0, "question": "What?", "options": ["(A)x", "(B)y"], "label": "A", "solution": None}

# source key -> (rows in the hub's layout, the (question, solution) pairs that must come out)
FIXTURES = {
    "math": ([MATH], [("P", "S")]),
    "numina_math": (
        [
            {"source": "aops_forum", "problem": "P", "solution": "S", "messages": [{"role": "user", "content": "P"}]},
            {"source": "cn_k12", "problem": "no", "solution": "S", "messages": []},
        ],
        [("P", "S")],
    ),
    "numina_math_500": ([{"problem": "P500"}], [("P500", None)]),
    "olympic_arena": (
        [
            {
                "id": "Math_1",
                "problem": "P",
                "prompt": "...",
                "solution": "S",
                "answer": ["1"],
                "subject": "Math",
                "language": language,
                "modality": modality,
                "figure_urls": None,
            }
            for language, modality in (("EN", "text-only"), ("ZH", "text-only"), ("EN", "multi-modal"))
        ],
        [("P", "S")],
    ),
    "omni_math": (
        [
            {
                "domain": ["Mathematics -> Algebra -> Other"],
                "difficulty": 8.0,
                "problem": "P",
                "solution": "S",
                "answer": "7",
                "source": "imo",
            }
        ],
        [("P", "S")],
    ),
    "agieval": (
        [AGIEVAL, {**AGIEVAL, "passage": "", "options": None, "question": "Only this?", "solution": "B"}],
        [("A text.\n\nWhat?\n(A)x\n(B)y", None), ("Only this?", "B")],
    ),
    "agieval_math": (
        [{"question": "Q5", "solution": "S", "level": 5}, {"question": "Q4", "solution": "S", "level": 4}],
        [("Q5", "S")],
    ),
    "xword": (
        [{"instruction": "Solve", "input": "### Instruction: x ### Clue: Small dog (3)", "output": "PUG"}],
        [
            (
                "Solve the crossword puzzle. You are presented with a clue as input and the number of letters in brackets."
                "\n\nSmall dog (3)",
                "PUG",
            )
        ],
    ),
    "olympiad_bench": (
        [
            {
                "id": 1,
                "question": "Q",
                "solution": ["S1", "S2"],
                "final_answer": ["1"],
                "context": None,
                "subject": "Math",
                "question_type": "Open-ended",
                "subfield": "Algebra",
            },
            {"id": 2, "question": "Q2", "solution": ["S"], "context": "Given g=10.", "subject": "Physics"},
        ],
        [("Q", "S1"), ("Given g=10.\n\nQ2", "S")],
    ),
    "aime": (
        [
            {"ID": f"{year}-1", "Year": year, "Problem Number": 1, "Question": f"Q{year}", "Answer": "060", "Part": None}
            for year in (1983, 2021, 2022, 2024)
        ],
        [("Q1983", "060"), ("Q2021", "060")],
    ),
    "theoremqa": (
        [
            {"Question": "Q", "Answer": "0.5", "Answer_type": "float", "Picture": None},
            {"Question": "no", "Answer": "1", "Answer_type": "float", "Picture": {"bytes": "..."}},
        ],
        [("Q", "0.5")],
    ),
    "usaco": ([{"question": "Cows", "cp_id": "1_bronze", "inputs": "...", "outputs": "..."}], [("Cows", None)]),
    "jeebench": (
        [{"subject": "phy", "description": "JEE Adv 2016", "gold": "BC", "index": 1, "type": "MCQ(multiple)", "question": "Q"}],
        [("Q", "BC")],
    ),
    "gpqa": ([GPQA, {**GPQA, "Question": "diamond"}], None),
    "scieval": (
        [
            SCIEVAL,
            {**SCIEVAL, "answer": None},
            {
                **SCIEVAL,
                "task_name": "reagent selection",
                "topic": None,
                "question": "Mix:\nOptimal solvent:",
                "answer": ["CO"],
            },
        ],
        [("What moves?\n\nA. x\nB. y", "B"), ("Mix:\nWhat is the optimal solvent?", "CO")],
    ),
    "s1_prob": ([{"question": "Q", "solution": "S"}], [("Q", "S")]),
    "s1_teasers": ([{"Question": "Q", "Answer": "A", "Explanation": None}], [("Q", "A")]),
    "livecodebench": (
        [
            {"question_title": "t", "question_content": f"Q {d}", "difficulty": d, "platform": "leetcode"}
            for d in ("easy", "hard")
        ],
        [("Q hard", None)],
    ),
}


def group(folder, *names):
    return OmegaConf.merge(*(OmegaConf.load(CONF / "data" / folder / f"{name}.yaml") for name in names or SOURCES))


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_there_are_the_papers_16_sources_and_each_has_a_fixture():
    assert len(SOURCES) == 16
    assert set(group("source")) == set(FIXTURES)


@pytest.mark.parametrize("key", sorted(FIXTURES))
def test_source_in_its_true_layout(key, tmp_path):
    rows, expected = FIXTURES[key]
    source = group("source")[key]
    source.path = write_jsonl(tmp_path / "rows.jsonl", rows)
    if "without" in source:
        source.without.path = write_jsonl(tmp_path / "diamond.jsonl", [{"Question": "diamond"}])
    table = sources.load(key, instantiate(source, _convert_="all"))
    assert table["source"].to_pylist() == [key] * len(table)
    assert table["id"].to_pylist() == [question_id(q) for q in table["question"].to_pylist()]
    if expected is not None:
        assert list(zip(table["question"].to_pylist(), table["solution"].to_pylist())) == expected


def test_gpqa_gets_lettered_choices_and_leaves_diamond_out(tmp_path):
    source = group("source", "gpqa").gpqa
    source.path = write_jsonl(tmp_path / "rows.jsonl", FIXTURES["gpqa"][0])
    source.without.path = write_jsonl(tmp_path / "diamond.jsonl", [{"Question": "diamond"}])
    (row,) = sources.load("gpqa", instantiate(source, _convert_="all")).to_pylist()
    head, *choices = row["question"].split("\n")[0:1] + row["question"].split("\n")[2:]
    assert head == "Which?" and row["question"].split("\n")[1] == "Answer Choices:"
    assert sorted(c[4:] for c in choices) == ["right", "w1", "w2", "w3"] and [c[:4] for c in choices] == [
        "(A) ",
        "(B) ",
        "(C) ",
        "(D) ",
    ]
    letter = row["solution"].removeprefix("Because.\n\nAnswer: ")
    assert f"({letter}) right" in row["question"]


@pytest.mark.parametrize("key", sorted(FIXTURES))
def test_a_renamed_column_is_a_sentence(key, tmp_path):
    source = group("source")[key]
    source.path = write_jsonl(tmp_path / "rows.jsonl", [{"renamed": 1}])
    source.pop("keep", None)
    source.pop("row", None)
    source.pop("without", None)
    with pytest.raises(SettingError, match=rf"data.sources.{key}.columns.\w+=.*the data has the columns renamed"):
        sources.load(key, instantiate(source, _convert_="all"))


def test_samples_are_even_over_tasks_and_topics_and_do_not_depend_on_order(tmp_path):
    rows = [
        {"task_name": t, "topic": p, "question": f"{t}{p}{i}"}
        for t, topics in (("a", "xyz"), ("b", "-"))
        for p in topics
        for i in range(40)
    ]
    settings = {"sample": 24, "balance": ["task_name", "topic"]}
    first = sources.load("s", {**settings, "rows": rows})["question"].to_pylist()
    again = sources.load("s", {**settings, "rows": rows[::-1]})["question"].to_pylist()
    assert set(first) == set(again) and len(first) == 24
    assert sum(q.startswith("b") for q in first) == 12
    assert [sum(q.startswith(f"a{p}") for q in first) for p in "xyz"] == [4, 4, 4]


@pytest.mark.parametrize("name", DATA)
def test_every_data_config_composes_and_resolves(name):
    with initialize_config_dir(str(CONF), **BASE):
        data = compose("config", [f"data={name}"]).data
    plain = OmegaConf.to_container(data, resolve=True)
    assert plain["name"] == name and set(plain) <= build.SETTINGS
    if name.endswith("_1k") or name in ("tiny_s1k", "s1k_selected"):
        assert plain["select"].get("n") == 1000
    for source in data.sources.values():
        if source is not None and "rows" not in source:
            assert set(instantiate(source, _convert_="all")) <= set(sources.SETTINGS)


PUBLISHED = {
    "s1k": {
        "question": "Q",
        "solution": "S",
        "cot_type": "math",
        "source_type": "qq8933/AIME_1983_2024",
        "metadata": "{}",
        "cot": None,
        "thinking_trajectories": ["one", "two"],
        "attempt": "A",
    },
    "s1k_1_1": {
        "question": "Q",
        "solution": "S",
        "cot_type": "math",
        "source_type": "Idavidrein/gpqa",
        "metadata": "{}",
        "gemini_thinking_trajectory": "g",
        "gemini_attempt": "ga",
        "deepseek_thinking_trajectory": "one\ntwo",
        "deepseek_attempt": "A",
        "gemini_grade": "No",
        "deepseek_grade": "Yes",
    },
}
PUBLISHED["s1k_tokenized"] = {**PUBLISHED["s1k"], "text": "<|im_start|>system"}
PUBLISHED["full_59k"] = PUBLISHED["random_1k"] = PUBLISHED["diverse_1k_published"] = PUBLISHED["s1k"]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_sets_in_their_true_layout(name, tmp_path, composed):
    path = write_jsonl(tmp_path / "rows.jsonl", [PUBLISHED[name], {**PUBLISHED[name], "question": "other"}])
    cfg = composed(
        f"data={name}",
        f"data.sources.s1_pool.path={path}",
        f"store.dir={tmp_path}",
        *(["data.select.n=1"] if name == "random_1k" else []),
    )
    rows = build.build(cfg).dataset().to_list()
    assert len(rows) == (1 if name == "random_1k" else 2)
    row = rows[0]
    assert (row["thinking"], row["answer"], row["solution"]) == ("one\ntwo", "A", "S")
    assert row["source"] == ("gpqa" if name == "s1k_1_1" else "aime")
    assert row.get("text") == PUBLISHED[name].get("text")


def test_labels_are_matched_by_question(tmp_path, composed):
    pool = write_jsonl(tmp_path / "pool.jsonl", [{**PUBLISHED["s1k"], "question": q} for q in "abc"])
    labels = write_jsonl(
        tmp_path / "labels.jsonl",
        [
            {"question": q, "domain": f"D{q}", "isqwen7bcorrect": q == "a", "isqwen32bcorrect": False, "isgenminicorrect": True}
            for q in "ba"
        ],
    )
    cfg = composed(
        "data=labelled_59k",
        f"data.sources.s1_pool.path={pool}",
        f"data.sources.s1_pool.labels.path={labels}",
        f"store.dir={tmp_path}",
    )
    table = build.build(cfg).table
    assert table["domain"].to_pylist() == ["Da", "Db", None]
    assert table["qwen7b_correct"].to_pylist() == [True, False, None]
    assert table["teacher_correct"].to_pylist() == [True, True, None]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".csv"])
def test_local_files_of_every_kind(suffix, tmp_path, composed):
    rows = [
        {"question": "Q1", "thinking": "T", "answer": "A", "n": 1},
        {"question": 'Q,\n"2"', "thinking": "T2", "answer": "A2", "n": 2},
    ]
    path = tmp_path / f"mine{suffix}"
    if suffix == ".jsonl":
        write_jsonl(path, rows)
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        pa.Table.from_pylist(rows).to_pandas().to_csv(path, index=False)
    built = build.build(
        composed("data=local", "data.decontaminate=null", f"data.sources.local.path={path}", f"store.dir={tmp_path}")
    )
    assert built.table["question"].to_pylist() == ["Q1", 'Q,\n"2"']
    assert [str(n) for n in built.table["n"].to_pylist()] == ["1", "2"]


def test_a_local_copy_of_a_hub_data_set(tmp_path, composed, monkeypatch):
    copy = tmp_path / "copy"
    (copy / "data").mkdir(parents=True)
    for split in ("train", "test"):
        pq.write_table(
            pa.Table.from_pylist([{**PUBLISHED["s1k"], "question": split}]), copy / "data" / f"{split}-00000-of-00001.parquet"
        )
    built = build.build(composed("data=s1k", f"data.sources.s1_pool.path={copy}", f"store.dir={tmp_path}"))
    assert built.table["question"].to_pylist() == ["train"]


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Name resolution fails, as it does on a machine without a network."""

    def refuse(*args, **kwargs):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("name", ["s1k", "questions_59k", "diverse_1k"])
def test_without_a_network_a_hub_data_set_is_one_sentence_within_seconds(name, composed, tmp_path, no_network):
    import datasets  # noqa: F401  (its import is not what is timed)

    cfg = composed(f"data={name}", f"store.dir={tmp_path}")
    begin = time.monotonic()
    with pytest.raises(SettingError) as error:
        build.build(cfg)
    assert time.monotonic() - begin < 8
    sentence = str(error.value)
    assert "\n" not in sentence and "hf download" in sentence and "data.sources." in sentence and ".path=COPY" in sentence


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.sources.local.path=nowhere.jsonl"], "data.sources.local.path=nowhere.jsonl: there is no such file"),
        (["data.sources.local.path=./nowhere"], "there is no such file"),
        ([], "data.sources.local.path=None: give a hub data set"),
        (["data.sources.local=null"], "data.sources is empty for data=local: name at least one source"),
        (["+data.sources.local.colums={a: b}", "data.sources.local.path=x.csv"], "colums: no such setting"),
        (["+data.qualty=1"], "data.qualty: no such setting"),
    ],
)
def test_wrong_settings_are_sentences(overrides, words, composed, tmp_path):
    with pytest.raises(SettingError, match=words):
        build.build(composed("data=local", "data.decontaminate=null", f"store.dir={tmp_path}", *overrides))


def test_a_broken_json_file_is_a_sentence(composed, tmp_path):
    path = tmp_path / "broken.json"
    path.write_text("[{")
    with pytest.raises(SettingError, match="broken.json: cannot be read"):
        build.build(
            composed("data=local", "data.decontaminate=null", f"data.sources.local.path={path}", f"store.dir={tmp_path}")
        )
