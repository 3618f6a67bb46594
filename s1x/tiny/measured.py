"""What a scorer of tiny traces is worth: whether it tells right lines and answers from wrong ones, and whether it checks."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..scorer import Scorer
from ..streams.memory import MemoryStore
from ..streams.scheduler import Job, Model, Scheduler
from ..streams.types import Trace
from .labels import kind, labels, slipped
from .problems import Problem


def values(scorer: Scorer, model: Model, solutions: Iterable[tuple[str, Sequence[str]]]) -> list[list[float]]:
    """What the scorer says of each step of each solution (question, steps)."""
    asked = [(question, list(steps)) for question, steps in solutions]
    found: dict[int, list[float]] = {}

    def judged(question: str, steps: list[str]):
        rows = yield scorer.score(question, steps)
        return Trace((), info={"values": scorer.values(rows)})

    def take(i: int):
        return lambda trace: found.__setitem__(i, trace.info["values"])

    scheduler = Scheduler(model.engine, MemoryStore(), others={scorer.role: model})
    scheduler.run(Job((i,), judged(*each), take(i)) for i, each in enumerate(asked) if each[1])
    return [found.get(i, []) for i in range(len(asked))]


def auc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """How probably a right one has a higher score than a wrong one, ties counted half; NaN where there are not both."""
    s, r = np.asarray(scores, dtype=float), np.asarray(right, dtype=bool)
    if r.all() or not r.any():
        return float("nan")
    order = np.sort(s[~r])
    below, upto = np.searchsorted(order, s[r], "left"), np.searchsorted(order, s[r], "right")
    return float((below + upto).mean() / 2 / len(order))


def calibration_error(scores: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error over bins of equal width (Naeini et al. 2015)."""
    s, r = np.asarray(scores, dtype=float), np.asarray(right, dtype=float)
    place = np.minimum((s * bins).astype(int), bins - 1)
    return float(sum(abs((s - r)[place == b].sum()) for b in range(bins)) / len(s))


def slip_pairs(
    traces: Sequence[tuple[Problem, Sequence[str]]], each: int, seed: int = 0
) -> list[tuple[str, Problem, list[str], list[str]]]:
    """Right lines at the end of what came before them, and the same with a slip in the result: (kind of line, problem, steps,
    steps with the slip), `each` of a kind at most."""
    rng = random.Random(f"slips-{seed}")
    places = [(t, i) for t, (p, lines) in enumerate(traces) for i, ok in enumerate(labels(p, list(lines))) if ok]
    rng.shuffle(places)
    counts: dict[str, int] = {}
    pairs = []
    for t, i in places:
        problem, lines = traces[t]
        what = kind(lines[i])
        if what is None or counts.get(what, 0) >= each:
            continue
        counts[what] = counts.get(what, 0) + 1
        before = list(lines[:i])
        pairs.append((what, problem, [*before, lines[i]], [*before, slipped(rng, lines[i])]))
    return pairs


def slip_test(scorer: Scorer, model: Model, pairs: Sequence[tuple[str, Problem, list[str], list[str]]]) -> dict[str, Any]:
    """By kind of line: pairs, mean score right and slipped, the share whose score falls (and by more than .2), and the AUC."""
    found = values(scorer, model, [(p.question, steps) for _, p, right, wrong in pairs for steps in (right, wrong)])
    last = np.array([v[-1] for v in found]).reshape(-1, 2)
    kinds = np.array([what for what, *_ in pairs])
    table = {}
    for what in (*sorted(set(kinds)), "all"):
        rows = last if what == "all" else last[kinds == what]
        right, wrong = rows[:, 0], rows[:, 1]
        fall = right - wrong
        table[what] = {
            "pairs": len(rows),
            "right": float(right.mean()),
            "slipped": float(wrong.mean()),
            "falls": float((fall > 0).mean()),
            "falls_by_0.2": float((fall > 0.2).mean()),
            "auc": auc(rows.ravel(), [True, False] * len(rows)),
        }
    return table
