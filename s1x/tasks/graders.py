"""What our lm-eval task files refer to: filters that extract, and `process_results` that score and count missing answers.

The same functions work under `lm_eval --include_path s1x/tasks/yaml`, so a score can be checked with lm-eval alone.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable

from . import answers
from .equivalence import Verdict, rules

NO_ANSWER = "[invalid]"  # lm-eval's own word for a filter that found nothing


def _filter(read: Callable[..., str | None], *, also_math: bool = False):
    """A filter that reads answers as `read` does, and as mathematics where `read` cannot read the target (1/2 among integers).

    So one's own questions keep a task's strict reading where they are of its kind, and are not all wrong where they are not.
    also_math: what `read` cannot read of an answer is mathematics, too ("x=5" for 5).
    """

    def apply(responses, docs):
        return [
            [NO_ANSWER if (found := one(text, doc)) is None else found for text in group] for group, doc in zip(responses, docs)
        ]

    def of_its_kind(target: str) -> bool:
        if read is answers.choice:  # among choices a small letter is one, too; `N - 1` is none
            return answers.letter(target) is not None or bool(re.fullmatch("[a-z]", target))
        return read(target) is not None

    def one(text: str, doc: dict) -> str | None:
        if read is answers.choice and doc.get("choices"):
            return answers.choice(text, string.ascii_uppercase[: len(doc["choices"])])
        target = str(doc.get("answer", "")).strip()
        found = read(text) if not target or of_its_kind(target) else answers.math(text)
        return answers.math(text) if found is None and also_math else found

    return apply


extract_integer = _filter(answers.integer)
extract_value = _filter(answers.integer, also_math=True)  # of one's own questions, which other models answer
extract_choice = _filter(answers.choice)
extract_math = _filter(answers.math)


def _score(verdict: Verdict) -> dict[str, int]:
    """A comparison that could not be made, or not in its time, is no score of the answer's; it is counted as what it is."""
    return {
        "exact_match": int(verdict == "same"),
        "no_answer": int(verdict == "unparsed"),
        "not_graded": int(verdict in ("ungraded", "timeout")),
    }


def grade_same(doc: dict, results: list[str]) -> dict[str, int]:
    """Integers and letters: the target in the spelling of the filters, which needs no parser. Others as mathematics."""
    return grade_math({"answer": same_target(str(doc["answer"]))}, results)


def same_target(target: str) -> str:
    """The number or letter that a target is, as the filters spell it; else the target itself."""
    return target if "%" in target else answers.integer(target) or answers.letter(target) or target


def grade_math(doc: dict, results: list[str]) -> dict[str, int]:
    """Mathematical equivalence (math-verify in a worker process with a time limit)."""
    answer, target = results[0], str(doc["answer"])
    return _score("unparsed" if answer == NO_ANSWER else rules.verdict(answer, target))


def aime25_docs(dataset):
    """Rows with a `problem`, which the hub's data set has as `question`."""
    return dataset.rename_column("question", "problem") if "problem" not in dataset.column_names else dataset


OURS = (grade_same, grade_math)  # scores that compare, in workers


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
