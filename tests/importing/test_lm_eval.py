"""lm-eval's samples: as its own `hf` model writes them, and as older versions laid them out."""

from __future__ import annotations

import json

import pytest

from s1x.benches import peers
from s1x.errors import SettingError
from s1x.evaluation.votes import vote
from s1x.importing import grading
from s1x.importing.reading import read
from s1x.metrics.harness import aggregated

from .tables import imported, jsonl, settings


@pytest.mark.long
def test_what_lm_eval_wrote_is_imported_to_the_last_digit(composed, tmp_path):
    pytest.importorskip("accelerate", reason="lm-eval's hf model needs accelerate (pip install -e '.[train]')")
    cfg = composed("+experiment=bench_peers", "task.limit=7", "method.max_tokens=200")
    peers.timed(cfg, peers.lm_eval, tmp_path / "theirs")
    (file,) = (tmp_path / "theirs").rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"]["tiny_math"]
    typed = {"format": "lm_eval", "files": str(tmp_path / "theirs")}
    ((record, _),) = imported(tmp_path / "out", **typed)
    ours = json.loads((tmp_path / "out" / "0" / "results.json").read_text())["results"]["tiny_math"]
    assert (record["model"], record["task"]) == ("tiny-s1", "tiny_math")
    assert record["accuracy"] == theirs["exact_match,answer"] and 0 < record["accuracy"] < 1
    numbers = {key: value for key, value in theirs.items() if "," in key}
    assert len(numbers) == 6 and {key: ours[key] for key in numbers} == numbers  # means and standard errors alike
    assert record["thinking_tokens"]["mean"] is None and record["flops"] is None
    ((again, _),) = imported(tmp_path / "again", **typed, regrade=True)
    assert again["accuracy"] == record["accuracy"]  # the task's grader is ours


def test_standard_errors_are_lm_evals():
    from lm_eval.api.metrics import mean, mean_stderr

    scores = [0.1, 0.7, 1.0, 0.0, 1 / 3, 0.25, 1.0]
    lines = [{"doc_id": at, "filter": "none", "metrics": ["f1"], "f1": score} for at, score in enumerate(scores)]
    assert aggregated(lines) == {"f1,none": mean(scores), "f1_stderr,none": mean_stderr(scores)}
    assert aggregated(lines[:1])["f1_stderr,none"] == "N/A"
    twice = [line | {"f1": value} for line in lines for value in (line["f1"] - 0.1, line["f1"] + 0.1)]
    assert aggregated(twice)["f1_stderr,none"] == pytest.approx(mean_stderr(scores))  # of questions, not of answers


def old(doc: int, right: bool, text: str = "so 4") -> dict:
    """A sample as 0.4.0 wrote it: no filter, no metrics, no hashes, arguments as a list."""
    return {
        "doc_id": doc, "doc": {"question": f"Question {doc}"}, "target": "#### 4", "arguments": [[f"Question {doc}", {}]],
        "resps": [[text]], "filtered_resps": ["4" if right else "[invalid]"], "exact_match": float(right),
    }  # fmt: skip


def test_version_0_4_0(tmp_path):
    """One JSON list named after the model's arguments; a line for each filter, told apart by its place alone."""
    samples = [old(doc, doc % 2 == 0) for doc in range(4)] + [old(doc, True) for doc in range(4)]
    (tmp_path / "pretrained__org__model-7b_gsm8k.jsonl").write_text(json.dumps(samples, indent=2))
    results = {"exact_match,strict-match": 0.5, "exact_match_stderr,strict-match": 0.28, "exact_match,flexible-extract": 1.0}
    config = {"model": "hf", "model_args": "pretrained=org/model-7b,dtype=float32"}
    (tmp_path / "results.json").write_text(json.dumps({"results": {"gsm8k": results}, "config": config}))
    typed = {"format": "lm_eval", "files": str(tmp_path / "pretrained__org__model-7b_gsm8k.jsonl")}
    ((record, lines),) = imported(tmp_path / "out", **typed)
    assert (record["model"], record["task"], record["accuracy"], record["no_answer_rate"]) == ("model-7b", "gsm8k", 0.5, 0.5)
    assert record["source"]["notes"] == [] and lines[0]["doc"] == {"question": "Question 0"}
    ((second, _),) = imported(tmp_path / "second", **typed, filter="flexible-extract")
    assert second["accuracy"] == 1.0
    with pytest.raises(SettingError, match="has strict-match, flexible-extract"):
        read(settings(**typed, filter="loose"))


