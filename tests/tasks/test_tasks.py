"""Loading and grading whole tasks: shipped, local files, lm-eval's own; and every kind of bad setting."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from s1x.tasks import load_task
from s1x.tasks.sources import SHIPPED, alike
from s1x.tiny import benchmarks

CONF = Path(__file__).parents[2] / "conf"


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_shipped_files_are_what_the_generator_writes(tmp_path):
    benchmarks.write(tmp_path)
    for name in ("tiny_math.jsonl", "tiny_mc.jsonl"):
        assert (tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes()


def test_importing_tasks_is_light():
    heavy = "{'torch', 'lm_eval', 'datasets', 'sympy', 'math_verify'}"
    code = f"import sys, s1x.tasks; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("name", ["tiny_math", "tiny_mc"])
@pytest.mark.parametrize("target", ["1/2", "1.5", "1,234", "5.0", "B", "x+1", "18 dollars"])
def test_own_targets_of_another_kind_are_graded_as_mathematics(tmp_path, name, target):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"question": "How much?", "answer": target}) + "\n")
    task = load_task({"name": name, "lm_eval": name, "file": str(file), "max_answer_tokens": 16})
    texts = [f"Final Answer: {target}", rf"so \boxed{{{target}}}.", "Answer: 77", "well"]
    assert [g.score for g in task.grade([(task.questions[0], text) for text in texts])] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("target", "right", "wrong"),
    [
        (5, ["x=5", r"\boxed{x=5}", "2+3", "five", "5%", "5.0"], ["6", "5.5", "x=6"]),
        ("50%", ["50", "0.5", "1/2", r"\frac{1}{2}", "50%"], ["0.4", "5"]),
        ("12 m/s", ["12", "12 m/s", r"$12\,\mathrm{m/s}$"], ["13 m/s", "12 km/h"]),
        ("2023-01-05", ["2023-01-05"], ["2023-05-01", "2017"]),
        ("x", ["x", r"\boxed{x}", "X"], ["y", "x+1", "2x"]),
        ("n", ["n"], ["m", "n - 1"]),
        ("e", ["e"], ["e^2", "i"]),
        ("i", ["i"], ["-i", "e"]),
        ("N - 1", ["N - 1", r"\boxed{N-1}", "-1 + N"], ["N", "N + 1", "(N) 12"]),
        ("P - Q", ["P - Q", "-Q + P"], ["P", "Q - P"]),
        ("C is the center", ["C is the center"], ["C", "B is the center"]),
        ("b", ["b", "B", "(B) 12", "b) 12"], ["a", "(A) 12"]),
        ("(C) 12", ["C", "(C)", "C) 12"], ["B", "B) 12", "C or D"]),
    ],
)
def test_answers_to_ones_own_questions_are_read_as_other_models_write_them(tmp_path, target, right, wrong):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"question": "How much?", "answer": target}) + "\n", encoding="utf-8-sig")
    task = load_task({"lm_eval": "tiny_math", "file": str(file)})
    grades = task.grade([(task.questions[0], f"Final Answer: {text}") for text in (*right, *wrong, "I do not know")])
    assert [g.score for g in grades] == [1] * len(right) + [0] * (len(wrong) + 1)


@pytest.mark.parametrize(
    ("target", "right", "wrong"),
    [
        ("N - 1", ["N - 1", r"\boxed{N-1}"], ["N", "N + 1"]),
        ("b", ["b", "(B)", "B) 12 m", "Option b"], ["a", "A) 12 m"]),
        ("B. 12 m", ["B", "(B) 12 m", "b)"], ["A", "A or B"]),
    ],
)
def test_mathematics_among_choices_is_no_letter(tmp_path, target, right, wrong):
    (tmp_path / "mine.jsonl").write_text(json.dumps({"question": "Which?", "answer": target}) + "\n")
    task = load_task({"lm_eval": "tiny_mc", "file": str(tmp_path / "mine.jsonl")})
    grades = task.grade([(task.questions[0], f"Final Answer: {text}") for text in (*right, *wrong)])
    assert [g.score for g in grades] == [1] * len(right) + [0] * len(wrong)


def test_files_that_are_not_utf_8(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes('{"question": "Wie groß?", "answer": "5"}\n'.encode("latin-1"))
    with pytest.raises(ValueError, match="latin.jsonl: the file must be UTF-8, and byte 22 is not"):
        load_task({"lm_eval": "tiny_math", "file": str(tmp_path / "latin.jsonl")})


def test_tiny_math(offline):
    task = load_task({"name": "tiny_math", "lm_eval": "tiny_math", "max_answer_tokens": 16})
    assert len(task.questions) == 320 and task.until == () and task.max_answer_tokens == 16
    problems = benchmarks.load("test")
    assert [(q.text, q.target) for q in task.questions] == [(p.question, p.answer) for p in problems]
    question = task.questions[3]
    texts = [f"\nFinal Answer: {question.target}", f"Answer: 0{question.target}", "Answer: 1000", "well", ""]
    grades = task.grade([(question, text) for text in texts])
    assert [g.score for g in grades] == [1, 1, 0, 0, 0]
    assert [g.no_answer for g in grades] == [False, False, False, True, True]
    assert [g.extracted for g in grades] == [question.target.lstrip("0")] * 2 + ["1000", None, None]
    assert grades[0].metrics == {"exact_match": 1.0, "no_answer": 0.0, "not_graded": 0.0}


@pytest.mark.parametrize("name", ["tiny_math", "tiny_mc"])
@pytest.mark.parametrize("split", ["design", "confirm"])
def test_other_splits_come_from_the_generator(name, split, offline):
    task = load_task({"lm_eval": name, "split": split, "limit": 50})
    problems = benchmarks.load(split, choices=name == "tiny_mc")[:50]
    assert [q.text for q in task.questions] == [p.question for p in problems]
    assert all(g.score == 1 for g in task.grade((q, f"Final Answer: {p.answer}") for q, p in zip(task.questions, problems)))


def test_hard_problems_are_long_and_not_those_of_tiny_math(offline):
    hard, math = (load_task({"lm_eval": name, "split": None, "limit": None}) for name in ("tiny_hard", "tiny_math"))
    assert len(hard.questions) == 160
    assert min(len(p.steps) for p in benchmarks.load("confirm") if p.question in {q.text for q in hard.questions}) == 5
    assert not {q.text for q in hard.questions} & {q.text for q in math.questions}


def test_records_and_scores_are_lm_evals_own(offline):
    """The same responses through lm-eval's evaluator, with our task files and nothing else of ours."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    from s1x.tasks.library import YAML

    class Canned(LM):
        def generate_until(self, requests):
            return [f"Final Answer: {'?' if i % 2 else r.doc['answer']}" for i, r in enumerate(requests)]

        loglikelihood = loglikelihood_rolling = None

    names = ["tiny_math", "tiny_mc"]
    manager = TaskManager(include_path=YAML, include_defaults=False)
    theirs = simple_evaluate(Canned(), tasks=names, limit=4, task_manager=manager, log_samples=True, bootstrap_iters=0)
    for name in names:
        task = load_task({"lm_eval": name, "limit": 4})
        for sample, question in zip(theirs["samples"][name], task.questions, strict=True):
            text = sample["resps"][0][0]
            record = task.record(question, text, task.grade([(question, text)])[0])
            assert json.loads(json.dumps(record)) == record
            (sample["arguments"],) = ({"gen_args_0": {"arg_0": a[0], "arg_1": a[1]}} for a in sample["arguments"])
            assert record == sample
        assert theirs["results"][name]["exact_match,answer"] == theirs["results"][name]["no_answer,answer"] == 0.5


