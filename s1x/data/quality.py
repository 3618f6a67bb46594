"""Quality filters: each takes the table and returns True for every row that is broken. The config names and counts them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from .records import column

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")


def missing(table: pa.Table, *, columns: Sequence[str]) -> list[bool]:
    """A field is null or blank. In s1 a failed API call leaves such a field, and so does a source without solutions (T5)."""
    bad = [False] * len(table)
    for name in columns:
        for i, value in enumerate(column(table, name, "data.quality, filter missing")):
            bad[i] = bad[i] or value is None or (isinstance(value, str) and not value.strip())
    return bad


def contains(table: pa.Table, *, pattern: str, of: str = "question", except_sources: Sequence[str] = ()) -> list[bool]:
    """The text contains the regular expression; some sources may be exempt (s1 keeps Asymptote figures of AIME)."""
    regex, sources = re.compile(pattern), column(table, "source", "data.quality")
    return [
        bool(regex.search(text or "")) and source not in except_sources
        for text, source in zip(column(table, of, "data.quality"), sources)
    ]


def not_like(table: pa.Table, *, pattern: str, of: str) -> list[bool]:
    """The whole text does not have the form of the regular expression."""
    regex = re.compile(pattern)
    return [regex.fullmatch(text or "") is None for text in column(table, of, "data.quality")]


def longer_than(table: pa.Table, *, characters: int, of: str = "question") -> list[bool]:
    """The text has more characters than that."""
    return [len(text or "") > characters for text in column(table, of, "data.quality")]


def unreadable(table: pa.Table, *, columns: Sequence[str] = ("question", "thinking", "answer")) -> list[bool]:
    """A text holds control characters, or U+FFFD where its bytes were not valid."""
    bad = [False] * len(table)
    for name in columns:
        for i, text in enumerate(column(table, name, "data.quality, filter unreadable")):
            bad[i] = bad[i] or (text is not None and ("\ufffd" in text or _CONTROL.search(text) is not None))
    return bad


def wrong_answer(table: pa.Table, *, prefix: str = "Final Answer: ") -> list[bool]:
    """The trace's own answer is not the solution, as text. (s1 keeps wrong traces; the tiny world does not.)"""
    answers, solutions = column(table, "answer", "data.quality"), column(table, "solution", "data.quality")
    return [(a or "").removeprefix(prefix).strip() != (s or "").strip() for a, s in zip(answers, solutions)]
