"""Votes whose comparisons take their time: the scheduler is never kept waiting for them."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

from s1x.evaluation import cells
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
    monkeypatch.setattr(cells, "finish", lambda o: lines.extend(cells.grade(o)) or {})
    monkeypatch.setattr(cells.tracking, "log_cell", lambda *_: None)
    meter = SimpleNamespace(arrived=lambda: None, finished=lambda *_: None, awaited=0)
    grader = cells.Grader(SimpleNamespace(drop=lambda _: None), lambda *_: None, meter)
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
