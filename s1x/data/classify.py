"""What a question is about, and whether an attempt is right, as a model behind a server says (paper sections 2.2 and B)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .asking import Server, ask

CLASSES = Path(__file__).with_name("msc.yaml")

DOMAIN_PROMPT = """You sort questions by subject. Below is a list of subjects, each with a two-digit code.
Read the question, say briefly what it is about, and choose the one subject that fits best; when several fit, take the most
relevant one. The last line of your reply must be the two-digit code and nothing else.

{classes}"""

JUDGE_PROMPT = """You grade attempts at scientific problems. You are given a problem, an attempt and the correct answer.
Decide whether the attempt is correct by comparing it with the correct answer. Where that is a number or a choice, the two
must agree without doubt; where it is a whole argument, the attempt's reasoning must hold and reach the same conclusion.
Explain your decision briefly. The last line of your reply must be Yes or No and nothing else."""


def msc() -> dict[str, str]:
    """Code -> name of the 61 classes of the Mathematics Subject Classification (2020, two digits) that s1 sorts into."""
    import yaml

    return yaml.safe_load(CLASSES.read_text(encoding="utf-8"))


def domains(server: Server, questions: Sequence[str | None], cache: Path) -> list[str | None]:
    """The MSC class of each question by name; None where the reply does not end in a known code."""
    classes = msc()
    listed = "\n".join(f"{code}: {name}" for code, name in classes.items())
    replies = ask(server, DOMAIN_PROMPT.format(classes=listed), [q or "" for q in questions], cache)
    return [classes.get(_last_code(reply)) for reply in replies]


def judge(
    server: Server,
    questions: Sequence[str | None],
    attempts: Sequence[str | None],
    solutions: Sequence[str | None],
    cache: Path,
) -> list[bool | None]:
    """Is each attempt right? None where there is no solution, no attempt, or no clear Yes or No."""
    asked = [i for i, (a, s) in enumerate(zip(attempts, solutions)) if a and s]
    messages = [f"## Problem\n{questions[i]}\n\n## Attempt\n{attempts[i]}\n\n## Correct answer\n{solutions[i]}" for i in asked]
    marks: list[bool | None] = [None] * len(questions)
    for i, reply in zip(asked, ask(server, JUDGE_PROMPT, messages, cache)):
        last = (reply or "").strip().rpartition("\n")[2].strip(" .*\"'").lower()
        marks[i] = {"yes": True, "no": False}.get(last)
    return marks


def _last_code(reply: str | None) -> str:
    found = re.search(r"(\d\d)\W*$", reply or "")
    return found[1] if found else ""
