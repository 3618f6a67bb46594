"""Answers of others graded by our rules: read as the kind of thing that the target is, and compared with it in workers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..tasks import graders
from ..tasks.equivalence import rules
from .rows import Row

BARE = 100  # characters of a text that is an answer by itself


def grade(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """`score, extracted, no_answer, reader` of each row. All comparisons are under way before the first is waited for."""
    started = []
    for row in rows:
        answer = read(row.text or row.answer or "", target := _target(row.target or ""))
        if answer is not None:
            rules.submit(answer, target)
        started.append((answer, target))
    for answer, target in started:
        verdict = "unparsed" if answer is None else rules.verdict(answer, target)
        yield {
            "score": float(verdict == "same"),
            "extracted": answer,
            "no_answer": verdict == "unparsed",
            "reader": "none" if verdict in ("ungraded", "timeout") else "rules",
        }


def read(text: str, target: str) -> str | None:
    """The answer that a text states: a letter where the target is one, a number or mathematics elsewhere. A short line that
    states none is the answer itself."""
    target = graders.same_target(target)
    extract = graders.extract_choice if re.fullmatch("[A-Z]", target) else graders.extract_value
    ((found,),) = extract([[text]], [{"answer": target}])
    if found != graders.NO_ANSWER:
        return found
    bare = text.strip()
    return bare if bare and len(bare) <= BARE and "\n" not in bare else None


def _target(text: str) -> str:
    """The target alone, where a whole solution stands (GSM8K's ends with `#### 18`)."""
    return graders.same_target(text.rpartition("####")[2].strip())