def test_math500_from_a_local_file(tmp_path, offline):
    rows = [
        {"problem": "Half?", "answer": "\\frac{1}{2}", "level": 1},
        {"problem": "An interval?", "answer": "[1,2]", "level": 2},
        {"problem": "A number?", "answer": "113", "level": 3},
    ]
    task = load_task({"lm_eval": "math500", "file": lines(tmp_path / "math.jsonl", rows)})
    half, interval, number = task.questions
    assert half.text == "Half?" and interval.target == "[1,2]"  # not made a list
    task.start_grading(half, "\\boxed{0.5}")
    asked = [
        (half, "\\boxed{0.5}"),
        (half, "Answer: 1/3"),
        (interval, "Answer: $[1, 2]$"),
        (interval, "Answer: (1,2)"),
        (number, "\\boxed{0113}"),
        (number, "it is 113"),
        (half, "\\boxed{9^{9^{9^9}}}"),
    ]
    grades = task.grade(asked)
    assert [g.score for g in grades] == [1, 0, 1, 0, 1, 0, 0]
    assert [g.no_answer for g in grades] == [False] * 5 + [True, False]


def test_gpqa_choices_depend_on_the_question_alone(tmp_path, offline):
    wrong = {f"Incorrect Answer {k}": f"wrong {k}" for k in (1, 2, 3)}
    rows = [{"Question": f"Q{i}?", "Correct Answer": f"right {i}", "Other": 1, **wrong} for i in range(40)]
    task = load_task({"lm_eval": "gpqa_diamond", "file": lines(tmp_path / "a.jsonl", rows)})
    swapped = [{**row, "Incorrect Answer 1": "wrong 3", "Incorrect Answer 3": "wrong 1"} for row in rows]
    (tmp_path / "b.json").write_text(json.dumps(swapped[::-1]))
    again = load_task({"lm_eval": "gpqa_diamond", "file": str(tmp_path / "b.json")})
    assert {q.text: q.target for q in task.questions} == {q.text: q.target for q in again.questions}
    assert {q.target for q in task.questions} == set("ABCD")
    question = task.questions[0]
    assert question.text.startswith("Q0?\n\nA) ") and f"{question.target}) right 0" in question.text
    other = next(letter for letter in "ABCD" if letter != question.target)
    grades = task.grade([(question, f"Answer: {question.target}"), (question, f"Answer: {other}"), (question, "no idea")])
    assert [(g.score, g.no_answer) for g in grades] == [(1, False), (0, False), (0, True)]


