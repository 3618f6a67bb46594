"""What the tiny base model reads: skills (fast and slow arithmetic, plain solutions, checks of notes), no traces.

Every document is a list of (token ids, learn) pieces; only pieces with `learn` enter the loss. Injected slips never do:
the model sees first passes that went wrong, and learns to repair them, not to slip.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from . import problems
from .notes import SLIPS, Notes, answer_text, slow, trace
from .problems import MAX_STEPS, Problem, Step, operand, three

Piece = tuple[list[int], bool]


class Writer:
    """Draws documents. `exclude` holds problem keys (the benchmarks') that must not appear."""

    def __init__(self, tokenizer, seed: int | str, exclude: frozenset = frozenset()):
        self.rng, self.exclude = random.Random(seed), exclude
        self.backend = tokenizer.backend_tokenizer if hasattr(tokenizer, "backend_tokenizer") else tokenizer._tokenizer
        self.eos = self.encode("<|endoftext|>")
        self.kinds: list[tuple[float, Callable[[], list[Piece]]]] = [
            (0.13, self.fast_table),
            (0.16, self.slow_table),
            (0.31, self.solution),
            (0.30, self.review),
            (0.10, self.forced),
        ]

    def encode(self, text: str) -> list[int]:
        return self.backend.encode(text, add_special_tokens=False).ids

    def documents(self) -> Iterator[list[Piece]]:
        weights, makers = zip(*self.kinds)
        while True:
            yield [*self.rng.choices(makers, weights)[0](), (self.eos, True)]

    # --- kinds of documents ---

    def fast_table(self) -> list[Piece]:
        pieces = []
        for _ in range(self.rng.randint(6, 14)):
            value, step = self._step(times=0.6)
            pieces += [
                (self.encode(f"{three(value)}{step.op}{step.x}="), False),
                (self.encode(three(step(value)) + "\n"), True),
            ]
        return pieces

    def slow_table(self) -> list[Piece]:
        pieces = []
        for _ in range(self.rng.randint(2, 4)):
            value, step = self._step(times=0.55)
            expression = f"{three(value)}{step.op}{step.x}"
            pieces += [(self.encode(expression), False), (self.encode(slow(value, step)[len(expression) :] + ".\n"), True)]
        return pieces

    def solution(self) -> list[Piece]:
        """A chat: the question, one fast line per step, the answer."""
        problem = self._problem()
        notes = Notes(problem)
        notes.fast(1)
        return self._chat(problem.question, f"{notes.text}Final Answer: {problem.answer}")

    def review(self) -> list[Piece]:
        """A chat: question, notes so far, "Do check i." or "Do check i to j."; the reply makes the checks."""
        problem, rng = self._problem(), self.rng
        steps = len(problem.steps)
        first = rng.randint(1, steps)
        last = min(steps, first + (rng.randint(1, 2) if rng.random() < 0.25 else 0))
        from_ = max(1, first - rng.randint(0, 3))  # checks before this one are left out: the lines before it are right
        notes = Notes(problem)
        notes.fast(1, rng, {"*": 0.4, "+": 0.1, "-": 0.1}, sure=from_ - 1)
        notes.conclude()
        for i in range(from_, first):
            notes.check(i, rng, SLIPS)
        ask = f"Do check {first}." if last == first else f"Do check {first} to {last}."
        asked, notes.text = notes.text, ""
        for i in range(first, last + 1):
            notes.check(i)
        return self._chat(f"{problem.question}\n{asked}{ask}", f"{notes.text}Final Answer: {answer_text(problem, notes.so)}")

    def forced(self) -> list[Piece]:
        """Thinking cut anywhere, then the answer it stands for: the last "So", or the running value carried on in the head.

        Only the answer is learned, so this teaches answering when told to, not thinking.
        """
        problem, rng = self._problem(), self.rng
        notes = trace(rng, problem, checks=rng.choice((0, 0, 1, 1, 2, 3, 5)))
        text = self.encode(notes.text)
        cut = rng.randint(0, len(text)) if rng.random() < 0.85 else len(text)
        thought = text[:cut]
        kept = self.backend.decode(thought, skip_special_tokens=False)
        newline = [] if kept.endswith("\n") else self.encode("\n")
        head = self.encode(prompt(problem.question) + "<|im_start|>think\n") + thought + newline
        tail = self.encode("<|im_start|>answer\nFinal Answer:")
        return [(head + tail, False), (self.encode(f" {answer_text(problem, standing(problem, kept))}<|im_end|>"), True)]

    # --- helpers ---

    def _step(self, times: float) -> tuple[int, Step]:
        rng = self.rng
        op = "*" if rng.random() < times else rng.choice("+-")
        x = operand(rng, op) if rng.random() < 0.9 else rng.randint(2, 99)
        return rng.randrange(1000), Step(op, x if op == "*" or x > 99 else x + 100)

    def _problem(self) -> Problem:
        while True:
            problem = problems.sample(self.rng, self.rng.randint(1, MAX_STEPS))
            if problem.key not in self.exclude:
                break
        return problems.with_choices(self.rng, problem) if self.rng.random() < 0.15 else problem

    def _chat(self, user: str, assistant: str) -> list[Piece]:
        return [(self.encode(prompt(user)), False), (self.encode(assistant + "<|im_end|>\n"), True)]


def prompt(user: str) -> str:
    from .tokenizer import SYSTEM

    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def standing(problem: Problem, notes: str) -> str:
    """The answer that notes cut anywhere stand for."""
    at = notes.rfind("So ")
    while at >= 0:
        if notes[at + 3 : at + 6].isdigit() and len(notes) >= at + 6:
            return notes[at + 3 : at + 6]
        at = notes.rfind("So ", 0, at)
    value, done = problem.start, 0
    for line in notes.split("\n")[:-1]:
        value, done = int(line.rsplit("=", 1)[1]), done + 1
    for step in problem.steps[done:]:
        value = step(value)
    return three(value)
