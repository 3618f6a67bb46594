"""How a reward model reads a solution and what it says of it, in token ids (`conf/scorer`).

A process reward model (PRM) looks at a solution step by step: question, first step, mark, second step, mark, ... and is read
behind each mark. What it reads of the first steps does not depend on later ones, so a trunk that many solutions share is scored
once (streams.types.Score).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .streams.types import Ids, Row, Score


@dataclass(frozen=True)
class ScorerFormat:
    """The strings of a scorer.

    prompt: what stands before the steps, with {question} in it: a user's message under the model's chat template (behind
    `system`), or plain text where `template` is false. mark follows each step, and the model is read behind it; `after` follows
    where it was read. separator: what parts a text into steps. answer: whether the answer is read as a last step, behind the
    thinking. labels: words whose probabilities are compared, each one token, null for a model with a value head. right: which
    of the labels, or of the head's outputs, says that a step is right.

    Raises ValueError (a sentence) for values that make no sense.
    """

    name: str
    template: bool = True
    system: str | None = None
    prompt: str = "{question}"
    mark: str = ""
    after: str = ""
    separator: str = "\n\n"
    answer: bool = True
    labels: tuple[str, ...] | None = None
    right: int = 0

    def __post_init__(self) -> None:
        if "{question}" not in self.prompt:
            raise ValueError(f"scorer.prompt={self.prompt!r}: must hold {{question}}")
        if not self.separator:
            raise ValueError("scorer.separator: must be some text, by which steps are told apart")
        if self.labels is not None:
            if len(self.labels) < 2:
                raise ValueError(f"scorer.labels={list(self.labels)}: needs two words or more to compare, or null")
            object.__setattr__(self, "labels", tuple(self.labels))  # YAML has lists
        if not isinstance(self.right, int) or not 0 <= self.right < (len(self.labels) if self.labels else 1 << 16):
            raise ValueError(f"scorer.right={self.right}: must be the place (0 is the first) of a label or output")


@dataclass
class Scorer:
    """A scorer's format bound to its tokenizer, and to the role that its model has (`Score.model`)."""

    format: ScorerFormat
    tokenizer: Any
    role: str = "scorer"
    _cache: dict[str, Ids] = field(default_factory=dict, repr=False)

    @cached_property
    def of(self) -> Any:
        """What is asked for: label ids, or "head"."""
        labels = self.format.labels
        return "head" if labels is None else tuple(self._single(label) for label in labels)

    def steps(self, text: str) -> list[str]:
        """The steps of a text; what is empty is none."""
        return [step for step in text.split(self.format.separator) if step.strip()]

    def solution(self, thinking: str, answer: str) -> list[str]:
        """The steps of a whole solution."""
        return [*self.steps(thinking), *([answer] if self.format.answer and answer.strip() else [])]

    def encode(self, question: str, steps: Sequence[str]) -> tuple[Ids, tuple[int, ...]]:
        """The ids of a solution, and behind how many of them the model is read, once for each step."""
        ids, at = list(self._prompt(question)), []
        for step in steps:
            ids += self._ids(step) + self._ids(self.format.mark)
            at.append(len(ids))
            ids += self._ids(self.format.after)
        return tuple(ids[: at[-1]] if at else ids), tuple(at)

    def score(self, question: str, steps: Sequence[str]) -> Score:
        """The request whose rows `values` reads; needs one step at least."""
        return Score(*self.encode(question, steps), self.of, self.role)

    def values(self, rows: Sequence[Row]) -> list[float]:
        """How probably each step is right (0 to 1): the softmax over labels or outputs, of a single output its sigmoid."""
        return [_right(row, self.format.right) for row in rows]

    def _prompt(self, question: str) -> Ids:
        text = self.format.prompt.format(question=question)
        if not self.format.template:
            return tuple(self.tokenizer.encode(text))  # with the beginning of the text that the tokenizer writes
        messages = [{"role": "system", "content": self.format.system}] * (self.format.system is not None)
        messages.append({"role": "user", "content": text})
        rendered = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self._ids(rendered)

    def _ids(self, text: str) -> Ids:
        if text not in self._cache:
            self._cache[text] = tuple(self.tokenizer.encode(text, add_special_tokens=False)) if text else ()
        return self._cache[text]

    def _single(self, label: str) -> int:
        ids = self._ids(label)
        if len(ids) != 1:
            raise ValueError(
                f"scorer.labels: {label!r} is {len(ids)} tokens for the tokenizer of {self.format.name}; it must be one"
            )
        return ids[0]


def _right(row: Row, place: int) -> float:
    if len(row) == 1:
        return 1 / (1 + math.exp(-max(min(row[0], 700.0), -700.0)))
    top = max(row)
    shares = [math.exp(value - top) for value in row]
    return shares[place] / sum(shares)