def test_parquet_files(tmp_path, offline):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"problem": ["1+1?"], "answer": [2]}), tmp_path / "a.parquet")
    task = load_task({"lm_eval": "aime24", "file": str(tmp_path / "a.parquet")})
    assert task.questions[0].target == "2" and task.grade([(task.questions[0], "Answer: 2")])[0].score == 1


def test_a_task_of_lm_eval_by_name(tmp_path, offline):
    """gsm8k: its own prompt, two filters, stop strings and metric."""
    rows = [{"question": f"What is {i} and {i}?", "answer": f"It is.\n#### {2 * i}"} for i in range(10)]
    task = load_task({"lm_eval": "gsm8k", "file": lines(tmp_path / "gsm.jsonl", rows), "limit": 3, "num_fewshot": 0})
    question = task.questions[1]
    assert question.text == "Question: What is 1 and 1?\nAnswer:"
    assert "Question:" in task.until and task.filter == "strict-match"
    exact, loose = task.grade([(question, "#### 2"), (question, "so 2.")])
    assert (exact.score, exact.extracted, exact.no_answer) == (1, "2", False)
    assert (loose.score, loose.extracted, loose.no_answer) == (0, None, True)
    assert loose.metrics["exact_match,flexible-extract"] == 1
    settings = {"file": str(tmp_path / "gsm.jsonl"), "num_fewshot": 0}
    flexible = load_task({"lm_eval": "gsm8k", "filter": "flexible-extract", **settings})
    assert flexible.grade([(flexible.questions[1], "so 2.")])[0].score == 1


@pytest.mark.parametrize("name", ["aime24", "aime25"])
def test_of_two_tasks_of_one_name_each_group_means_its_own(tmp_path, offline, name):
    columns = {"aime24": ("Problem", "Answer"), "aime25": ("problem", "answer")}[name]
    theirs = {"lm_eval": name, "own": False, "file": lines(tmp_path / "theirs.jsonl", [dict(zip(columns, ["1+1?", 2]))])}
    ours = {"lm_eval": name, "file": lines(tmp_path / "ours.jsonl", [{"problem": "1+1?", "answer": 2}])}
    assert load_task(ours).lm_eval.config.process_results.__module__ == "s1x.tasks.graders"
    assert load_task(theirs).lm_eval.config.process_results.__module__ != "s1x.tasks.graders"
    assert load_task({"lm_eval": "tiny_math", "own": False, "limit": 1}).questions  # lm-eval has none of that name


def test_the_task_groups_say_whose_they_mean():
    from hydra import compose, initialize_config_dir

    from s1x.composition import BASE, register
    from s1x.tasks.library import YAML, find

    register()
    with initialize_config_dir(str(CONF), **BASE):
        found = {
            group: find(task.lm_eval, own=task.get("own", True))
            for group in ("aime24", "lm_eval")
            for task in [compose("config", [f"task={group}", *(["task.lm_eval=aime24"] * (group == "lm_eval"))]).task]
        }
    assert found["aime24"].parent == YAML and "lm_eval" in found["lm_eval"].parts


def test_aime25_reads_the_hubs_columns_and_those_of_a_file():
    from datasets import Dataset

    from s1x.tasks.graders import aime25_docs

    hub = Dataset.from_list([{"id": "0", "question": "1+1?", "answer": "2"}])
    file = Dataset.from_list([{"problem": "1+1?", "answer": "2"}, {"problem": "2+2?", "answer": "4"}])
    both = Dataset.from_list([{"problem": "1+1?", "question": "which?", "answer": "2"}])
    assert [aime25_docs(docs)["problem"][0] for docs in (hub, file, both)] == ["1+1?"] * 3


