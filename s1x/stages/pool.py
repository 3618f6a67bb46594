"""What a pool of samples answers: votes grouped by mathematical equivalence (metrics/voting.py has the estimators)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..metrics.voting import expected_maj, expected_pass_at_k, shortest_majority, subset_sizes, weighted_majority
from ..tasks import group_answers


def vote(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Fields of a sample line that stand for the whole pool.

    `score` is maj@n with ties shared out, `votes` maj@k and pass@k as expectations over all subsets of k members, weighted
    voting by mean log-probability, and the shortest majority; `extracted` is the most frequent answer (the first of several).
    """
    answers = [m["extracted"] for m in members]
    given = [a for a in answers if a is not None]
    classes = iter(group_answers(given))
    groups = [None if a is None else next(classes) for a in answers]
    correct = [m["score"] == 1 for m in members]
    sizes = subset_sizes(len(members))
    maj = expected_maj(groups, correct)
    votes = {
        "maj": {str(k): maj[k - 1] for k in sizes},
        "pass": {str(k): expected_pass_at_k(correct, k) for k in sizes},
        "shortest": shortest_majority(groups, correct, [m["thinking_tokens"] for m in members]),
    }
    logprobs = [m["info"].get("logprob_mean") for m in members]
    if all(p is not None for p in logprobs):
        from math import exp

        votes["weighted"] = weighted_majority(groups, correct, [exp(p) for p in logprobs])
    counts = [g for g in groups if g is not None]
    winner = max(counts, key=counts.count) if counts else None
    return {
        "score": maj[-1],
        "extracted": None if winner is None else answers[groups.index(winner)],
        "no_answer": winner is None,
        "votes": votes,
        "thinking_tokens": sum(m["thinking_tokens"] for m in members),
        "answer_tokens": sum(m["answer_tokens"] for m in members),
        "waits": sum(m["waits"] for m in members) / len(members),
    }
