"""What our lm-eval task files refer to: filters that extract, and `process_results` that score and count missing answers.

The same functions work under `lm_eval --include_path s1x/tasks/yaml`, so a score can be checked with lm-eval alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from . import answers
from .equivalence import judge

NO_ANSWER = "[invalid]"  # lm-eval's own word for a filter that found nothing


def _filter(extract: Callable[[str], str | None]):
    def apply(responses, docs):
        return [[NO_ANSWER if (found := extract(r)) is None else found for r in group] for group in responses]

    return apply


extract_integer = _filter(answers.integer)
extract_choice = _filter(answers.choice)
extract_math = _filter(answers.math)


def _score(correct: bool, missing: bool) -> dict[str, int]:
    return {"exact_match": int(correct and not missing), "no_answer": int(missing)}


def grade_same(doc: dict, results: list[str]) -> dict[str, int]:
    """Integers and letters: both sides in one spelling, so equality is string equality."""
    answer = results[0]
    target = answers.integer(str(doc["answer"])) or str(doc["answer"])
    return _score(answer == target, answer == NO_ANSWER)


def grade_math(doc: dict, results: list[str]) -> dict[str, int]:
    """Mathematical equivalence (math-verify in a worker process with a time limit)."""
    answer, target = results[0], str(doc["answer"])
    verdict = "unparsed" if answer == NO_ANSWER else judge.verdict(answer, target)
    return _score(verdict == "same", verdict == "unparsed")


def gpqa_docs(dataset):
    """GPQA rows with `choices` in an order that depends on the question alone, `answer` the letter of the right one.

    s1 and lm-eval shuffle with a global random state, so their order depends on what ran before.
    """
    from datasets import Dataset

    def order(question: str, text: str) -> str:
        return hashlib.sha256(f"{question}\n{text}".encode()).hexdigest()

    docs = []
    for row in dataset:
        question, right = row["Question"].strip(), row["Correct Answer"].strip()
        wrong = [row[f"Incorrect Answer {i}"].strip() for i in (1, 2, 3)]
        choices = sorted([right, *wrong], key=lambda text: order(question, text))
        docs.append({"question": question, "choices": choices, "answer": "ABCD"[choices.index(right)]})
    return Dataset.from_list(docs)