def test_a_task_file_of_ones_own(tmp_path, offline):
    lines(tmp_path / "capitals.jsonl", [{"land": "France", "city": "Paris"}])
    (tmp_path / "capitals.yaml").write_text(
        "task: capitals\ndataset_path: json\ntest_split: test\noutput_type: generate_until\n"
        'doc_to_text: "Capital of {{land}}?"\ndoc_to_target: city\ngeneration_kwargs: {until: ["\\n"]}\n'
    )
    task = load_task({"name": "mine", "lm_eval": str(tmp_path / "capitals.yaml"), "file": str(tmp_path / "capitals.jsonl")})
    assert task.name == "mine" and task.until == ("\n",) and task.questions[0].text == "Capital of France?"
    assert [g.score for g in task.grade([(task.questions[0], "Paris"), (task.questions[0], "Rome")])] == [1, 0]


def test_a_task_file_beside_the_package(tmp_path, monkeypatch, offline):
    """As in a checkout's root: functions of s1x are s1x's, whatever lies beside."""
    (tmp_path / "s1x" / "tasks").mkdir(parents=True)
    (tmp_path / "s1x" / "tasks" / "graders.py").write_text("from . import answers\n")
    (tmp_path / "utils.py").write_text("def text(doc):\n    return doc['q'] + '?'\n")
    lines(tmp_path / "q.jsonl", [{"q": "What", "answer": "3"}])
    (tmp_path / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\ntest_split: test\noutput_type: generate_until\n"
        "doc_to_text: !function utils.text\ndoc_to_target: answer\n"
        "process_results: !function s1x.tasks.graders.grade_math\n"
        "filter_list:\n  - name: a\n    filter:\n      - {function: custom, filter_fn: !function "
        "s1x.tasks.graders.extract_math}\n      - {function: take_first}\n"
        "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true}\n"
    )
    monkeypatch.chdir(tmp_path)
    task = load_task({"lm_eval": "mine.yaml", "file": "q.jsonl"})
    assert task.questions[0].text == "What?"
    assert [g.score for g in task.grade([(task.questions[0], t) for t in ("Answer: 6/2", "Answer: 4")])] == [1, 0]


@pytest.mark.parametrize(
    "function", ["nowhere.at_all", "s1x.tasks.graders.nothing", "s1x.no_such.thing", "os.no_such_name", "alone"]
)
def test_a_task_file_whose_function_is_not_there_is_one_sentence(tmp_path, function):
    (tmp_path / "mine.yaml").write_text(f"task: mine\noutput_type: generate_until\nprocess_results: !function {function}\n")
    with pytest.raises(ValueError, match="task.lm_eval=.*mine.yaml: the task file cannot be read") as error:
        load_task({"lm_eval": str(tmp_path / "mine.yaml")})
    assert "\n" not in str(error.value)
    (tmp_path / "mine.yaml").write_text("task: mine\noutput_type: generate_until\nprocess_results: [\n")
    with pytest.raises(ValueError, match="cannot be read"):
        load_task({"lm_eval": str(tmp_path / "mine.yaml")})


@pytest.mark.parametrize(
    ("answers", "targets"),
    [
        ([5, "x+1"], ["5", "x+1"]),
        ([5, 0.5, 2], ["5", "0.5", "2"]),  # as one number column, 5.0
        ([10**30, 7], [str(10**30), "7"]),
        (["true", -4, "[1, 2]"], ["true", "-4", "[1, 2]"]),
    ],
)
def test_answers_of_several_kinds(tmp_path, offline, answers, targets):
    rows = [{"question": f"{i}?", "answer": answer, "extra": [i, "a"]} for i, answer in enumerate(answers)]
    task = load_task({"lm_eval": "tiny_math", "file": lines(tmp_path / "mixed.jsonl", rows)})
    assert [q.target for q in task.questions] == targets
    assert task.questions[1].doc["extra"] == ["1", "a"]


def test_columns_that_arrow_can_keep_stay_as_they_are():
    rows = [{"a": 1, "b": {"c": [1, 2]}, "d": None}, {"a": 2, "b": {"c": []}, "d": "x"}]
    assert alike(rows) == rows
    odd = [{"b": {"c": 1}}, {"b": {"c": "x"}, "e": {}}, {"b": None}]
    assert alike(odd) == [{"b": {"c": "1"}, "e": None}, {"b": {"c": "x"}, "e": {}}, {"b": None, "e": None}]


