"""What a pool of samples answers: votes grouped by mathematical equivalence (metrics/voting.py has the estimators)."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any

from ..metrics import voting
from ..tasks import group_answers


def vote(members: Sequence[dict[str, Any]], rule: str = "majority", weights: Sequence[float] | None = None) -> dict[str, Any]:
    """Fields of a sample line that stand for the whole pool.

    `score` and `extracted` are those of the vote that counts, by `rule`: majority (ties shared out; the most frequent answer,
    the first of several), or weighted or best by reward; or by the `weights` that a method gave its samples, the first of
    equals: these are no draws alike, so nothing is estimated of fewer of them, and `votes` is empty. `classes` numbers the
    answers, equal ones alike (None: no answer). `votes` holds, by k:
    `maj`, `pass` and `best` (the sample with the highest mean log-probability) as expectations over all subsets of k members,
    `first_maj` and `first_pass` of the first k (s1's variant); and of the whole pool `shortest` and `weighted` (by the
    exponential of the mean log-probability). `best` and `weighted` need log-probabilities, which greedy samples lack. Where
    the samples have a `reward`, `reward_best` and `reward_weighted` are the same by that.
    """
    if uneven := next((m["score"] for m in members if m["score"] not in (0, 1)), None):
        raise ValueError(f"votes count answers that are right or wrong, and a sample of this task has the score {uneven:g}")
    correct = [m["score"] == 1 for m in members]
    groups = _classes(members)
    if weights is not None:
        return _fields(members, groups, weights, {})
    sizes = voting.subset_sizes(len(members))
    maj = voting.expected_maj(groups, correct)

    def by_size(estimate) -> dict[str, float]:
        return {str(k): estimate(k) for k in sizes}

    votes = {
        "maj": by_size(lambda k: maj[k - 1]),
        "pass": by_size(lambda k: voting.expected_pass_at_k(correct, k)),
        "first_maj": by_size(lambda k: voting.first_k_majority(groups, correct, k)),
        "first_pass": by_size(lambda k: voting.first_k_pass(correct, k)),
    }
    if None not in (lengths := [m["thinking_tokens"] for m in members]):  # results from elsewhere may not say them
        votes["shortest"] = voting.shortest_majority(groups, correct, lengths)
    logprobs = [m["info"].get("logprob_mean") for m in members]
    if all(p is not None for p in logprobs):
        votes["best"] = by_size(lambda k: voting.expected_best_of_k(logprobs, correct, k))
        votes["weighted"] = voting.weighted_majority(groups, correct, [exp(p) for p in logprobs])
    score, weights = maj[-1], [1.0] * len(members)
    rewards = [m["info"].get("reward") for m in members]
    if all(r is not None for r in rewards):
        votes["reward_best"] = by_size(lambda k: voting.expected_best_of_k(rewards, correct, k))
        votes["reward_weighted"] = voting.weighted_majority(groups, correct, rewards)
        if rule == "weighted":
            score, weights = votes["reward_weighted"], rewards
        elif rule == "best":
            first = max(range(len(members)), key=lambda i: rewards[i])
            score, weights = float(correct[first]), [float(i == first) for i in range(len(members))]
    return _fields(members, groups, weights, votes) | {"score": score}


def _classes(members: Sequence[dict[str, Any]]) -> list[int | None]:
    """Equal answers have equal numbers, in the order of their first; no answer has none. Where a judge found answers right that
    the rules could not compare, all right ones are one: each says what the target says."""
    judged = any(m.get("judge") == "same" for m in members)
    answers = [True if judged and m["score"] == 1 else m["extracted"] for m in members]  # True: what the target says
    found = iter(group_answers([a for a in answers if isinstance(a, str)]))
    keys = [f"class {next(found)}" if isinstance(a, str) else a for a in answers]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(key for key in keys if key is not None))}
    return [None if key is None else numbers[key] for key in keys]


def _fields(
    members: Sequence[dict[str, Any]], groups: Sequence[int | None], weights: Sequence[float], votes: dict[str, Any]
) -> dict[str, Any]:
    """What the line says whose answer is that of the heaviest group."""
    winner = _heaviest(groups, weights)
    own = [m for m, group in zip(members, groups, strict=True) if winner is not None and group == winner]
    answer = next((m for m in own if m["extracted"] is not None), own[0] if own else {})
    return {
        "score": float(answer.get("score") == 1),
        "extracted": answer.get("extracted"),
        "no_answer": winner is None,
        "votes": votes,
        "classes": groups,
        "thinking_tokens": _sum(members, "thinking_tokens"),
        "answer_tokens": _sum(members, "answer_tokens"),
        "waits": None if (waits := _sum(members, "waits")) is None else waits / len(members),
    }


def _sum(members: Sequence[dict[str, Any]], key: str) -> Any:
    """None where that of a member is not known."""
    values = [m[key] for m in members]
    return None if None in values else sum(values)


def _heaviest(groups: Sequence[int | None], weights: Sequence[float]) -> int | None:
    """The group with the largest sum of weights, the first of several; None where no answer has any."""
    sums: dict[int, float] = {}
    for group, weight in zip(groups, weights, strict=True):
        if group is not None:
            sums[group] = sums.get(group, 0.0) + weight
    return max(sums, key=lambda group: sums[group]) if any(sums.values()) else None
