"""Arithmetic word problems for the laptop world: several steps modulo 1000, an AIME-like three-digit answer.

A problem is a start value and one to eight steps; a *domain* is a way to put them in words. Everything else about
the tiny world (worked notes, traces, pool, benchmarks) is derived from these steps.

    rng = random.Random(0)
    p = sample(rng, steps=3)
    p.question, p.answer            # 'Start at 142, up 508, times 4, down 77. Where now?', '523'
"""

from __future__ import annotations

import random
from dataclasses import dataclass

MODULUS = 1000
MAX_STEPS = 8


@dataclass(frozen=True)
class Step:
    """One operation on the running value: `op` is one of + - *, `x` its operand (0 to 999)."""

    op: str
    x: int

    def __call__(self, value: int) -> int:
        if self.op == "+":
            return (value + self.x) % MODULUS
        if self.op == "-":
            return (value - self.x) % MODULUS
        return (value * self.x) % MODULUS


@dataclass(frozen=True)
class Problem:
    """A question with its steps. `choices` is empty, or four three-digit strings of a multiple-choice question."""

    domain: str
    start: int
    steps: tuple[Step, ...]
    choices: tuple[str, ...] = ()

    @property
    def key(self) -> tuple:
        """What is being computed, whatever the words: used to keep benchmarks out of every training stream."""
        return (self.start, self.steps)

    @property
    def values(self) -> list[int]:
        """The running value before the first step and after each one (length: steps + 1)."""
        values = [self.start]
        for step in self.steps:
            values.append(step(values[-1]))
        return values

    @property
    def result(self) -> str:
        return three(self.values[-1])

    @property
    def answer(self) -> str:
        """What a grader expects: three digits, or a letter for a multiple-choice question."""
        return "ABCD"[self.choices.index(self.result)] if self.choices else self.result

    @property
    def question(self) -> str:
        text = DOMAINS[self.domain](self.start, self.steps)
        for letter, choice in zip("ABCD", self.choices):
            text += f"\n{letter}) {choice}"
        return text


def three(value: int) -> str:
    return f"{value % MODULUS:03d}"


# --- domains: the same kind of step list in ten surface forms -------------------------------------------------------


def _chain_lines(start, steps):
    names = "abcdefghi"
    return [f"a={start}"] + [f"{names[i + 1]}={names[i]}{s.op}{s.x}" for i, s in enumerate(steps)], names[len(steps)]


def _chain(start, steps):
    lines, last = _chain_lines(start, steps)
    return f"{', '.join(lines)}. Find {last}."


def _back(start, steps):
    lines, last = _chain_lines(start, steps)
    return f"{', '.join(reversed(lines))}. Find {last}."


def _story(start, steps):
    verbs = {"+": "gets", "-": "loses", "*": "times"}
    told = ", ".join(f"{verbs[s.op]} {s.x}" for s in steps)
    return f"Ann has {start} coins, {told}. How many?"


def _robot(start, steps):
    verbs = {"+": "up", "-": "down", "*": "times"}
    told = ", ".join(f"{verbs[s.op]} {s.x}" for s in steps)
    return f"Start at {start}, {told}. Where now?"


def _rpn(start, steps):
    return f"Stack: {start} " + " ".join(f"{s.x} {s.op}" for s in steps)


def _sum(start, steps):
    return "Add " + ", ".join(str(v) for v in [start, *(s.x for s in steps)])


def _alt(start, steps):
    return f"Evaluate {start}" + "".join(f"{s.op}{s.x}" for s in steps)


def _power(start, steps):
    return f"Compute {start}*{steps[0].x}^{len(steps)}"


def _recur(start, steps):
    pair = steps[:2]
    return f"Let x={start}. Repeat: " + ", ".join(f"x{s.op}{s.x}" for s in pair) + f". Find x after {len(steps)} steps."


def _horner(start, steps):
    return f"Horner at {steps[0].x}: {start}, " + ", ".join(str(s.x) for s in steps[1::2])


DOMAINS = {
    "chain": _chain,
    "back": _back,
    "story": _story,
    "robot": _robot,
    "rpn": _rpn,
    "sum": _sum,
    "alt": _alt,
    "power": _power,
    "recur": _recur,
    "horner": _horner,
}
ADDITIVE = ("sum", "alt")  # no multiplication: easy even in one go


# --- sampling -------------------------------------------------------------------------------------------------------


def operand(rng: random.Random, op: str) -> int:
    if op == "*":
        return rng.randint(11, 99) if rng.random() < 0.65 else rng.randint(3, 9)
    return rng.randint(100, 999)


def sample(rng: random.Random, steps: int, domains: tuple[str, ...] = tuple(DOMAINS), times: float = 0.55) -> Problem:
    """Draw a problem with exactly `steps` steps (1 to 8); `times` is the chance that a free step multiplies.

    Domains whose form fixes the operations (sum, alt, power, recur, horner) ignore `times`.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps={steps}: a tiny problem has 1 to {MAX_STEPS} steps")
    domain = rng.choice(domains)
    start = rng.randint(100, 999)

    def draw(op=None):
        op = op or ("*" if rng.random() < times else rng.choice("+-"))
        return Step(op, operand(rng, op))

    if domain == "sum":
        body = [draw("+") for _ in range(steps)]
    elif domain == "alt":
        body = [draw("-+"[i % 2]) for i in range(steps)]
    elif domain == "power":
        body = [draw("*")] * steps
    elif domain == "recur":
        pair = [draw("*"), draw(rng.choice("+-"))]
        body = [pair[i % 2] for i in range(steps)]
    elif domain == "horner":
        times_step = draw("*")
        body = [times_step if i % 2 == 0 else draw("+") for i in range(steps)]
    else:
        body = [draw() for _ in range(steps)]
    return Problem(domain, start, tuple(body))


def with_choices(rng: random.Random, problem: Problem) -> Problem:
    """The same problem with four answers: the right one and three that typical slips would give."""
    right = problem.result
    wrong: list[str] = []
    while len(wrong) < 3:
        values, at = problem.values, rng.randrange(len(problem.steps))
        value = slip(rng, values[at + 1])  # one result goes wrong, the rest follows from it
        for step in problem.steps[at + 1 :]:
            value = step(value)
        if three(value) != right and three(value) not in wrong:
            wrong.append(three(value))
    choices = [right, *wrong]
    rng.shuffle(choices)
    return Problem(problem.domain, problem.start, problem.steps, tuple(choices))


def slip(rng: random.Random, value: int) -> int:
    """A wrong result as a hurried calculator would write it: one or two digits off."""
    digits = list(three(value))
    for at in rng.sample(range(3), k=1 if rng.random() < 0.6 else 2):
        digits[at] = str((int(digits[at]) + rng.choice((1, 2, 3, 5, 7, 8, 9))) % 10)
    return int("".join(digits))


def benchmark(seed: int, n: int, *, choices: bool = False, max_steps: int = MAX_STEPS) -> list[Problem]:
    """`n` distinct problems with 1 to `max_steps` steps, evenly mixed, without the additive domains."""
    rng = random.Random(f"benchmark-{seed}-{choices}")
    domains = tuple(d for d in DOMAINS if d not in ADDITIVE)
    found: dict[tuple, Problem] = {}
    while len(found) < n:
        problem = sample(rng, 1 + len(found) % max_steps, domains)
        if problem.key not in found and any(s.op == "*" for s in problem.steps):
            found[problem.key] = with_choices(rng, problem) if choices else problem
    return list(found.values())
