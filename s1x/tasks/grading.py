"""From a response to its grade, without waiting: what the filters read, the rules' comparison, the second reader's verdict.

Filters and scores of a task may be anybody's code: what raises or does not come to an end is a TaskFailed, and costs its cell.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from . import graders
from .equivalence import rules

if TYPE_CHECKING:
    from .task import Question, Task

MISSING: tuple = (None, "", "[invalid]", [])  # what filters make of a response without an answer
SECONDS = 60.0  # that a task's own filters, or its score, may take for one response


class TaskFailed(RuntimeError):
    """A task's own code failed on a response. The message is one sentence."""


@dataclass(frozen=True)
class Grade:
    """The grade of one response. `score` is the task's main metric (0 to 1), `extracted` the answer that was read, if any.

    `metrics` holds every numeric metric; those of further filters are named "metric,filter", as in lm-eval's results. `reader`
    is who decided: "rules", "judge", or "none" where the comparison could not be made; `judge` what the judge said, where it
    was asked: "same", "different", or "none".
    """

    score: float
    extracted: str | None
    no_answer: bool
    metrics: dict[str, float]
    filtered: Any
    filter: str
    reader: str = "rules"
    judge: str | None = None


@dataclass
class Grading:
    """One response on its way to its grade. `done()` goes as far as it can without waiting, `grade()` waits."""

    task: Task
    question: Question
    text: str
    filtered: dict[str, Any] = field(init=False)
    _rules: Grade | None = None
    _asked: Future | None = None

    def __post_init__(self) -> None:
        self.filtered = filtered(self.task, self.question, self.text)
        self._compared = compared(self.task, self.question, self.filtered[self.task.filter])
        if self._compared:
            rules.submit(*self._compared)

    def done(self) -> bool:
        if self._rules is None and self._compared and not rules.decided(*self._compared):
            return False
        self.read()
        return self._asked is None or self._asked.done()

    @property
    def extracted(self) -> str | None:
        """The answer that was read, known at once."""
        answer = self.filtered[self.task.filter]
        return None if answer in MISSING else str(answer)

    def read(self) -> Grade:
        """The grade by the rules; the judge is asked where it is "different" or "no answer"."""
        if self._rules is None:
            if self._compared:
                rules.verdict(*self._compared)  # waits, which is no fault of the task's own code
            self._rules = by_rules(self.task, self.question, self.filtered)
            if self.task.judge is not None and self._rules.score == 0 and self.text.strip():
                answer = self._rules.extracted or self.text
                self._asked = self.task.judge.ask(self.question.text, self.question.target, answer)
        return self._rules

    def grade(self) -> Grade:
        read = self.read()
        return read if self._asked is None else _judged(read, self.task.metric, self._asked.result())


def _judged(read: Grade, metric: str, verdict: str) -> Grade:
    """The grade where the judge was asked. A verdict other than "same" or "different" leaves the rules'."""
    if verdict == "none":
        return replace(read, judge=verdict)
    metrics = read.metrics | {name: 0.0 for name in ("not_graded",) if name in read.metrics}
    if verdict == "same":
        metrics |= {metric: 1.0} | {name: 0.0 for name in ("no_answer",) if name in metrics}
        read = replace(read, score=1.0, no_answer=False)
    return replace(read, metrics=metrics, reader="judge", judge=verdict)


def filtered(task: Task, question: Question, text: str) -> dict[str, Any]:
    """What each filter of the task makes of one response."""
    from lm_eval.api.instance import Instance

    instance = Instance("generate_until", question.doc, question.arguments, 0, (task.name, question.doc_id, 1), [text])
    with limited(lambda: f"task {task.name}: reading the answer of question {question.doc_id}"):
        for pipeline in task.lm_eval._filters:
            pipeline.apply([instance])
    return instance.filtered_resps


def compared(task: Task, question: Question, answer: Any) -> tuple[str, str] | None:
    """The comparison that a score of ours will ask for; None for other tasks, and where no answer was read."""
    score = task.lm_eval.config.process_results
    if score not in graders.OURS or answer == graders.NO_ANSWER or "answer" not in question.doc:
        return None
    target = str(question.doc["answer"])
    return answer, target if score is graders.grade_math else graders.same_target(target)


def by_rules(task: Task, question: Question, answers: dict[str, Any]) -> Grade:
    """The grade as the task itself gives it."""
    metrics, answer = measured(task, question, answers), answers[task.filter]
    missing = answer in MISSING
    no_answer = bool(metrics.get("no_answer", missing))
    reader = "none" if metrics.get("not_graded") else "rules"
    extracted = None if missing else str(answer)
    return Grade(scored(task, metrics), extracted, no_answer, metrics, answer, task.filter, reader)


def measured(task: Task, question: Question, answers: dict[str, Any]) -> dict[str, float]:
    """The numeric metrics of one response, from what each filter read of it."""
    metrics: dict[str, float] = {}
    for name in (task.filter, *(f for f in answers if f != task.filter)):
        with limited(lambda: f"task {task.name}: scoring the answer of question {question.doc_id}"):
            found = task.lm_eval.process_results(question.doc, [answers[name]])
        for metric, value in found.items():
            if isinstance(value, bool | int | float) or hasattr(value, "item"):  # some metrics are not per question
                metrics[metric if name == task.filter else f"{metric},{name}"] = float(value)
    return metrics


def scored(task: Task, metrics: Mapping[str, float]) -> float:
    """The task's main metric. Raises ValueError where it is no score."""
    score = metrics.get(task.metric)
    if score is not None and 0 <= score <= 1:
        return score
    others = [name for name, value in metrics.items() if name != task.metric and "," not in name and 0 <= value <= 1]
    raise ValueError(
        f"task.metric={task.metric}: task {task.name} gives {'no number' if score is None else score} for one answer, and "
        "s1x needs a score from 0 to 1 for each; "
        + (f"choose {' or '.join(others)}" if others else "none of its metrics is one: write a task file with one that is")
    )


class _Overtime(BaseException):
    """Not to be caught by a task's `except Exception`."""


@contextmanager
def limited(what: Callable[[], str], seconds: float | None = None) -> Iterator[None]:
    """Run a task's own code. Raises TaskFailed where it raises, or takes longer than `seconds` (default: SECONDS).

    Only a process's main thread can be interrupted; in others there is no limit of time.
    """
    seconds = seconds or SECONDS
    main = threading.current_thread() is threading.main_thread()

    def over(*_: Any) -> None:
        raise _Overtime

    before = signal.signal(signal.SIGALRM, over) if main else None
    if main:
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again each second, should it be caught
    try:
        yield
    except _Overtime:
        raise TaskFailed(f"{what()} took more than {seconds:.0f} s; look at its filters and its process_results") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise TaskFailed(f"{what()} failed ({type(error).__name__}: {reason})") from error
    finally:
        if main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
