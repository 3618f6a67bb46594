"""The steps of the pipeline: each takes the table and its own settings and says which rows go, and why.

A step never changes text. It returns an `Outcome`: a reason per row (None keeps it) and columns to add. So every step can
be counted, cached and read on its own; the stage applies them in `ORDER`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import SettingError
from . import duplicates as dup
from . import selection
from .ngrams import contaminated
from .records import column

ORDER = ("decontaminate", "duplicates", "quality", "difficulty", "domains", "length", "select")


@dataclass
class Outcome:
    """`dropped`: a reason per row, None for a row that stays; `columns`: new columns, one value per row (dropped ones too)."""

    dropped: list[str | None]
    columns: dict[str, list] = field(default_factory=dict)


def decontaminate(table: pa.Table, *, benchmarks: Mapping[str, Sequence[str]], ngram: int = 8, allowed: float = 0.0) -> Outcome:
    """Drop questions that share word n-grams with a benchmark; the reason names the first benchmark that matched."""
    questions = column(table, "question", "data.decontaminate")
    dropped: list[str | None] = [None] * len(questions)
    for name, texts in benchmarks.items():
        for i in np.flatnonzero(contaminated(questions, texts, ngram, allowed)):
            dropped[i] = dropped[i] or f"in {name}"
    return Outcome(dropped)


def duplicates(table: pa.Table, *, near: float | None = None, across_sources: int | None = None) -> Outcome:
    """Drop repeated questions and ids, then near duplicates (share of common trigrams at least `near`), then questions
    that share an n-gram of `across_sources` words with an earlier source (s1's own rule)."""
    questions = column(table, "question", "data.duplicates")
    dropped: list[str | None] = ["duplicate question" if d else None for d in dup.exact(questions)]
    seen: set[str] = set()
    for i, key in enumerate(column(table, "id", "data.duplicates")):
        if dropped[i] is None and key in seen and (questions[i] or "").strip():
            dropped[i] = "duplicate id"
        seen.add(key)

    def rest(check: Callable[[list[str | None]], np.ndarray], reason: str) -> None:
        flags = check([q if d is None else None for q, d in zip(questions, dropped)])
        for i in np.flatnonzero(flags):
            dropped[i] = dropped[i] or reason

    if near is not None:
        rest(lambda texts: dup.near(texts, near), "near duplicate")
    if across_sources is not None:
        sources = column(table, "source", "data.duplicates.across_sources")
        rest(lambda texts: dup.across(texts, sources, across_sources), "in an earlier source")
    return Outcome(dropped)


def quality(table: pa.Table, filters: Mapping[str, Callable[[pa.Table], Sequence[bool]]]) -> Outcome:
    """Apply named filters (quality.py) in order; a row's reason is the first filter that finds it broken."""
    dropped: list[str | None] = [None] * len(table)
    for name, is_bad in filters.items():
        if is_bad is None:
            continue
        for i, bad in enumerate(is_bad(table)):
            if bad and dropped[i] is None:
                dropped[i] = name
    return Outcome(dropped)


def difficulty(table: pa.Table, *, solved: Mapping[str, Sequence[bool | None]]) -> Outcome:
    """Keep what no model solves (paper section 2.2). `solved`: model name -> was its attempt right, None where not graded."""
    dropped: list[str | None] = [None] * len(table)
    for name, marks in solved.items():
        for i, mark in enumerate(marks):
            dropped[i] = dropped[i] or ("not graded" if mark is None else f"solved by {name}" if mark else None)
    return Outcome(dropped, {f"solved_by_{name}": list(marks) for name, marks in solved.items()})


def domains(table: pa.Table, *, labels: Sequence[str | None]) -> Outcome:
    """Set the `domain` column; a row without a domain cannot be chosen by domain and goes."""
    return Outcome([None if label else "no domain" for label in labels], {"domain": list(labels)})


def length(table: pa.Table, *, tokenizer: Any | None = None, of: str | None = None) -> Outcome:
    """Add `length`: trace length in tokens of `tokenizer`, in characters without one, or column `of` as it is."""
    if of:
        values = column(table, of, "data.length.of")
        return Outcome([None if v is not None else "no length" for v in values], {"length": values})
    texts = [text or "" for text in column(table, "thinking", "data.length")]
    if tokenizer is None:
        return Outcome([None] * len(texts), {"length": [len(text) for text in texts]})
    lengths: list[int] = []
    for at in range(0, len(texts), 256):
        lengths += map(len, tokenizer(texts[at : at + 256], add_special_tokens=False)["input_ids"])
    return Outcome([None] * len(texts), {"length": lengths})


def select(
    table: pa.Table,
    *,
    how: str,
    n: int | None = None,
    seed: int = 0,
    halving: float = 1,
    tail: int = 0,
    seeds: Sequence[Mapping[str, Any]] = (),
    benchmark_sources: Sequence[str] = (),
) -> Outcome:
    """Choose the subset: `paper`, `notebook`, `diverse`, `random`, `longest` or `full` (selection.py; paper Algorithm 1)."""
    if how not in VARIANTS:
        raise SettingError(f"data.select.how={how}: choose one of {', '.join(VARIANTS)}")
    if how == "full":
        return Outcome([None] * len(table))
    if not isinstance(n, int) or n < 1:
        raise SettingError(f"data.select.n={n}: how={how} needs the number of records to choose, at least 1")
    ids = column(table, "id", "data.select")
    needs_domain, needs_length = how in ("paper", "notebook", "diverse"), how in ("paper", "notebook", "longest")
    groups = [d or "" for d in column(table, "domain", f"data.select.how={how}")] if needs_domain else []
    lengths = column(table, "length", f"data.select.how={how} (set data.length)") if needs_length else []
    if how == "random":
        chosen = selection.uniform(ids, n, seed)
    elif how == "diverse":
        chosen = selection.domains_uniform(ids, groups, n, seed)
    elif how == "longest":
        chosen = selection.longest(ids, lengths, n)
    else:
        start = seed_rows(table, lengths, seeds)
        notebook = how == "notebook"
        weights = None
        if notebook:
            weights = selection.benchmark_weights(groups, column(table, "source", "data.select"), benchmark_sources)
        chosen = selection.ranked(ids, groups, lengths, n, seed, start, halving, tail if notebook else 0, weights)
    kept = set(chosen)
    return Outcome([None if i in kept else "not chosen" for i in range(len(table))])


VARIANTS = ("paper", "notebook", "diverse", "random", "longest", "full")


def seed_rows(table: pa.Table, lengths: Sequence[float], rules: Sequence[Mapping[str, Any]]) -> list[int]:
    """Rows that any rule takes outright. A rule: `sources` [names], `correct` (column that must be true), `longer_than`."""
    taken: set[int] = set()
    for rule in rules:
        sources = column(table, "source", "data.select.seeds")
        correct = column(table, rule["correct"], "data.select.seeds.correct") if rule.get("correct") else None
        for i, source in enumerate(sources):
            if (
                source in rule["sources"]
                and (correct is None or correct[i])
                and lengths[i] > rule.get("longer_than", float("-inf"))
            ):
                taken.add(i)
    return sorted(taken)
