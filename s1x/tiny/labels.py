"""Which lines of a trace are right, by the tiny world's own arithmetic: what its process reward model learns.

A line is right iff its input, operator, operand and result are the true ones of the step it names; a "So" line iff it says the
true result. So a right operation on a wrong value is wrong, a check is right whatever it repairs, and what states nothing
("Wait, all steps checked.") has no label.
"""

from __future__ import annotations

import random
import re

from .problems import Problem, slip, three

_STEP = re.compile(r"(?:(?:Wait|Hmm), check )?(\d):(\d{3})([-+*])(\d{1,3})(?:=|(?: [-+*=\d]+)* )(\d{3})\.?")
_SO = re.compile(r"So (\d{3})\.")
STATES_NOTHING = ("Wait, all steps checked.", "Alternatively, redo.")


def labels(problem: Problem, lines: list[str]) -> list[bool | None]:
    """For each line whether it is right, None where it states nothing. A line that cannot be read is wrong."""
    values = problem.values

    def right(line: str) -> bool | None:
        if line in STATES_NOTHING:
            return None
        if so := _SO.fullmatch(line):
            return so[1] == problem.result
        found = _STEP.fullmatch(line)
        if not found or not 1 <= int(found[1]) <= len(problem.steps):
            return False
        i = int(found[1])
        step = problem.steps[i - 1]
        return found.groups()[1:] == (three(values[i - 1]), step.op, str(step.x), three(values[i]))

    return [right(line) for line in lines]


def kind(line: str) -> str | None:
    """What sort of line it is: "+", "-", "*" (by one digit), "**" (by two), each in one go; "check", "so"; None."""
    if _SO.fullmatch(line):
        return "so"
    found = _STEP.fullmatch(line)
    if not found:
        return None
    if "check" in line:
        return "check"
    return "**" if found[3] == "*" and len(found[4]) > 1 else found[3]


def slipped(rng: random.Random, line: str) -> str:
    """The same line with a slip in its result, one or two digits off; for lines that `kind` knows."""
    end = len(line) - line.endswith(".")
    return line[: end - 3] + three(slip(rng, int(line[end - 3 : end]))) + line[end:]
