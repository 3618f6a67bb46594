"""What the page shows of a line of a samples file: segments of a trace, the samples of a pool, the tree of a search.

It goes by what the line holds, not by which method wrote it: `samples` make a pool, `info.nodes` a tree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import printable

KINDS = ("thinking", "injected", "delimiter", "answer")
CELL_BYTES = 5_000_000  # text that is kept of a cell
PAGE_BYTES = 20_000_000  # text that the page holds of all cells together
MEMBERS = 8  # of a pool, whose text is shown; of the others what they answer
QUESTION_KEYS = ("question", "problem", "Question", "Problem", "query", "input", "prompt")
TITLE = 200  # characters of a question whose traces are not on the page


def shown(line: dict[str, Any], text: bool = True) -> dict[str, Any]:
    """A line as the page has it; without `text` only how it came out (`segments` and `pool` are None)."""
    question = question_text(line)
    return {
        "question": line["doc_id"],
        "repeat": line.get("repeat", 0),
        "text": question if text else question[:TITLE],
        "target": str(line.get("target", "")),
        "score": _number(line["score"]),
        "extracted": line.get("extracted"),
        "end": line.get("end"),
        "waits": line.get("waits", 0),
        "thinking": line["thinking_tokens"],
        "segments": _segments(line) if text else None,
        "pool": _pool(line) if text and line.get("samples") else None,
    }


def size(trace: dict[str, Any]) -> int:
    """About how much page a shown trace takes, in characters."""
    if trace["segments"] is None:
        return 100
    pool = trace["pool"] or {"members": [], "nodes": None}
    texts = [s[2] for s in trace["segments"]] + [s[2] for *_, list_ in pool["members"] for s in list_ or []]
    texts += [node[4] for node in pool["nodes"] or []]
    return 200 + sum(len(text) + 20 for text in texts)


def question_text(line: dict[str, Any]) -> str:
    """The question as the document has it, else the prompt that lm-eval stored."""
    doc = line.get("doc")
    if isinstance(doc, dict):
        for key in QUESTION_KEYS:
            if isinstance(doc.get(key), str):
                return doc[key]
    arguments = line.get("arguments")
    while isinstance(arguments, (list, tuple, dict)) and arguments:
        arguments = next(iter(arguments.values())) if isinstance(arguments, dict) else arguments[0]
    return arguments if isinstance(arguments, str) else str(doc or "")


def _segments(trace: dict[str, Any]) -> list[list[Any]]:
    """[index in KINDS, tokens, text, role if any] of each."""
    return [
        [KINDS.index(s["kind"]), len(s["ids"]) if "ids" in s else s["tokens"], s["text"], *filter(None, [s.get("role")])]
        for s in trace.get("segments") or []
    ]


def _pool(line: dict[str, Any]) -> dict[str, Any]:
    """{why: which answer counts, as a sentence; counted: places of the samples that say it; nodes: the tree or None, [parent
    (-1: the root), value, worth, tokens, text] of each; members: [extracted, score, reward, weight, thinking tokens, node
    or None, segments (None: not on the page)]}. Of a leaf of a tree the segments are what follows its thinking."""
    samples = line["samples"]
    nodes, places = _tree(samples, line.get("info"))
    why, counted = _vote(samples, line)
    members, weights = [], line.get("weights") or [None] * len(samples)
    for at, (sample, place, weight) in enumerate(zip(samples, places, weights, strict=False)):
        segments = _segments(sample)
        if nodes is not None:
            last = max((i for i, s in enumerate(segments) if s[0] < KINDS.index("delimiter")), default=-1)
            segments = segments[last + 1 :] if last >= 0 else segments
        reward = (sample.get("info") or {}).get("reward")
        kept = segments if nodes is not None or at < MEMBERS or at in counted[:1] else None
        score, tokens = _number(sample.get("score")), sample.get("thinking_tokens")
        members.append([sample.get("extracted"), score, _number(reward), _number(weight), tokens, place, kept])
    return {"why": why, "counted": counted, "nodes": nodes, "members": members}


def _tree(samples: Sequence[dict[str, Any]], info: Any) -> tuple[list[list[Any]] | None, list[int | None]]:
    """The nodes of a search, parents first, and the place of each sample's among them. Where the line holds no tree, or one in
    which a sample has no place, there is none."""
    nowhere: list[int | None] = [None] * len(samples)
    try:
        told = sorted(((tuple(node["path"]), node) for node in info["nodes"]), key=lambda pair: pair[0])
        paths = [tuple(sample["info"]["path"]) for sample in samples]
        places: dict[tuple[int, ...], int] = {(): -1}
        nodes: list[list[Any]] = []
        for path, node in told:
            for depth in range(1, len(path)):  # a branch that is no step: one of several trees
                if path[:depth] not in places:
                    places[path[:depth]] = len(nodes)
                    nodes.append([places[path[: depth - 1]], None, None, 0, ""])
            places[path] = len(nodes)
            nodes.append([places[path[:-1]], _number(node["value"]), _number(node["worth"]), node["tokens"], node["text"]])
        return nodes, [places[path] for path in paths]
    except (KeyError, TypeError, ValueError):
        return None, nowhere


def _vote(samples: Sequence[dict[str, Any]], line: dict[str, Any]) -> tuple[str, list[int]]:
    """Why an answer counts, and the samples that state it. Equal answers are those that the grader found so (`classes`); of a
    line that does not say this, those that are spelled alike."""
    answer, rule = line.get("extracted"), line.get("vote")
    if answer is None:
        return "No sample has an answer.", []
    answers = [sample.get("extracted") for sample in samples]
    classes, name = line.get("classes") or [], printable(str(answer))
    classes = classes if len(classes) == len(samples) else answers
    winner = classes[answers.index(answer)] if answer in answers else None
    same = [at for at, found in enumerate(classes) if found is not None and found == winner]
    rewards = [(sample.get("info") or {}).get("reward") for sample in samples]
    if rule == "majority":
        most = sum(1 for found in dict.fromkeys(classes) if found is not None and classes.count(found) == len(same))
        shared = f", as often as {most - 1} other{'s' * (most > 2)}, so that each counts 1/{most}" if most > 1 else ""
        return f"{name} counts: {len(same)} of {len(samples)} samples say it{shared}.", same
    if rule == "weighted" and None not in rewards:
        own = sum(rewards[at] for at in same)
        return f"{name} counts: the rewards of the samples that say it add up to {own:.3f} of {sum(rewards):.3f}.", same
    if rule == "weights" and len(weights := line.get("weights") or []) == len(samples):
        own, every = sum(weights[at] for at in same), sum(weights)
        return f"{name} counts: the weights of the samples that say it add up to {own:.4g} of {every:.4g}.", same
    if rule == "best" and None not in rewards:
        best = max(range(len(samples)), key=lambda at: rewards[at])
        return f"{name} counts: of {len(samples)}, number {best + 1} has the highest reward, {rewards[best]:.3f}.", [best]
    return f"{name} counts.", same


def _number(value: Any) -> float | None:
    """None for what JSON has no sign for."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None