@pytest.mark.parametrize(
    ("cfg", "words"),
    [
        ({"lm_eval": "tiny_maths"}, ["no such task", "did you mean tiny_math", "gsm8k", "aime24"]),
        ({"lm_eval": "hellaswag"}, ["multiple_choice", "generate_until"]),
        ({"lm_eval": "mmlu"}, ["group"]),
        ({"lm_eval": "nowhere.yaml"}, ["nowhere.yaml", "no such file"]),
        ({"lm_eval": "tiny_math", "limit": 0}, ["task.limit=0", "at least 1"]),
        ({"lm_eval": "tiny_math", "limit": -3}, ["task.limit=-3"]),
        ({"lm_eval": "tiny_math", "repeats": 0}, ["task.repeats=0"]),
        ({"lm_eval": "tiny_math", "repeats": None}, ["task.repeats=None"]),
        ({"lm_eval": "tiny_math", "split": "dev"}, ["task.split=dev", "design"]),
        ({"lm_eval": "tiny_math", "metric": "f1"}, ["task.metric=f1", "exact_match"]),
        ({"lm_eval": "tiny_math", "filter": "x"}, ["task.filter=x", "answer"]),
        ({"lm_eval": "tiny_math", "shots": 3}, ["task.shots"]),
        ({"name": "a/b", "lm_eval": "tiny_math"}, ["task.name=a/b"]),
        ({}, ["task.lm_eval"]),
        ({"lm_eval": "tiny_math", "file": "nowhere.jsonl"}, ["task.file=nowhere.jsonl", "no such file"]),
    ],
)
def test_bad_settings_are_one_sentence(cfg, words):
    with pytest.raises(ValueError) as error:
        load_task(cfg)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"question": "1?", "answer": "1"}\n{"question": \n', ["line 2", "JSON"]),
        ("a.jsonl", '{"question": "1?", "answer": "1"}\n\n[1]\n', ["line 3", "list"]),
        ("a.jsonl", '{"question": "1?"}\n', ["line 1", "'answer'"]),
        (
            "a.jsonl",
            '{"question": "1?", "answer": 1}\n\n{"question": "2?", "answer": [1, 2]}',
            ["line 3: answer=[1, 2]: must be"],
        ),
        ("a.jsonl", '{"question": "1?", "answer": {"a": 1}}', ['line 1: answer={"a": 1}: must be text or a number']),
        ("a.jsonl", '{"question": "1?", "answer": true}', ["line 1: answer=true: must be text or a number"]),
        ("a.jsonl", '{"question": "1?", "answer": null}', ["line 1: answer=null: must be"]),
        ("a.jsonl", '{"question": "1?", "answer": NaN}', ["line 1: answer=NaN: must be"]),
        ("a.jsonl", '{"question": " ", "answer": 1}', ['line 1: question=" ": must be']),
        (
            "a.json",
            '[{"question": "1?", "answer": 1}, {"question": ["2?"], "answer": 2}]',
            ['entry 2: question=["2?"]: must be'],
        ),
        ("a.jsonl", "", ["no questions"]),
        ("a.json", '[{"question": "1?",\n "answer": }]', ["line 2"]),
        ("a.json", '{"question": "1?"}', ["list"]),
        ("a.parquet", "not parquet", ["a.parquet"]),
        ("a.txt", "x", [".jsonl"]),
    ],
)
def test_malformed_files_are_one_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError) as error:
        load_task({"lm_eval": "tiny_math", "file": str(tmp_path / name)})
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in ["task.file=", *words]), str(error.value)


def test_a_file_that_does_not_fit_the_prompt(tmp_path):
    with pytest.raises(ValueError, match="task.file=.*gsm8k"):
        load_task({"lm_eval": "gsm8k", "file": lines(tmp_path / "x.jsonl", [{"q": 1}])})


@pytest.mark.parametrize("name", ["aime24", "aime25", "math500", "gpqa_diamond", "gsm8k"])
def test_an_unreachable_hub_is_one_quick_sentence(name, monkeypatch, tmp_path):
    import socket
    import time

    import datasets.config

    def unreachable(*args, **kwargs):
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    begun = time.perf_counter()
    with pytest.raises(ValueError, match="task.file") as error:
        load_task({"lm_eval": name})
    assert "hub" in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith("task.lm_eval=gsm8k needs " if name == "gsm8k" else f"task={name} needs ")  # as typed
    assert time.perf_counter() - begun < 20  # datasets alone retries for 23 s
    assert not datasets.config.HF_HUB_OFFLINE  # as it was
