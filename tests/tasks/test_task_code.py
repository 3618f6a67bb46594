"""Tasks with code of their own: metrics, examples before a question, and what s1x cannot run, in a sentence each."""

from __future__ import annotations

import pytest

from s1x.tasks import load_task

from .test_tasks import lines

CUSTOM = """task: capitals
custom_dataset: !function capitals.questions
test_split: test
output_type: generate_until
doc_to_text: "Capital of {{land}}?"
doc_to_target: city
generation_kwargs: {until: []}
"""
QUESTIONS = """from datasets import Dataset

ROWS = [{"land": f"L{i}", "city": f"C{i}", "image": "x.png"} for i in range(8)]


def questions(**_):
    return {"test": Dataset.from_list(ROWS[:4]), "train": Dataset.from_list(ROWS[4:]), "both": Dataset.from_list(ROWS)}


def halves(doc, results):
    return {"halves": 0.5, "bleu": (doc["city"], results[0])}


def percent(doc, results):
    return {"percent": 100.0 * (results[0] == doc["city"])}


def breaks(doc, results):
    return {"words": len(results[0].split()) / len(results[0])}
"""
MEAN = "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"


def own(tmp_path, more="", **settings):
    (tmp_path / "capitals.py").write_text(QUESTIONS)
    (tmp_path / "capitals.yaml").write_text(CUSTOM + more)
    return load_task({"name": "mine", "lm_eval": str(tmp_path / "capitals.yaml"), **settings})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("doc_to_image: image\n", r"asks about images \(doc_to_image\)"),
        ("doc_to_image: [image]\n", "asks about images"),
        ("doc_to_audio: image\n", "asks about sound"),
        ('gen_prefix: "The capital is"\n', r"begins the answer itself \(gen_prefix: 'The capital is'\)"),
        ('gen_prefix: "{{land}} has"\n', "begins the answer itself"),
    ],
)
def test_tasks_of_another_kind(tmp_path, offline, more, message):
    with pytest.raises(ValueError, match=message):
        own(tmp_path, MEAN + more)


def bring(metric):
    return "metric_list: [" + ", ".join(f"{{metric: {m}, aggregation: mean, higher_is_better: true}}" for m in metric) + "]\n"


@pytest.mark.parametrize(
    ("more", "settings", "message"),
    [
        (
            bring(["bleu"]).replace("mean", "bleu"),
            {},
            "task.metric=bleu: .* gives no number for one answer.* write a task file",
        ),
        (bring(["chrf"]).replace("mean", "chrf"), {}, "task.metric=chrf: .* gives no number"),
        (bring(["ter"]).replace("mean", "ter"), {}, "task.metric=ter: .* gives no number"),
        (
            bring(["bleu", "halves"]) + "process_results: !function capitals.halves\n",
            {},
            "task.metric=bleu: .* gives no number for one answer, .*; choose halves",
        ),
        (
            bring(["percent"]) + "process_results: !function capitals.percent\n",
            {},
            "task.metric=percent: .* gives 100.0 for one",
        ),
    ],
)
def test_metrics_that_are_no_score_of_one_answer(tmp_path, offline, more, settings, message):
    with pytest.raises(ValueError, match=message):
        own(tmp_path, more, **settings)


def test_metrics_that_are(tmp_path, offline):
    bleu = bring(["bleu", "halves"]) + "process_results: !function capitals.halves\n"
    assert own(tmp_path, bleu, metric="halves").metric == "halves"
    (tmp_path / "b").mkdir()
    task = own(tmp_path / "b", bring(["words"]) + "process_results: !function capitals.breaks\n")  # "" breaks it: no verdict
    assert [g.score for g in task.grade([(task.questions[0], "a")])] == [1]


@pytest.mark.parametrize(
    ("more", "settings", "message"),
    [
        ("num_fewshot: 2\n", {}, "task=mine: mine takes the 2 solved examples before each question from the very questions"),
        ("num_fewshot: 2\nfewshot_split: both\n", {}, "from the very questions that are asked; add task.num_fewshot=0"),
        ("num_fewshot: 2\ntraining_split: train\n", {"file": True}, "task.file=.*from the very questions"),
        ("training_split: train\nnum_fewshot: 1\n", {"split": "train"}, "task.split=train: .*from the very questions"),
        ("", {"num_fewshot": 1}, "task.num_fewshot=1: .*from the very questions"),
        ("training_split: train\n", {"num_fewshot": 9}, "task.num_fewshot=9: 9 solved examples .* there are 4"),
        ("num_fewshot: 1\nfewshot_config: {samples: [{land: L1, city: C1}]}\n", {}, "from the very questions"),
        ("", {"num_fewshot": -1}, "task.num_fewshot=-1: must be a whole number"),
        ("", {"num_fewshot": True}, "task.num_fewshot=True: must be a whole number"),
        ("", {"until": "lm_eval"}, "task.until=lm_eval: must be one of auto, task, none"),
    ],
)
def test_examples_are_no_questions_that_are_asked(tmp_path, offline, more, settings, message):
    if settings.get("file"):
        settings["file"] = lines(tmp_path / "f.jsonl", [{"land": f"L{i}", "city": f"C{i}"} for i in range(5)])
    with pytest.raises(ValueError, match=message):
        own(tmp_path, MEAN + more, **settings)


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        ("num_fewshot: 2\ntraining_split: train\n", {}),
        ("training_split: train\n", {"num_fewshot": 3}),
        ("num_fewshot: 1\nfewshot_config: {samples: [{land: X, city: Y}]}\n", {"split": "train"}),
        ("num_fewshot: 1\nfewshot_config: {samples: [{land: X, city: Y}]}\n", {"file": True}),
        ("num_fewshot: 2\nfewshot_split: test\n", {}),  # lm-eval leaves out the question itself
    ],
)
def test_examples_from_elsewhere(tmp_path, offline, more, settings):
    if settings.get("file"):
        settings["file"] = lines(tmp_path / "f.jsonl", [{"land": f"L{i}", "city": f"C{i}"} for i in range(5)])
    task = own(tmp_path, MEAN + more, **settings)
    for question in task.questions:
        assert question.text.count("Capital of") >= 2 and question.target not in question.text
