"""Answers of others graded by our rules: read as the kind of thing that the target is, and compared with it in workers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..tasks import graders
from ..tasks.equivalence import rules
from ..tasks.notation import canonical, value
from .rows import Row

BARE = 100  # characters of a text that is an answer by itself
_MARK = re.compile(r"(?<!#)####(?!#)\s*([^\n]*)")


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
    states none is the answer itself.

    `#### 18` at the end of a solution, as GSM8K writes it, states one where nothing behind it does.
    """
    target = graders.same_target(target)
    marks = list(_MARK.finditer(text))
    line, behind = (marks[-1][1].strip(), text[marks[-1].end() :].strip()) if marks else ("", text)
    plain = value(canonical(line)) is not None or re.fullmatch("[A-Z]", line)
    if line and (plain or not behind) and not _extracted(behind, target):  # else it may be a heading: #### Step 3
        if found := _extracted(line, target) or (line if plain else None):
            return found
    if found := _extracted(text, target):
        return found
    bare = line if marks and not behind else text.strip()
    return bare if bare and len(bare) <= BARE and "\n" not in bare else None


def _extracted(text: str, target: str) -> str | None:
    """What is read of a text beside such a target. A small letter may be a choice or a variable."""
    extracts = [graders.extract_value]
    if len(target) == 1 and target.isalpha():
        extracts = [graders.extract_choice, graders.extract_value] if target.islower() else [graders.extract_choice]
    for extract in extracts:
        ((found,),) = extract([[text]], [{"answer": target}])
        if found != graders.NO_ANSWER:
            return found.lower() if target == found.lower() else found
    return None


def _target(text: str) -> str:
    """The target alone, where a whole solution stands (GSM8K's ends with `#### 18`)."""
    return graders.same_target(text.rpartition("####")[2].strip())
