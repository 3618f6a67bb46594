"""Grading in a whole run: the judge's verdicts in every file, and tasks whose own code fails or hangs."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest

from s1x.tasks import grading, second
from s1x.tasks.equivalence import rules

from ..tasks.judging import JudgeServer, Told, closed_url

RUN = ["engine=scripted", "tracking=none", "store.dir=store", "hydra.run.dir=out", "hydra.sweep.dir=out", "task.limit=8"]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(second, "PAUSE_S", 0.01)


def records(tmp_path):
    return {p.parent.name: json.loads(p.read_text()) for p in sorted((tmp_path / "out").glob("**/cell.json"))}


def samples(tmp_path, cell=""):
    (path,) = (tmp_path / "out" / cell).glob("samples_*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def log(tmp_path):
    return (tmp_path / "out" / "run.log").read_text()


def judged(server, **more):
    fields = {"url": server.url, "model": server.model, "retries": 0} | more
    return f"task.judge={{{','.join(f'{key}:{value}' for key, value in fields.items())}}}"


def even(key, answer):
    return f"Verdict: {'right' if len(answer) % 2 else 'wrong'}"


def test_the_judges_verdicts_are_in_the_files_on_the_page_and_kept(command, tmp_path):
    with JudgeServer(even) as server:
        status, err = command(judged(server), *RUN)
        assert status == 0, err
        (record,) = records(tmp_path).values()
        lines = samples(tmp_path)
        asked = [line for line in lines if "judge" in line]
        changed = sum(line["judge"] == "same" for line in asked)
        assert 0 < changed < len(asked) == len(server.requests) <= 8
        assert record["graded_by"] == {
            "rules": 8 - len(asked), "judge": len(asked), "judge_changed": changed, "judge_failed": 0, "not_graded": 0
        }  # fmt: skip
        assert record["accuracy"] * 8 == sum(line["score"] for line in lines) >= changed
        assert record["settings"]["task.judge"] == "judge"
        assert all(line["exact_match"] == line["score"] for line in lines)
        assert f"The judge decided {len(asked)} of 8 answers and changed {changed} to right." in log(tmp_path)
        page = (tmp_path / "out" / "report.html").read_text()
        assert "judged right" in page and "no verdict" not in page and "not graded" not in page
        first, _ = lines, (tmp_path / "out").rename(tmp_path / "before")
        count = len(server.requests)
        assert command(judged(server), *RUN)[0] == 0
        assert len(server.requests) == count and samples(tmp_path) == first
        assert command(*RUN, "hydra.run.dir=off")[0] == 0
    off = json.loads((tmp_path / "off" / "cell.json").read_text())
    assert off["accuracy"] == record["accuracy"] - changed / 8 and off["graded_by"]["rules"] == 8
    assert "judged" not in (tmp_path / "off" / "summary.md").read_text()


def test_a_judge_holds_up_nothing_that_is_to_be_generated(command, tmp_path):
    """It answers nothing before it has been asked about both cells, of which the second is generated meanwhile."""
    both = threading.Event()

    def say(key, answer):
        if len(server.requests) > 8:
            both.set()
        return "Verdict: right" if both.wait(60) else "Verdict: wrong"

    with JudgeServer(say) as server:
        status, err = command(
            "-m", "method.max_thinking_tokens=16,400", judged(server, in_flight=64), "engine.capacity=2", *RUN
        )
    assert status == 0 and both.is_set(), err
    assert [r["graded_by"]["judge_changed"] for r in records(tmp_path).values()] == [
        r["graded_by"]["judge"] for r in records(tmp_path).values()
    ]


def test_a_pools_answers_are_each_judged(command, tmp_path):
    with JudgeServer(even) as server:
        status, err = command(
            judged(server), "method=majority_voting", "method.n=4", "sampling.temperature=1", *RUN, "task.limit=3"
        )
    assert status == 0, err
    (record,) = records(tmp_path).values()
    members = [m for line in samples(tmp_path) for m in line["samples"]]
    assert len(members) == sum(record["graded_by"][key] for key in ("rules", "judge", "not_graded")) == 12
    assert record["graded_by"]["judge_changed"] == sum(m.get("judge") == "same" for m in members) > 0


def test_a_judge_that_fails_in_mid_run_is_counted_and_said(command, tmp_path):
    def say(key, answer):
        if len(server.requests) > 2:
            raise Told(500, "out of order")
        return "Verdict: wrong"

    with JudgeServer(say) as server:
        status, err = command(judged(server, in_flight=1), *RUN)
    (record,) = records(tmp_path).values()
    by = record["graded_by"]
    assert status == 0 and by["judge"] == 2 and by["judge_failed"] >= 4 and by["rules"] + 2 == 8
    assert f"it gave no verdict on {by['judge_failed']}" in log(tmp_path) and "HTTP status 500" in log(tmp_path)
    assert "Traceback" not in err + log(tmp_path)


def test_a_judge_that_cannot_be_asked_is_refused_before_anything_is_generated(command, tmp_path):
    for setting, words in (
        (f"task.judge={{url:{closed_url()},model:judge}}", "task.judge.url="),
        (
            "task.judge={url:http://localhost:1,model:judge,api_key_env:S1X_NO_KEY}",
            "task.judge.api_key_env: no environment variable",
        ),
        ("task.judge={url:http://localhost:1}", "task.judge.model=None"),
        ("task.judge=on", "task.judge="),
    ):
        status, err = command(setting, *RUN)
        assert status == 2 and words in err and err.count("\n") == 1, err
    assert not list(tmp_path.glob("store/*"))


TASK = """\
task: {name}
custom_dataset: !function {name}_code.questions
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
generation_kwargs: {{until: [], max_gen_toks: 16}}
filter_list:
  - name: answer
    filter:
      - {{function: custom, filter_fn: !function {name}_code.read}}
      - {{function: take_first}}