def test_of_several_filters_it_is_said_which_was_taken(command, tmp_path):
    """As lm-eval writes GSM8K: two lines for each document, and here two metrics on each."""
    names = {"strict-match": 0.0, "flexible-extract": 1.0}
    lines = [
        old(doc, True) | {"filter": name, "metrics": ["exact_match", "f1"], "exact_match": score, "f1": 0.5}
        for name, score in names.items()
        for doc in range(3)
    ]
    jsonl(tmp_path / "samples_gsm8k.jsonl", lines)
    typed = {"format": "lm_eval", "files": str(tmp_path / "samples_gsm8k.jsonl"), "model": "m"}
    arguments = [f"import.{key}={value}" for key, value in typed.items()]
    assert command("stage=import", *arguments, "plan=true") == (0, "")
    told = " ".join(command.out.split())
    assert (
        "filter strict-match (not flexible-extract: import.filter chooses), metric exact_match (not f1: import.metric" in told
    )
    ((record, _),) = imported(tmp_path / "out", **typed, filter="flexible-extract")
    source = record["source"]
    assert (source["filter"], source["metric"], record["accuracy"]) == ("flexible-extract", "exact_match", 1.0)
    assert source["left_out"] == {"filter": ["strict-match"], "metric": ["f1"]}
    jsonl(tmp_path / "samples_gsm8k.jsonl", [{k: v for k, v in line.items() if k != "f1"} for line in lines[:3]])
    assert command("stage=import", *arguments, "plan=true") == (0, "") and "chooses" not in command.out


def test_a_file_of_another_run_is_noticed(tmp_path):
    """The results beside it say another accuracy: said, and kept in the cell."""
    date = "2024-06-30T12-00-00.123456"
    lines = [old(doc, doc < 3) | {"filter": "none", "metrics": ["exact_match"]} for doc in range(4)]
    jsonl(tmp_path / f"samples_my_task_{date}.jsonl", lines)
    found = {"results": {"my_task": {"exact_match,none": 0.5}}, "model_name": "org/one", "n-shot": {"my_task": 5}}
    (tmp_path / f"results_{date}.json").write_text(json.dumps(found))
    ((record, _),) = imported(tmp_path / "out", format="lm_eval", files=str(tmp_path))
    assert (record["task"], record["model"], record["settings"]["num_fewshot"]) == ("my_task", "one", 5)
    (note,) = record["source"]["notes"]
    assert note.endswith("its results file says exact_match 0.5, its samples 0.75")


@pytest.mark.parametrize(
    ("change", "typed", "said"),
    [
        ({"exact_match": 34.2, "acc": 1.0}, {}, "line 2: exact_match=34.2 is no score from 0 to 1; choose acc"),
        ({"exact_match": None}, {}, "import.regrade=true grades the texts"),
        ({"resps": [[["-1.5", "False"]]]}, {"regrade": True}, "line 2 holds no text"),
        ({}, {"metric": "f1"}, "import.metric=f1"),
        ({"exact_match": None}, {"metric": "f1"}, "import.metric=f1"),
        ({"doc_id": {"a": 1}}, {}, "line 2: doc_id={'a': 1}: must say which question it is"),
        ({"doc_id": None}, {}, "line 2: doc_id=None: must say which question it is"),
        ({"doc_id": True}, {}, "line 2: doc_id=True: must say which question it is"),
        ({"resps": {"a": 1}}, {}, "line 2: resps={'a': 1}: must be a list"),
        ({"filtered_resps": None}, {}, "line 2: filtered_resps=None: must be a list"),
        ({}, {"right": "A"}, "import.right=A: is for import.format=table alone"),
        ({}, {"columns": {"question": "doc_id"}}, "is for import.format=table"),
    ],
)
def test_what_cannot_be_scored_is_a_sentence(tmp_path, change, typed, said):
    jsonl(tmp_path / "samples_t.jsonl", [old(0, True), old(1, True) | change])
    with pytest.raises(SettingError) as error:
        read(settings(format="lm_eval", files=str(tmp_path / "samples_t.jsonl"), model="m", **typed))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ('{"config": "x"}', "(config=x: must be an object, as lm-eval writes it)"),
        ('{"results": {"t": [1]}}', "(results.t=[1]: must be an object"),
        ('{"results": [1]}', "(results=[1]: must be an object"),
        ('{"n-shot": 5}', "(n-shot=5: must be an object"),
        ("[" * 5000, "(it has objects or lists nested too deeply to be read)"),
        ("{", "(it is not JSON"),
    ],
)
def test_a_results_file_of_another_shape_is_a_sentence(tmp_path, results, said):
    jsonl(tmp_path / "samples_t.jsonl", [old(0, True)])
    (tmp_path / "results.json").write_text(results)
    with pytest.raises(SettingError) as error:
        read(settings(format="lm_eval", files=str(tmp_path / "samples_t.jsonl"), model="m"))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("results", [{"config": {"model_args": 5}}, {"results": None, "config": None}, []])
def test_a_results_file_that_says_little_is_no_fault(tmp_path, results):
    jsonl(tmp_path / "org__m" / "samples_t.jsonl", [old(0, True)])
    (tmp_path / "org__m" / "results.json").write_text(json.dumps(results))
    ((record, _),) = imported(tmp_path / "out", format="lm_eval", files=str(tmp_path / "org__m"))
    assert record["model"] == "m"


