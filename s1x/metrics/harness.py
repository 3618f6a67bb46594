"""A cell's metrics in the shape of lm-eval's results file: `{"exact_match,none": mean, "exact_match_stderr,none": ...}`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .intervals import question_means


def aggregated(lines: Sequence[dict[str, Any]]) -> dict[str, float | str]:
    """Mean and standard error of every metric that is a number in all sample lines: `metric,filter`, `metric_stderr,filter`.

    As lm-eval 0.4 does both (api/metrics.py: mean, mean_stderr), to the last digit, over questions: samples of one question are
    averaged first, for they are not independent. The error of a single question is "N/A", as there.
    """
    found: dict[str, float | str] = {}
    for name in lines[0]["metrics"]:
        if not all(isinstance(line.get(name), int | float) for line in lines):
            continue
        values = question_means((line["doc_id"] for line in lines), [line[name] for line in lines])[1].tolist()
        metric, _, own = name.partition(",")
        read_by = own or lines[0]["filter"]
        n, mean = len(values), sum(values) / len(values)
        found[f"{metric},{read_by}"] = mean
        found[f"{metric}_stderr,{read_by}"] = (
            math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1)) / math.sqrt(n) if n > 1 else "N/A"
        )
    return found


def voted(line: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """A pool's line without what is its first member's alone: who graded that, and metrics that nobody voted on."""
    kept = [name for name in line["metrics"] if name in (metric, "no_answer")]
    left = {"reader", "judge", *line["metrics"]} - {*kept}
    return {key: value for key, value in line.items() if key not in left} | {"metrics": kept}
