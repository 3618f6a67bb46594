"""What a scorer of tiny traces is worth: whether it tells right lines and answers from wrong ones, and whether it checks."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

import numpy as np

from ..chat import Chat
from ..scorer import Scorer
from ..streams.memory import MemoryStore
from ..streams.scheduler import Job, Model, Scheduler
from ..streams.types import Row, Score, Trace
from .labels import kind, labels, slipped
from .problems import Problem

Pair = tuple[str, Problem, list[str], list[str]]
"""A kind of line, a problem, the steps up to a right line, and the same with a slip in that line."""


def values(scorer: Scorer, model: Model, solutions: Iterable[tuple[str, Sequence[str]]]) -> list[list[float]]:
    """What the scorer says of each step of each solution (question, steps)."""
    asked = [scorer.score(question, list(steps)) if steps else None for question, steps in solutions]
    return [[] if rows is None else scorer.values(rows) for rows in _rows(model, asked)]


def _rows(model: Model, scores: Sequence[Score | None]) -> list[list[Row] | None]:
    """The rows of each score, None for none."""
    found: dict[int, list[Row]] = {}

    def asked(i: int, score: Score):
        found[i] = yield score
        return Trace(())

    several = [(i, score) for i, score in enumerate(scores) if score is not None]
    scheduler = Scheduler(model.engine, MemoryStore(), others={score.model: model for _, score in several[:1]})
    scheduler.run(Job((i,), asked(i, score), lambda trace: None) for i, score in several)
    return [found.get(i) for i in range(len(scores))]


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


def slip_pairs(traces: Sequence[tuple[Problem, Sequence[str]]], each: int, seed: int = 0) -> list[Pair]:
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


def probabilities(chat: Chat, model: Model, solutions: Iterable[tuple[str, Sequence[str]]]) -> list[float]:
    """How probably the policy itself writes the last line, its newline included, of each of these beginnings of thinking."""

    def score(question: str, steps: Sequence[str]) -> Score:
        prompt = chat.prompt(question)
        before = prompt.ids + prompt.thinking_start + chat.encode("\n")
        for step in steps[:-1]:
            before += chat.encode(step) + chat.encode("\n")
        ids = before + chat.encode(steps[-1]) + chat.encode("\n")
        return Score(ids, tuple(range(len(before), len(ids))), "next")

    return [math.exp(sum(row[0] for row in rows)) for rows in _rows(model, [score(*each) for each in solutions]) if rows]


def both(pairs: Sequence[Pair]) -> list[tuple[str, list[str]]]:
    """Questions and steps of the pairs: right, slipped, right, slipped, ..."""
    return [(problem.question, steps) for _, problem, right, wrong in pairs for steps in (right, wrong)]


def slip_table(pairs: Sequence[Pair], scores: Sequence[float]) -> dict[str, dict[str, float]]:
    """By kind of line: pairs, mean score right and slipped, the share whose score falls (and by more than .2), and the AUC.

    scores: of the last lines, in the order of `both`.
    """
    last = np.asarray(scores, dtype=float).reshape(-1, 2)
    kinds = np.array([what for what, *_ in pairs])
    table: dict[str, dict[str, float]] = {}
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