def test_repeats_become_samples_where_they_are_graded_here(tmp_path):
    line = old(0, True) | {"resps": [["The answer is 4.", "The answer is 5.", "Answer: 4", "no idea"]]}
    file = jsonl(tmp_path / "samples_t.jsonl", [line, line | {"doc_id": 1}])
    ((record, lines),) = imported(tmp_path / "out", format="lm_eval", files=str(file), model="m", regrade=True)
    assert (record["accuracy"], record["samples_per_question"], record["n_questions"]) == (0.5, 4, 2)
    assert [(line["extracted"], line["score"]) for line in lines[:4]] == [("4", 1), ("5", 0), ("4", 1), ("no idea", 0)]
    assert "published" not in lines[0]  # lm-eval's grade is that of all four together


def test_repeats_keep_their_own_texts(tmp_path):
    """Alone and as a pool: neither lm-eval's list of all repeats nor what its filter read of them."""
    texts = ["The answer is 4.", "The answer is 5.", "The answer is 5."]
    lines = [old(doc, True) | {"resps": [texts], "f1": 0.7, "metrics": ["exact_match", "f1"]} for doc in (0, 1)]
    typed = {"format": "lm_eval", "files": str(jsonl(tmp_path / "samples_t.jsonl", lines)), "model": "m", "regrade": True}
    ((_, each),) = imported(tmp_path / "each", **typed)
    assert [line["resps"] for line in each[:3]] == [[[text]] for text in texts]
    assert [line["filtered_resps"] for line in each[:3]] == [["4"], ["5"], ["5"]]
    ((record, pooled),) = imported(tmp_path / "pooled", vote=vote, votes=True, **typed)
    assert record["accuracy"] == 0 and len(pooled) == 2
    assert [(sample["text"], sample["extracted"]) for sample in pooled[0]["samples"]] == list(zip(texts, "455"))
    assert pooled[0]["resps"] == [texts] and pooled[0]["filtered_resps"] == ["4", "5", "5"]
    for cell in ("each", "pooled"):  # f1 is that of lm-eval's first repeat, or of all
        assert results(tmp_path / cell).keys() == {"alias", "exact_match,none", "exact_match_stderr,none"}


def results(directory):
    (found,) = json.loads((directory / "0" / "results.json").read_text())["results"].values()
    return found


GSM8K = "She makes 9*2 = $18 every day at the farmer's market.\n"


@pytest.mark.parametrize(
    ("text", "target", "read_as"),
    [
        (f"{GSM8K}#### 18", "#### 18", "18"),
        (" #### 18", "#### 18", "18"),
        ("Answer: Janet sells 16 - 3 - 4 = 9 eggs.\n#### 18", "18", "18"),
        ("#### $1,234\n\n", "18", "1234"),
        ("#### 1/2", "#### 0.5", "1/2"),
        ("#### 17\nWait.\nAnswer: 18", "18", "18"),
        ("#### Step 3: sum up\nThe answer is 18.", "18", "18"),
        ("The answer is 18.\n#### Conclusion", "18", "18"),
        ("#### Final Answer\n\\boxed{18}", "18", "18"),
        ("No.\n#### Evelyn", "Evelyn", "Evelyn"),
        ("So.\n#### (C)", "C", "C"),
        ("#### (A) toluene\nNo.\n#### (D) benzene\nIt does not fit. The answer is C.", "C", "C"),
        ("#### (D) benzene\nIt does not fit, so it is the other.", "C", None),
        ("N", "N - 1", "N"),
        ("\\boxed{N-1}", "N - 1", "N-1"),
        ("P - Q", "P - Q", "P - Q"),
        ("\\boxed{x}", "x", "x"),
        ("Answer: n+1", "n", "n+1"),
        ("Answer: B, since it doubles", "b", "b"),
    ],
)
def test_what_is_read_when_it_is_graded_here(text, target, read_as):
    assert grading.read(text, grading._target(target)) == read_as


@pytest.mark.parametrize(
    ("text", "target", "score"),
    [
        (f"{GSM8K}#### 18", "#### 18", 1),
        (f"{GSM8K}#### 17", "#### 18", 0),
        ("N", "N - 1", 0),
        ("\\boxed{N-1}", "N - 1", 1),
        ("P - Q", "P", 0),
        ("P", "P - Q", 0),
        ("i", "i", 1),
    ],
)
def test_grades_of_answers_that_look_like_letters_or_end_in_a_mark(tmp_path, text, target, score):
    file = jsonl(tmp_path / "samples_t.jsonl", [old(0, False, text) | {"target": target}])
    ((record, (line,)),) = imported(tmp_path / "out", format="lm_eval", files=str(file), model="m", regrade=True)
    assert (line["score"], line["no_answer"], record["accuracy"]) == (score, False, score)


def test_a_line_of_something_else_is_noticed(tmp_path):
    file = jsonl(tmp_path / "samples_t.jsonl", [old(0, True), {"id": 3, "grading": "A"}])
    with pytest.raises(SettingError, match=r"line 2 has no doc_id.*import\.format=table"):
        read(settings(format="lm_eval", files=str(file), model="m"))
