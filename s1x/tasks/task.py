"""One benchmark as s1x uses it: questions with lm-eval's hashes, stop strings, and grading of single responses.

lm-eval's Task objects are built once; we call their doc_to_text, filters and process_results ourselves, and repeat i is
sample index i of the model, so lm-eval's generation loop and its `repeats` are not used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import graders, library, sources
from .grading import MISSING, Grade, Grading, filtered, measured, scored
from .second import SecondReader, check_judge

UNTIL = ("auto", "task", "none")

DEFAULTS = {
    "name": None,
    "lm_eval": None,
    "own": True,  # where s1x and lm-eval have a task of that name: s1x's
    "file": None,
    "split": None,
    "limit": None,
    "repeats": 1,
    "max_answer_tokens": None,
    "filter": None,
    "metric": None,
    "judge": None,
    "until": "auto",
    "num_fewshot": None,
    "questions": None,  # these two are for plan=true alone
    "thinking": None,
}


@dataclass(frozen=True)
class Question:
    """A document of the task. `text` is the user's message; the rest is as lm-eval logs it."""

    doc_id: int
    text: str
    target: str
    doc: dict[str, Any] = field(repr=False)
    arguments: tuple[str, dict[str, Any]] = field(repr=False)
    doc_hash: str = field(repr=False)
    prompt_hash: str = field(repr=False)
    target_hash: str = field(repr=False)


class Task:
    """A benchmark: `questions` in order, `until` (the task's stop strings), and grading.

    `lm_eval` is the lm-eval Task underneath, `metric` and `filter` name what `score` is. `judge` is the second reader, if any.
    """

    def __init__(self, lm_task, cfg: Mapping[str, Any]):
        self.lm_eval = lm_task
        self.judge: SecondReader | None = None
        self.name: str = cfg["name"] or lm_task.task_name
        self.repeats: int = cfg["repeats"]
        self.generation: dict[str, Any] = dict(lm_task.config.generation_kwargs)
        self.max_answer_tokens: int = cfg["max_answer_tokens"] or self.generation.get("max_gen_toks", 256)
        self.generation["max_gen_toks"] = self.max_answer_tokens
        self.until: tuple[str, ...] = _stops(self.generation.get("until"), self.name)
        self.until_rule: str = cfg["until"]
        self.filter = _member("filter", cfg["filter"], [f.name for f in lm_task._filters])
        self.metric = _member("metric", cfg["metric"], list(lm_task.higher_is_better()))
        docs = self._docs(cfg["limit"])
        self._check_shots([doc for _, doc in docs], cfg)
        self.questions: list[Question] = [self._question(i, doc) for i, doc in docs]

    def stops_count(self, ends_turns: bool) -> bool:
        """Whether `until` ends answers; ends_turns: whether the model's answers have an end of their own."""
        return self.until_rule == "task" or (self.until_rule == "auto" and not ends_turns)

    def check_grading(self) -> None:
        """Grade two made-up responses to the first question. Raises ValueError when the metric is no score from 0 to 1."""
        ours = self.lm_eval.config.process_results in graders.OURS
        for text in ("",) if ours else ("", self.questions[0].target):
            try:
                metrics = measured(self, self.questions[0], filtered(self, self.questions[0], text))
            except Exception:  # noqa: S112  a made-up response may be one that a task's own code cannot take
                continue
            scored(self, metrics)

    def grade(self, responses: Iterable[tuple[Question, str]]) -> list[Grade]:
        """Grade (question, text of the answer) pairs, each on its own. Blocks until slow comparisons are done."""
        started = [self.start_grading(*response) for response in responses]  # all under way before the first is waited for
        for grading in started:
            grading.read()  # and before the judge is waited for
        return [grading.grade() for grading in started]

    def start_grading(self, question: Question, text: str) -> Grading:
        """Begin to grade a response. Returns at once; raises TaskFailed where the task's own code fails."""
        return Grading(self, question, text)

    def extract(self, question: Question, text: str) -> str | None:
        """The answer that a response states, as the task's own filter reads it; None when there is none. No comparison."""
        answer = filtered(self, question, text)[self.filter]
        return None if answer in MISSING else str(answer)

    def close(self) -> None:
        """Let go of the judge's connections."""
        if self.judge is not None:
            self.judge.close()

    def record(self, question: Question, text: str, grade: Grade) -> dict[str, Any]:
        """The keys of lm-eval's sample log for one response (`--log_samples`), with `target` and `resps` as strings."""
        return {
            "doc_id": question.doc_id,
            "doc": question.doc,
            "target": question.target,
            "arguments": {"gen_args_0": {"arg_0": question.arguments[0], "arg_1": question.arguments[1]}},
            "resps": [[text]],
            "filtered_resps": [grade.filtered if isinstance(grade.filtered, list) else str(grade.filtered)],
            "filter": grade.filter,
            "metrics": list(grade.metrics),
            "doc_hash": question.doc_hash,
            "prompt_hash": question.prompt_hash,
            "target_hash": question.target_hash,
            **grade.metrics,
        }

    def _docs(self, limit: int | None) -> list[tuple[int, dict]]:
        docs = self.lm_eval.eval_docs
        return [(i, docs[i]) for i in range(min(len(docs), limit or len(docs)))]

    def _check_shots(self, asked: Sequence[dict], cfg: Mapping[str, Any]) -> None:
        """Raise ValueError where the solved examples before a question may be questions that are asked, with their answers.

        A task's own choice to take them from the split that it asks stands as long as lm-eval leaves out the question itself.
        """
        task, source = self.lm_eval, getattr(self.lm_eval, "fewshot_cfg", None)
        shots = task.config.num_fewshot or 0
        given = next((f"task.{key}={cfg[key]}" for key in ("file", "split", "num_fewshot") if cfg[key]), f"task={self.name}")
        left_out = source is not None and source.split is not None and source.split == task.config.test_split
        if not shots or (left_out and not (cfg["file"] or cfg["split"])):
            return
        pool = list(task.fewshot_docs())
        if len(pool) < shots:
            raise ValueError(f"{given}: {shots} solved examples are to stand before each question, and there are {len(pool)}")
        questions = {task.doc_to_text(doc) for doc in asked}
        if any(task.doc_to_text(doc) in questions for doc in pool):
            raise ValueError(
                f"{given}: {self.name} takes the {shots} solved examples before each question from the very questions that are "
                "asked; add task.num_fewshot=0, or a task file of your own with examples (fewshot_config: samples)"
            )

    def _question(self, doc_id: int, doc: dict) -> Question:
        from lm_eval.utils import handle_non_serializable, hash_string

        shots = self.lm_eval.config.num_fewshot or 0
        text, target = self.lm_eval.fewshot_context(doc, num_fewshot=shots), str(self.lm_eval.doc_to_target(doc))
        if not isinstance(text, str):
            raise ValueError(f"task={self.name} asks several prompts per question, which s1x does not support")
        dumped = json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
        return Question(doc_id, text, target, doc, (text, self.generation), *map(hash_string, (dumped, text, target)))


