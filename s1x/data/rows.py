"""Row functions for sources whose layout a column mapping cannot express (s1's `collect_data.py`).

Each takes a source row and returns the fields to add or change.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from .records import question_id


def gpqa(row: Mapping[str, Any]) -> dict:
    """Lettered choices in an order seeded by the question itself, the letter at the end of the solution (`fix_gpqa.py`).

    The reference shuffles with one global seed, so its order depends on what came before; this one does not.
    """
    question = (row.get("Question") or "").strip()
    right = (row.get("Correct Answer") or "").strip()
    choices = [right] + [(row.get(f"Incorrect Answer {i}") or "").strip() for i in (1, 2, 3)]
    random.Random(f"gpqa-42-{question_id(question)}").shuffle(choices)
    listed = "\n".join(f"({letter}) {choice}" for letter, choice in zip("ABCD", choices))
    letter = "ABCD"[choices.index(right)]
    return {
        "question": f"{question}\nAnswer Choices:\n{listed}",
        "solution": f"{(row.get('Explanation') or '').strip()}\n\nAnswer: {letter}",
    }


def scieval(row: Mapping[str, Any]) -> dict:
    """The trailing "Answer:" goes, and "Optimal solvent:" becomes a question; the first listed answer counts."""
    question = (row.get("question") or "").split("\n\nAnswer:")[0]
    for what in ("solvent", "ligand", "reactant"):
        question = question.replace(f"\nOptimal {what}:", f"\nWhat is the optimal {what}?")
    answer = row.get("answer")
    return {"question": question, "solution": answer[0] if isinstance(answer, (list, tuple)) and answer else answer}


def agieval(row: Mapping[str, Any]) -> dict:
    """Passage, question and options in one text; configurations without passages or options have only the question."""
    passage, options = (row.get("passage") or "").strip(), row.get("options") or []
    parts = [passage] if passage else []
    return {"question": "\n\n".join([*parts, row.get("question") or ""]) + "".join(f"\n{o}" for o in options)}


def xword(row: Mapping[str, Any]) -> dict:
    """The clue alone, under one instruction."""
    clue = (row.get("input") or "").split("### Clue: ")[-1]
    return {
        "question": "Solve the crossword puzzle. You are presented with a clue as input and the number of letters in "
        f"brackets.\n\n{clue}"
    }


def olympiad_bench(row: Mapping[str, Any]) -> dict:
    """OlympiadBench keeps solutions in a list; its context, when there is one, belongs before the question."""
    solution, context = row.get("solution"), (row.get("context") or "").strip()
    question = row.get("question") or ""
    return {
        "question": f"{context}\n\n{question}" if context else question,
        "solution": solution[0] if isinstance(solution, (list, tuple)) and solution else solution,
    }


def s1_source(row: Mapping[str, Any]) -> dict:
    """s1's `source_type` (a hub path with details, such as "Idavidrein/gpqa") as the name of our source (conf/data/source)."""
    kind = row.get("source_type") or ""
    return {"source_type": next((name for path, name in S1_SOURCES.items() if path in kind), kind or None)}


S1_SOURCES = {
    "openaimath": "math",
    "NuminaMath": "numina_math",
    "OlympicArena": "olympic_arena",
    "Omni-MATH": "omni_math",
    "agieval": "agieval",
    "xword": "xword",
    "OlympiadBench": "olympiad_bench",
    "AIME_1983": "aime",
    "TheoremQA": "theoremqa",
    "usaco": "usaco",
    "jeebench": "jeebench",
    "gpqa": "gpqa",
    "SciEval": "scieval",
    "s1-prob": "s1_prob",
    "stats_qual": "s1_prob",
    "s1-teasers": "s1_teasers",
    "quant": "s1_teasers",
    "LiveCodeBench": "livecodebench",
}
