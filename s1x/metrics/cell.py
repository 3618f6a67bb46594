"""From the sample lines of one cell to its record, with exactly the keys of a cell in `summary.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .compute import ModelFacts, line_flops, scored_flops
from .intervals import accuracy_interval, question_means
from .obedience import NAMES, line_obedience

IDENTITY = (
    "cell_id", "job", "series", "model", "task", "method", "overrides", "seed", "temperature", "budget", "limit_tokens",
    "settings", "declared", "until",
)  # fmt: skip


def cell_record(samples: list[dict[str, Any]], meta: dict[str, Any]) -> dict[str, Any]:
    """Measure one cell.

    samples: lines of `samples_<task>.jsonl`, one per (question, repeat).
    meta: the keys of IDENTITY (absent ones become None), for `flops` `model_facts` and `scorer_facts` {parameters,
    layers, hidden}, and `columns`, which entries of the traces' `info` are measurements (None: all numbers).
    What a line does not know (None, in results from elsewhere) is not known of the cell: its mean or sum is None.
    Accuracy is the mean over questions of the mean over repeats, a fraction; its interval is Wilson's. Thinking tokens are
    thinking and injected ids without delimiters, over all lines; forced ends and "Wait" of a pool are its members'. `obedience`
    has the errors of a length that the method's prompt names (obedience.py), {} where it names none. Raises ValueError when
    there is no line.
    """
    if not samples:
        raise ValueError(f"cell {meta.get('cell_id')}: no samples to measure; the task needs at least one question")
    _, means, counts = question_means((s["doc_id"] for s in samples), [s["score"] for s in samples])
    chains = [chain for s in samples for chain in s.get("samples") or [s]]
    facts = meta.get("model_facts")
    return {key: meta.get(key) for key in IDENTITY} | {
        "n_questions": len(means),
        "samples_per_question": round(float(np.mean(counts)), 3) if len(set(counts.tolist())) > 1 else int(counts[0]),
        "accuracy": float(means.mean()),
        "accuracy_ci95": list(accuracy_interval(means, float(np.mean(counts)))),
        "thinking_tokens": _spread([s["thinking_tokens"] for s in samples]),
        "answer_tokens": {"mean": _mean(samples, "answer_tokens")},
        "forced_end_rate": _mean([{"forced": chain["end"] and chain["end"] == "forced"} for chain in chains], "forced"),
        "waits_mean": _mean(chains, "waits"),
        "no_answer_rate": _mean(samples, "no_answer"),
        "obedience": _obedience(samples, (meta.get("declared") or {}).get("instructed")),
        "graded_by": graded_by(samples),
        "path_tokens": None if _unknown(samples, "path_tokens") else sum(s["path_tokens"] for s in samples),
        "scored_tokens": sum(s.get("scored_tokens", 0) for s in samples),
        "flops": _flops(samples, facts, meta.get("scorer_facts")),
        "info": _info(samples, meta.get("columns")),
    }


def _obedience(samples: list[dict[str, Any]], instructed: int | None) -> dict[str, float]:
    if not instructed:
        return {}
    return dict(zip(NAMES, np.mean([line_obedience(s, instructed) for s in samples], 0).tolist(), strict=True))


def _flops(samples: list[dict[str, Any]], facts: Any, scorer: Any) -> int | None:
    """Operations of the policy and of the scorer; None where the sizes of one that worked are not known."""
    if facts is None or (scorer is None and any(s.get("scored_tokens") for s in samples)):
        return None
    written = sum(line_flops(s, ModelFacts(**facts)) for s in samples)
    return written + (sum(scored_flops(s, ModelFacts(**scorer)) for s in samples) if scorer else 0)


def graded_by(samples: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many answers the rules decided, the judge decided, and nobody; of a pool each member's answer counts.

    `judge_changed` are those of `judge` that are right and were not by the rules; `judge_failed` those on which the judge was
    asked and gave no verdict, so that they are among the others.
    """
    answers = [answer for s in samples for answer in s.get("samples") or [s]]
    readers = Counter(answer.get("reader", "rules") for answer in answers)
    said = Counter(answer.get("judge") for answer in answers)
    return {
        "rules": readers["rules"], "judge": readers["judge"], "judge_changed": said["same"], "judge_failed": said["none"],
        "not_graded": readers["none"],
    }  # fmt: skip


def _info(samples: list[dict[str, Any]], columns: Sequence[str] | None) -> dict[str, float]:
    """Means of what the method noted with numbers (tries, steps used, probes): of all, or of the `columns` it declares."""
    noted = [s.get("info") or {} for s in samples]
    keys = [
        key
        for key, value in noted[0].items()
        if isinstance(value, int | float) and (columns is None or key in (*columns, "logprob_mean"))
    ]
    return {key: float(np.mean([n[key] for n in noted])) for key in keys if all(key in n for n in noted)}


def _spread(tokens: list[int | None]) -> dict[str, float | int | None]:
    if None in tokens:
        return dict.fromkeys(("mean", "median", "p95", "max"))
    known = np.array(tokens)
    return {
        "mean": float(known.mean()),
        "median": float(np.median(known)),
        "p95": float(np.quantile(known, 0.95)),
        "max": int(known.max()),
    }


def _mean(samples: list[dict[str, Any]], key: str) -> float | None:
    return None if _unknown(samples, key) else float(np.mean([s[key] for s in samples]))


def _unknown(samples: list[dict[str, Any]], key: str) -> bool:
    return any(s[key] is None for s in samples)