def check_task(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a task with their defaults, checked as far as that takes neither lm-eval nor the network.

    Raises ValueError with one sentence that names the setting.
    """
    if unknown := sorted(set(cfg) - set(DEFAULTS)):
        raise ValueError(f"task.{unknown[0]}: there is no such setting; a task has {', '.join(DEFAULTS)}")
    cfg = {**DEFAULTS, **cfg}
    if cfg["until"] not in UNTIL:
        raise ValueError(f"task.until={cfg['until']}: must be one of {', '.join(UNTIL)}")
    shots = cfg["num_fewshot"]
    if shots is not None and (not isinstance(shots, int) or isinstance(shots, bool) or shots < 0):
        raise ValueError(f"task.num_fewshot={shots}: must be a whole number, 0 or more, or null (the task's own)")
    for setting in ("limit", "repeats", "max_answer_tokens", "questions", "thinking"):
        value = cfg[setting]
        if value != DEFAULTS[setting] and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            also = {"limit": " or null (all questions)", "questions": " or null", "thinking": " or null"}.get(setting, "")
            raise ValueError(f"task.{setting}={value}: must be a whole number of at least 1{also}")
    if not (cfg["lm_eval"] or cfg["name"]):
        raise ValueError(f"task.lm_eval=null: name a task: {', '.join(library.ours())}, or any generate_until task of lm-eval")
    library.find(cfg["lm_eval"] or cfg["name"], own=cfg["own"])
    if cfg["name"] and "/" in cfg["name"]:
        raise ValueError(f"task.name={cfg['name']}: it becomes part of file names, so without '/'; for example task.name=mine")
    if cfg["file"]:
        sources.read_rows(Path(cfg["file"]).expanduser())
    check_judge(cfg["judge"])
    return cfg


def load_task(cfg: Mapping[str, Any], verdicts: Path | None = None) -> Task:
    """Build the task of a `task` config (conf/task). `verdicts` is where those of its judge are kept (None: in memory).

    Raises ValueError with one sentence that names the setting, also when the questions cannot be had or the judge not be asked.
    """
    cfg = check_task(cfg)
    given = {key: cfg[key] for key in ("own", "file", "split", "num_fewshot")}
    task = Task(library.build(cfg["lm_eval"] or cfg["name"], **given), cfg)
    task.check_grading()
    if judge := check_judge(cfg["judge"]):
        if not task.lm_eval.higher_is_better()[task.metric]:
            raise ValueError(f"task.judge: a judge says right or wrong, and of task.metric={task.metric} less is better")
        task.judge = SecondReader(judge, verdicts)
    return task


def _stops(until: Any, name: str) -> tuple[str, ...]:
    """A task's stop strings; an empty one stops nothing. Raises ValueError for anything but text."""
    listed = [until] if isinstance(until, str) else list(until or ())
    if wrong := [stop for stop in listed if not isinstance(stop, str)]:
        raise ValueError(f"task {name}: its stops (generation_kwargs: until) must be text, not {wrong[0]!r}")
    return tuple(dict.fromkeys(filter(None, listed)))


def _member(setting: str, value: str | None, valid: Sequence[str]) -> str:
    if value is not None and value not in valid:
        raise ValueError(f"task.{setting}={value}: this task has {', '.join(valid)}")
    return value or valid[0]
