"""Benchmarks: lm-eval tasks, their questions, and grading.

task = load_task({"lm_eval": "tiny_math", "limit": 10})
task.questions[0].text                           # what the user asks
task.grade([(task.questions[0], "Answer: 523")])  # [Grade(score=..., extracted="523", ...)]
"""

from .equivalence import Grouping, equivalent, group_answers, grouping
from .grading import Grade, Grading, TaskFailed
from .task import Question, Task, check_task, load_task

__all__ = [
    "Grade",
    "Grading",
    "Grouping",
    "Question",
    "Task",
    "TaskFailed",
    "check_task",
    "equivalent",
    "group_answers",
    "grouping",
    "load_task",
]
