"""Answers that explode: graded within limits of time and memory, with signs of life, beside honest ones that count."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from .bombs import KINDS, bombs
from .commands import LIMITS, Command, Hang
from .study import CODE, TASK

pytestmark = pytest.mark.campaign
TARGET, HONEST = r"\frac{x}{2}", (r"0.5 \cdot x", r"\frac{2x}{4}", r"x \cdot \frac{1}{2}")
MEMORY = 4 << 30  # of all processes together
MINUTES = 10.0
READ = """

def read(responses, docs):
    import json, pathlib
    answers = json.loads(pathlib.Path(__file__).with_name("answers.json").read_text(encoding="utf-8"))
    return [[answers[int(docs[0]["question"])] for _ in group] for group in responses]


def questions(**_):
    import json, pathlib
    n = len(json.loads(pathlib.Path(__file__).with_name("answers.json").read_text(encoding="utf-8")))
    return {"test": Dataset.from_list([{"question": str(i), "answer": TARGET} for i in range(n)])}
"""


def test_bombs(tmp_path, size, count, monkeypatch):
    tally, wanted = count("bomb answers"), size(len(KINDS), 500)
    answers = bombs(wanted)
    for at in range(
        wanted // 10, wanted + wanted // 10, wanted // 10
    ):  # every tenth answer is an honest one, of its own spelling
        answers.insert(at, " " * (at % 3) + HONEST[at % len(HONEST)])
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    (tmp_path / "hard.yaml").write_text(TASK)
    (tmp_path / "hard_code.py").write_text(CODE.partition("def ")[0] + f"TARGET = {TARGET!r}\n" + READ)
    monkeypatch.setitem(LIMITS, "grading", 60 * MINUTES)
    command = Command(
        [
            "task=lm_eval", f"task.lm_eval={tmp_path / 'hard.yaml'}", "method.max_thinking_tokens=16", "engine=scripted",
            "tracking=none", "model=tiny_s1", f"store.dir={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / 'out'}",
        ],
        tmp_path / "log", fork=False,
    )  # fmt: skip
    faults: dict[str, str | None] = {}
    peak, began = 0, time.monotonic()

    def watched() -> bool:
        nonlocal peak
        peak = max(peak, memory([command.pid, *command.members()]))
        time.sleep(0.5)
        return command.poll() is not None

    try:
        command.until(watched, "grading")
    except Hang as hang:
        faults["hang"] = str(hang)
    seconds, said = time.monotonic() - began, command.said()
    shown = len(re.findall("answers to grade", said))
    faults["traceback"] = command.traceback()
    if command.poll():
        faults["wrong"] = f"it ended with {command.poll()}: {said[-1000:]}"
    elif command.poll() == 0:
        (samples,) = (tmp_path / "out").glob("samples_*.jsonl")
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        wrong = [row["doc_id"] for row in rows if row["score"] != (answers[row["doc_id"]].strip() in HONEST)]
        faults["wrong"] = f"answers {wrong[:5]} are graded wrong: {[answers[i][:80] for i in wrong[:5]]}" if wrong else None
    if peak > MEMORY:
        faults["other"] = f"all processes together took {peak / 2**30:.1f} GiB"
    elif shown < int(seconds / 60):
        faults["other"] = f"in {seconds:.0f} s it said only {shown} times how far it was"
    for number in range(wanted):
        tally.trial("answers", **(faults if number == 0 else {}))
    tally.measured |= {
        "kinds": len(KINDS), "honest answers among them": len(answers) - wanted, "minutes": round(seconds / 60, 1),
        "most memory of all processes together, GiB": round(peak / 2**30, 2), "signs of life": shown,
    }  # fmt: skip
    tally.check(wanted)


def memory(pids: list[int]) -> int:
    """Bytes that processes hold in memory, shared pages shared out among them."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        if match := re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE):
            total += int(match[1]) * 1024
    return total or os.sysconf("SC_PAGE_SIZE")
