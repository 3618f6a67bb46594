"""Votes whose comparisons take their time: the scheduler is never kept waiting for them."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from s1x.evaluation import cells, samples, votes
from s1x.streams.memory import MemoryStore
from s1x.streams.types import Segment, Trace
from s1x.tasks import load_task
from s1x.tasks.equivalence import rules

from ..methods.conftest import make_chat

SAID = [*(rf"\int_0^1 \frac{{\sin(x^{n})}}{{1+x^5+e^x}} dx" for n in (4, 6)), "x/2", "0.5x"]


def test_a_pool_of_answers_that_are_slow_to_compare_holds_up_nothing(tmp_path, monkeypatch):
    rows = [{"problem": "?", "answer": "x/2"}]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rules.close()
    monkeypatch.setattr(rules, "seconds", 1.0)
    task, chat, lines = load_task({"lm_eval": "math500", "file": str(tmp_path / "q.jsonl")}), make_chat(), []
    monkeypatch.setattr(cells, "finish", lambda o, apart: lines.extend(cells.grade(o)) or {})
    monkeypatch.setattr(cells.tracking, "log_cell", lambda *_: None)
    meter = SimpleNamespace(arrived=lambda: None, finished=lambda *_: None, awaited=0)
    scheduler = SimpleNamespace(drop=lambda _: None, streams=SimpleNamespace(store=MemoryStore()))
    grader = cells.Grader(scheduler, lambda *_: None, meter)
    members = [Trace((2,), [Segment("answer", tuple(chat.encode(f"Answer: {text}")))]) for text in SAID]
    opened = cells.Opened(SimpleNamespace(job=0), chat, task, None)
    steps = []

    def step(call, *arguments):
        begun = time.perf_counter()
        call(*arguments)
        steps.append(time.perf_counter() - begun)

    step(grader.begin, opened, task.questions[0], 0, Trace((2,), list(members[0].segments), samples=members))
    while not lines:
        step(grader.advance, 0)
        time.sleep(0.05)
        assert sum(steps) + 0.05 * len(steps) < 120 and not opened.failed
    assert len(steps) > 20 and max(steps) < 0.5
    (line,) = lines
    assert line["extracted"] == "x/2" and line["score"] == 1.0  # two of four agree, and are right
    rules.close()


def said(*answers, right="7"):
    fields = {"thinking_tokens": 3, "answer_tokens": 1, "waits": 0, "info": {"logprob_mean": -1.0}}
    return [{"extracted": a, "score": float(a == right)} | fields for a in answers]


@pytest.mark.parametrize(
    ("answers", "weights", "extracted"),
    [
        (["8", "7", "7", "8"], (1, 1, 1, 1), "8"),  # equal: that of the earlier sample
        (["7", "8", "8", None], (3, 1, 1, 9), "7"),  # no answer, no vote
        (["8", "7", "7"], (0, 1, 0), "7"),
        (["7", None], (0, 1), None),  # the one that counts says nothing
        (["7.0", "8", "7"], (0.4, 0.7, 0.4), "7.0"),  # answers that are equal add up
    ],
)
def test_a_method_says_what_each_sample_weighs(answers, weights, extracted):
    found = votes.vote(said(*answers), weights=weights)
    assert found["extracted"] == extracted and found["no_answer"] == (extracted is None)
    assert found["score"] == float(extracted == "7") or extracted == "7.0"
    assert found["votes"] == {} and found["thinking_tokens"] == 3 * len(answers)
    assert votes.vote(said("8", "7"))["score"] == 0.5  # without weights equal ones share


def test_answers_that_only_a_judge_could_compare_are_one():
    """Each says what the target says: so does one that the rules found right."""
    judged = {"judge": "same", "score": 1.0}
    found = votes.vote([*said("3", right="7"), said(None)[0] | judged, said("seven")[0] | judged, said("7")[0]])
    assert found["classes"] == [0, 1, 1, 1] and found["extracted"] == "seven" and not found["no_answer"]
    assert found["score"] == 1 and found["votes"]["maj"]["4"] == 1 and found["votes"]["pass"]["1"] == 0.75


def test_votes_are_of_right_and_wrong_answers():
    with pytest.raises(ValueError, match=r"has the score 0\.5"):
        votes.vote([said("7")[0], said("8")[0] | {"score": 0.5}])


def test_what_is_written_beside_the_samples_counts(tmp_path):
    (tmp_path / "q.jsonl").write_text(json.dumps({"problem": "?", "answer": "2"}))
    task, chat = load_task({"lm_eval": "math500", "file": str(tmp_path / "q.jsonl")}), make_chat()
    thought, answered = Segment("thinking", chat.encode("1+1")), Segment("answer", chat.encode("Answer: 2"))
    prompt = Segment("delimiter", chat.encode("Think for 7"), role="select")
    members = [Trace((2,), [thought, answered]) for _ in range(2)]
    trace = Trace((2,), [prompt, thought, answered], samples=members, weights=(0.0, 1.0))
    grades = task.grade([(task.questions[0], "Answer: 2"), (task.questions[0], "Answer: 3")])
    texts = ["Answer: 2", "Answer: 3"]
    line = samples.line(task, task.questions[0], 0, trace, list(zip(texts, grades, strict=True)), chat)
    assert (line["score"], line["extracted"]) == (0.0, "3")
    assert line["thinking_tokens"] == 3 * len(thought.ids) and line["answer_tokens"] == 3 * len(answered.ids)
    assert line["segments"][0]["role"] == "select" and len(line["samples"]) == 2


def test_a_pools_line_says_nothing_that_is_its_first_samples_alone(tmp_path):
    """gsm8k's second filter: nobody voted on what it read."""
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "1+1?", "answer": "#### 2"}))
    task = load_task({"lm_eval": "gsm8k", "file": str(tmp_path / "q.jsonl"), "num_fewshot": 0})
    chat, texts = make_chat(), ["so 3. #### 7", "so 2. #### 2", "#### 2"]
    members = [Trace((2,), [Segment("answer", chat.encode(text))]) for text in texts]
    grades = task.grade([(task.questions[0], text) for text in texts])
    trace = Trace((2,), list(members[0].segments), samples=members)
    line = samples.line(task, task.questions[0], 0, trace, list(zip(texts, grades, strict=True)), chat)
    assert line["metrics"] == ["exact_match"] and line["exact_match"] == line["score"] == 1.0
    assert not {"exact_match,flexible-extract", "reader", "judge", "not_graded"} & line.keys()
    found = samples.results(
        task, [line], dict.fromkeys(("model", "method", "series", "overrides", "seed", "temperature")) | {"n_questions": 1}
    )
    assert found["results"]["gsm8k"].keys() == {"alias", "exact_match,strict-match", "exact_match_stderr,strict-match"}
    alone = samples.line(task, task.questions[0], 0, members[0], [(texts[0], grades[0])], chat)
    assert alone["metrics"] == ["exact_match", "exact_match,flexible-extract"] and alone["reader"] == "rules"


def test_a_pool_of_our_own_task_keeps_its_score_and_whether_it_answers(tmp_path):
    (tmp_path / "q.jsonl").write_text(json.dumps({"problem": "?", "answer": "2"}))
    task, chat = load_task({"lm_eval": "math500", "file": str(tmp_path / "q.jsonl")}), make_chat()
    texts = ["well", "Answer: 2", "Answer: 2"]
    members = [Trace((2,), [Segment("answer", chat.encode(text))]) for text in texts]
    grades = task.grade([(task.questions[0], text) for text in texts])
    trace = Trace((2,), list(members[0].segments), samples=members)
    line = samples.line(task, task.questions[0], 0, trace, list(zip(texts, grades, strict=True)), chat)
    assert line["metrics"] == ["exact_match", "no_answer"] and (line["exact_match"], line["no_answer"]) == (1.0, False)