process_results: !function {name}_code.score
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
num_fewshot: 0
"""
CODE = """\
import re, time
from datasets import Dataset

def questions(**_):
    return {{"test": Dataset.from_list([{{"question": f"What is {{i}}?", "answer": str(i)}} for i in range(8)])}}

def read(responses, docs):
    if docs[0]["answer"] == "3":
        {read}
    return [[text for text in group] for group in responses]

def score(doc, results):
    if doc["answer"] == "3":
        {score}
    return {{"exact_match": 0}}
"""
FAULTS = {
    "filter raises": ("1 / 0", "pass", "reading the answer of question 3 failed (ZeroDivisionError: division by zero)"),
    "filter loops": ("\n        while True: pass", "pass", "reading the answer of question 3 took more than 1 s"),
    "filter sleeps": ("time.sleep(600)", "pass", "reading the answer of question 3 took more than 1 s"),
    "expression": ("re.match('(a+)+$', 'a' * 60 + 'b')", "pass", "reading the answer of question 3 took more than 1 s"),
    "stubborn": (
        "\n        try: time.sleep(600)\n        except Exception: time.sleep(600)",
        "pass",
        "reading the answer of question 3 took more than 1 s",
    ),
    "score raises": ("pass", "raise KeyError('gone')", "scoring the answer of question 3 failed (KeyError: 'gone')"),
    "score loops": ("pass", "\n        while True: pass", "scoring the answer of question 3 took more than 1 s"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_task_that_fails_or_hangs_costs_its_own_cell(command, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(grading, "SECONDS", 1.0)
    read, score, words = FAULTS[fault]
    for name, parts in (("bad", (read, score)), ("good", ("pass", "pass"))):
        (tmp_path / f"{name}.yaml").write_text(TASK.format(name=name))
        (tmp_path / f"{name}_code.py").write_text(CODE.format(read=parts[0], score=parts[1]))
    begun = time.monotonic()
    status, err = command("-m", "task=lm_eval", "task.lm_eval=bad.yaml,good.yaml", *RUN)
    assert status == 1 and time.monotonic() - begun < 60
    assert [r["task"] for r in records(tmp_path).values()] == ["good"]
    assert f"job 0 failed: task bad: {words}" in err
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_grading_that_takes_long_shows_how_far_it_is(command, tmp_path, monkeypatch):
    (tmp_path / "q.jsonl").write_text("".join(json.dumps({"question": f"{i}?", "answer": f"{i}x"}) + "\n" for i in range(6)))
    bombs = iter(range(100))
    monkeypatch.setattr(
        "s1x.evaluation.samples.graded_text",
        lambda *_: rf"\boxed{{\int_0^1 \frac{{\sin(x^{next(bombs) % 6 + 3})}}{{1+x^5+e^x}} dx}}",
    )
    monkeypatch.setattr("s1x.evaluation.progress.LOG_SECONDS", 0.2)
    rules.close()
    monkeypatch.setattr(rules, "seconds", 0.5)
    try:
        status, err = command("task.file=q.jsonl", *RUN)
    finally:
        rules.close()
    assert status == 0 and "answers to grade" in log(tmp_path), err
    (record,) = records(tmp_path).values()
    assert record["graded_by"]["not_graded"] == 6 and "Not graded: 6 of 6" in log(tmp_path)


def test_answers_that_could_not_be_compared_are_counted_and_said(command, tmp_path, monkeypatch):
    """Workers of ours die, again and again."""
    (tmp_path / "q.jsonl").write_text("".join(json.dumps({"question": f"{i}?", "answer": f"{i}x"}) + "\n" for i in range(3)))
    over = threading.Event()

    def killer():
        while not over.wait(0.02):
            for process in rules._pool.processes() if rules._pool else ():
                os.kill(process, signal.SIGKILL)

    monkeypatch.setattr("s1x.evaluation.samples.graded_text", lambda *_: r"\boxed{x + x - 1}")
    threading.Thread(target=killer, daemon=True).start()
    try:
        status, err = command("task.file=q.jsonl", *RUN)
    finally:
        over.set()
    (record,) = records(tmp_path).values()
    assert status == 0 and record["graded_by"]["not_graded"] == 3, err
    assert "Not graded: 3 of 3 answers" in log(tmp_path)
    assert "not graded" in (tmp_path / "out" / "summary.md").read_text()
