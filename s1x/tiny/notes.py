"""Worked notes: the fast lines, slow column arithmetic, checks, and whole reasoning traces.

A *fast* line does a step in one go (`2:776+289=065`). A *slow* line writes digit columns with carries. A tiny model
learns fast addition perfectly, fast two-digit multiplication only in part, and slow arithmetic almost perfectly:
that is why checking its own work helps it, and nothing else in the world makes it so.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .problems import MAX_STEPS, Problem, Step, slip, three


def slow(value: int, step: Step) -> str:
    """`{v}{op}{x} {columns} {result}` with two-digit column results, least significant column first."""
    v = three(value)
    expression = f"{v}{step.op}{step.x}"
    if step.op == "+":
        columns, result = _add_columns(v, three(step.x))
    elif step.op == "-":
        columns, result = _subtract_columns(v, three(step.x))
    else:
        columns, result = _times_columns(v, step.x)
    assert result == three(step(value)), (value, step, columns, result)
    return f"{expression} {columns} {result}"


def _add_columns(a: str, b: str) -> tuple[str, str]:
    parts, digits, carry = [], "", 0
    for i, (p, q) in enumerate(zip(reversed(a), reversed(b))):
        total = int(p) + int(q) + carry
        parts.append(f"{p}+{q}{f'+{carry}' if i else ''}={total:02d}")
        digits, carry = str(total % 10) + digits, total // 10
    return " ".join(parts), digits


def _subtract_columns(a: str, b: str) -> tuple[str, str]:
    # A column holds 10 + a - b - borrow, so a leading 0 says that the next column owes one.
    parts, digits, borrow = [], "", 0
    for i, (p, q) in enumerate(zip(reversed(a), reversed(b))):
        total = 10 + int(p) - int(q) - borrow
        parts.append(f"{p}-{q}{f'-{borrow}' if i else ''}={total:02d}")
        digits, borrow = str(total % 10) + digits, int(total < 10)
    return " ".join(parts), digits


def _times_digit(a: str, d: str) -> tuple[str, str]:
    parts, digits, carry = [], "", 0
    for i, p in enumerate(reversed(a)):
        total = int(p) * int(d) + carry
        parts.append(f"{p}*{d}{f'+{carry}' if i else ''}={total:02d}")
        digits, carry = str(total % 10) + digits, total // 10
    return " ".join(parts), digits


def _times_columns(a: str, x: int) -> tuple[str, str]:
    if x < 10:
        return _times_digit(a, str(x))
    tens, units = str(x)
    first, low = _times_digit(a, units)
    second, high = _times_digit(a[1:], tens)  # modulo 1000 only two digits of the tens product matter
    parts, digits, carry = [], low[-1], 0
    for i, (p, q) in enumerate(zip(reversed(low[:-1]), reversed(high))):
        total = int(p) + int(q) + carry
        parts.append(f"{p}+{q}{f'+{carry}' if i else ''}={total:02d}")
        digits, carry = str(total % 10) + digits, total // 10
    return f"{first} {low} {second} {high} {' '.join(parts)}", digits


@dataclass
class Notes:
    """Text under construction, the character spans of injected slips, and the answer it stands for so far."""

    problem: Problem
    text: str = ""
    slips: list[tuple[int, int]] = field(default_factory=list)
    values: list[int] = field(default_factory=list)  # running values as the notes have them
    so: str = ""  # the last complete "So ddd."

    def fast(
        self, first: int, rng: random.Random | None = None, slip_rate: dict[str, float] | None = None, sure: int = 0
    ) -> None:
        """Write lines `first`.. to the end in one go each; with `slip_rate` (per operation) lines after `sure` may be wrong."""
        self.values = self.values[:first] or [self.problem.start]
        for i in range(first, len(self.problem.steps) + 1):
            step, before = self.problem.steps[i - 1], self.values[-1]
            value = step(before)
            self.text += f"{i}:{three(before)}{step.op}{step.x}="
            if slip_rate and i > sure and rng.random() < slip_rate[step.op]:
                value = slip(rng, value)
                self.slips.append((len(self.text), len(self.text) + 3))
            self.text += three(value) + "\n"
            self.values.append(value)

    def conclude(self) -> None:
        self.so = three(self.values[-1])
        self.text += f"So {self.so}.\n"

    def check(self, i: int, rng=None, slip_rate=None, word: str = "Wait") -> None:
        """Redo step `i` slowly, then every later step in one go, then conclude."""
        step, before = self.problem.steps[i - 1], self.values[i - 1]
        self.text += f"{word}, check {i}:{slow(before, step)}.\n"
        self.values = self.values[:i] + [step(before)]
        self.fast(i + 1, rng, slip_rate)
        self.conclude()

    def redo(self, rng=None, slip_rate=None) -> None:
        """All steps again in one go."""
        self.text += "Alternatively, redo.\n"
        self.fast(1, rng, slip_rate)
        self.conclude()

    def nothing_left(self) -> None:
        self.text += "Wait, all steps checked.\n"
        self.conclude()


SLIPS = {"*": 0.3, "+": 0.06, "-": 0.06}


def natural_checks(rng: random.Random, steps: int) -> int:
    """How many checks a pool trace makes before it stops (by construction: half of the steps, sometimes more).

    One in twelve stops early; one in sixteen goes on past the last step, so that a model pushed to think on knows what
    being done looks like.
    """
    draw, half = rng.random(), (steps + 1) // 2
    if draw < 1 / 12:
        return rng.randrange(half)
    if draw < 1 / 12 + 1 / 16:
        return rng.randint(steps + 1, steps + 3)
    checks = half
    while checks < steps + 1 and rng.random() < 0.14:
        checks += 1
    return checks


def trace(rng: random.Random, problem: Problem, checks: int | None = None, slips: dict[str, float] | None = SLIPS) -> Notes:
    """A reasoning trace: a fast pass that may slip, then checks from the first step on.

    Besides "Wait", one check in sixteen each starts with "Hmm" (the last step alone) or "Alternatively" (all again,
    fast), so that the three words mean different things.
    """
    steps = len(problem.steps)
    checks = natural_checks(rng, steps) if checks is None else checks
    notes = Notes(problem)
    notes.fast(1, rng, slips)
    notes.conclude()
    done = 0
    for _ in range(checks):
        draw = rng.random()
        if draw < 0.06 and done < steps:
            notes.check(steps, rng, slips, word="Hmm")
        elif draw < 0.12:
            notes.redo(rng, slips)
        elif done < steps:
            done += 1
            notes.check(done, rng, slips)
        else:
            notes.nothing_left()
    return notes


def answer_text(problem: Problem, result: str) -> str:
    """What follows "Final Answer: ": the result, or the letter of the closest choice."""
    if not problem.choices:
        return result
    same = [sum(a == b for a, b in zip(choice, result)) for choice in problem.choices]
    return "ABCD"[same.index(max(same))]


assert MAX_STEPS < 10, "lines are numbered with one digit"
