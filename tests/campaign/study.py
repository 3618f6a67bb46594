"""The study that is run, killed and damaged: three cells on a task of its own whose answers need the grader's workers.

Its engine is the scripted one, which writes the same for ever: what a stream holds is known, whoever was killed when.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from s1x.evaluation.pace import left_running

from ..test_resume import results
from .commands import Command, lost, run, stored, untrue

TASK = """\
task: hard
custom_dataset: !function hard_code.questions
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: answer
generation_kwargs: {until: [], max_gen_toks: 16}
filter_list:
  - name: answer
    filter:
      - {function: custom, filter_fn: !function hard_code.read}
      - {function: take_first}
process_results: !function s1x.tasks.graders.grade_math
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
num_fewshot: 0
"""
CODE = """\
from zlib import crc32

from datasets import Dataset

def questions(**_):
    rows = [{"question": f"What is {i}?", "answer": f"\\\\frac{{{i % 5}x}}{{2}}"} for i in range(400)]
    return {"test": Dataset.from_list(rows)}

def read(responses, docs):
    return [[f"\\\\frac{{{crc32(text.encode()) % 5} \\\\cdot x}}{{2}}" for text in group] for group in responses]
"""


class Study:
    """`questions` of it, in `home`. `expected` is what it gives when nobody disturbs it, `truth` what its streams hold then,
    `seconds` how long its phases take: from the start until the next one begins."""

    def __init__(self, home: Path, questions: int = 60, more: tuple[str, ...] = ()):
        self.home = home
        home.mkdir(parents=True)
        (home / "hard.yaml").write_text(TASK)
        (home / "hard_code.py").write_text(CODE)
        self.settings = [
            "-m", "method.max_thinking_tokens=64,256,1024", "task=lm_eval", f"task.lm_eval={home / 'hard.yaml'}",
            "tracking=none", f"task.limit={questions}", "task.max_answer_tokens=16", "engine=scripted",
            "engine.tokens_per_poll=1", "engine.end_chance=8", "model=tiny_s1", "name=campaign", *more,
        ]  # fmt: skip
        whole = self.place("whole")
        run(["--help"], home / "help.log")  # what commands are forked from has started now
        command = Command(whole.arguments, home / "whole.log")
        self.seconds = {}
        for phase, done in whole.phases(command.began).items():
            command.until(done, phase)
            self.seconds[phase] = time_of(command)
        status = command.wait("report")
        assert status == 0, command.said()
        self.seconds["report"] = time_of(command)
        self.expected, self.truth = results(whole.out), stored(whole.store)
        self.reads: dict[str, int] = {}
        for text in self.expected["samples"].values():
            for line in text.splitlines():
                for key, n in json.loads(line)["reads"].items():
                    self.reads[key] = max(n, self.reads.get(key, 0))

    def place(self, name: str) -> Place:
        return Place(self, self.home / name)

    def again(self, place: Place, log: Path, phase: str = "again", **how) -> tuple[Command, dict[str, str | None]]:
        """Run it in a place to its end: the command, and what is wrong with what came out."""
        before = stored(place.store)
        made = place.decoded() + left_running(place.out).get("decode_tokens", 0)  # what a killed one did is counted by this one
        command = run(place.arguments, log, phase, **how)
        faults: dict[str, str | None] = {"traceback": command.traceback()}
        if command.status:
            return command, faults | {"wrong": f"it ended with {command.status}: {command.said()[-1000:]}"}
        after = stored(place.store)
        kept, total = (sum(map(len, found.values())) for found in (before, after))
        twice = kept + place.decoded() - made - total
        faults["lost"] = lost(before, after) or (f"{twice} stored tokens were decoded again" if twice > 0 else None)
        faults["wrong"] = self.differs(place.out) or untrue(after, self.truth)
        return command, faults

    def differs(self, out: Path) -> str | None:
        found = results(out)
        wrong = [key for key in self.expected if found[key] != self.expected[key]]
        return f"{', '.join(wrong)} of {out} differ from those of an undisturbed run" if wrong else None


class Place:
    """A store, and the directory of a sweep."""

    def __init__(self, study: Study, home: Path):
        self.home, self.store, self.out = home, home / "store", home / "out"
        home.mkdir(parents=True, exist_ok=True)
        self.arguments = [*study.settings, f"store.dir={self.store}", f"hydra.sweep.dir={self.out}"]

    def decoded(self) -> int:
        """Tokens that commands which came to their end have decoded here."""
        try:
            return json.loads((self.out / "run.json").read_text())["decode_tokens"]
        except (OSError, ValueError, KeyError):
            return 0

    def phases(self, since: float) -> dict:
        """What shows that a phase of the command that began at `since` is over, in their order."""

        def new(pattern: str):
            return lambda: any(_newer(path, since) for path in self.out.glob(pattern))

        return {
            "composing": new("multirun.yaml"),
            "generating": new("*/samples_*.jsonl"),
            "writing": new("run.json"),
        }


def time_of(command: Command) -> float:
    return time.time() - command.began


def _newer(path: Path, since: float) -> bool:
    try:
        return path.stat().st_mtime >= since
    except OSError:
        return False
