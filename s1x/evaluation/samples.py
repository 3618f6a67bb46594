"""From a trace to a line of `samples_<task>.jsonl`: lm-eval's sample log plus segments, token counts and reads."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..chat import Chat
from ..metrics.harness import aggregated, voted
from ..streams.types import Trace, first_stop
from ..tasks import Grade, Question, Task
from . import votes


def graded_text(trace: Trace, chat: Chat, until: Sequence[str]) -> str:
    """The text that is graded: what follows the thinking, cut before the first stop string in what the model itself wrote."""
    text = chat.answer_text(trace)
    written = chat.decode(next((s.ids for s in reversed(trace.segments) if s.kind == "answer"), ()))
    at = first_stop(text, until, max(0, len(text) - len(written)))
    return text[:at] if at >= 0 else text


def compact(trace: Trace) -> Trace:
    """The same trace with ids in arrays: a sweep holds many long ones until their cell is complete. Confidences have served."""
    for at, s in enumerate(trace.segments):
        trace.segments[at] = replace(s, ids=array("i", s.ids), logprobs=s.logprobs and array("f", s.logprobs), confidence=None)
    trace.samples = [compact(sample) for sample in trace.samples]
    return trace


def line(
    task: Task, question: Question, repeat: int, trace: Trace, members: Sequence[tuple[str, Grade]], chat: Chat
) -> dict[str, Any]:
    """One line of the samples file. `members` are the (text, grade) pairs of the trace, or of its samples when it is a pool."""
    text, graded = members[0]
    row = task.record(question, text, graded) | {"repeat": repeat, "prompt_tokens": len(trace.prompt)}
    row = voted(row, task.metric) if trace.samples else row | _grade(graded)
    row |= _trace(trace, chat) | {"reads": {key.hex(): n for key, n in sorted(trace.reads.items())}}
    if trace.scored:
        row["scored_tokens"] = sum(trace.scored.values())
    if trace.samples:
        row["samples"] = [_trace(s, chat) | _grade(g) | {"text": t} for s, (t, g) in zip(trace.samples, members, strict=True)]
        own = trace.thinking_tokens, trace.answer_tokens  # what was written beside the samples
        row |= {"vote": trace.vote} if trace.weights is None else {"vote": "weights", "weights": list(trace.weights)}
        row |= votes.vote(row["samples"], trace.vote, trace.weights)
        row["thinking_tokens"], row["answer_tokens"] = row["thinking_tokens"] + own[0], row["answer_tokens"] + own[1]
        row["resps"] = [[t for t, _ in members]]
        row["filtered_resps"] = [str(g.filtered) for _, g in members]
        row[task.metric] = row["score"]
    return row


def _grade(grade: Grade) -> dict[str, Any]:
    read = {"score": grade.score, "extracted": grade.extracted, "no_answer": grade.no_answer, "reader": grade.reader}
    return read | ({"judge": grade.judge} if grade.judge else {})


def _trace(trace: Trace, chat: Chat) -> dict[str, Any]:
    logprobs = [p for s in trace.segments if s.logprobs is not None for p in s.logprobs]
    return {
        "segments": [
            {"kind": s.kind, "ids": list(s.ids), "text": chat.decode(tuple(s.ids))} | ({"role": s.role} if s.role else {})
            for s in trace.segments
        ],
        "thinking_tokens": trace.thinking_tokens,
        "answer_tokens": trace.answer_tokens,
        "end": trace.end,
        "waits": trace.waits,
        "path_tokens": trace.path_tokens,
        "info": trace.info | ({"logprob_mean": sum(logprobs) / len(logprobs)} if logprobs and not trace.samples else {}),
    }


def results(task: Task, lines: Sequence[dict[str, Any]], record: dict[str, Any]) -> dict[str, Any]:
    """The cell in the shape of lm-eval's results file."""
    return {
        "results": {task.name: {"alias": task.name, **aggregated(lines)}},
        "configs": {task.name: {"generation_kwargs": task.generation, "repeats": task.repeats}},
        "n-samples": {task.name: {"original": len(task.lm_eval.eval_docs), "effective": record["n_questions"]}},
        "n-shot": {task.name: task.lm_eval.config.num_fewshot or 0},
        "higher_is_better": {task.name: task.lm_eval.higher_is_better()},
        "config": {key: record[key] for key in ("model", "method", "series", "overrides", "seed", "temperature")},
    }
