"""Pools: what methods over several samples of one question are made of.

Member i is always `ask.sample(i)`, so that whoever draws a pool of the same inner method shares it. Where a method writes a
prompt of its own about samples, the prompt keeps within the context and stands in the trace whole, with its role.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, chain

from ..streams.types import All, Ids, Method, Segment, Trace
from .base import Ask

Answers = Sequence[str | None]
Inner = Callable[..., Method]


def drawn(ask: Ask, inner: Inner, n: int, window: int, decided: Callable[[Answers], bool]) -> Method:
    """Samples of `inner`, `window` at a time, until `decided` holds for the answers of all so far, or there are `n`."""
    samples: list[Trace] = []
    answers: list[str | None] = []
    while len(samples) < n and not decided(answers):
        upto = min(n, len(samples) + window)
        more = yield All([inner(ask.sample(i)) for i in range(len(samples), upto)])
        samples, answers = samples + more, answers + [answer(ask, trace) for trace in more]
    return Trace(ask.prompt.ids, samples=samples, info={"samples": len(samples), "decided": decided(answers)})


def answer(ask: Ask, trace: Trace) -> str | None:
    """What a trace answers, as strings compare: read from the same words that are graded. None where it states nothing."""
    kinds = [s.kind for s in _single(trace).segments]
    if "answer" not in kinds:
        return None
    last = len(kinds) - 1 - kinds[::-1].index("answer")
    mark, before = ask.own_delimiter, trace.segments[:last]
    thought = ("thinking", "injected") if mark else ()
    first = max((i + 1 for i, s in enumerate(before) if s.role or s.kind in thought), default=0)
    ids = tuple(chain.from_iterable(s.ids for s in trace.segments[first : last + 1]))
    ends = [at + len(mark) for at in range(len(ids)) if mark and ids[at : at + len(mark)] == mark]
    return ask.answer_of(ids[ends[-1] if ends else 0 :])


def candidate(ask: Ask, trace: Trace, thoughts: bool) -> Ids:
    """What a prompt shows of a sample: its answer, behind its thinking where `thoughts` are shown."""
    said = _single(trace).ids("answer")
    return trace.ids("thinking", "injected") + ask.encode("\n") + said if thoughts else said


def _single(trace: Trace) -> Trace:
    if trace.samples:
        raise ValueError("a sample needs one answer, and the inner method gives a pool of them")
    return trace


# --- how sure a sample was of its words ---


def confidences(trace: Trace) -> list[float]:
    """The model's confidence at each token that it wrote, thinking and answer, of a trace under `ask.measuring`."""
    said = [s for s in _single(trace).segments if s.kind in ("thinking", "answer") and s.ids]
    if any(s.confidence is None for s in said):
        raise ValueError("how sure the model was of a sample's words is not known: the inner method does not keep it")
    return [c for s in said for c in s.confidence or ()]


def groups(values: Sequence[float], window: int) -> list[float]:
    """The mean of each `window` of values in a row; of all of them where they are fewer, 0 where there are none."""
    if len(values) <= window:
        return [mean(values)]
    sums = list(accumulate(values, initial=0.0))
    return [(high - low) / window for low, high in zip(sums, sums[window:], strict=False)]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie, between two of them by linear interpolation."""
    rising, at = sorted(values), round(share * (len(values) - 1), 9)
    low = math.floor(at)
    return rising[low] + (at - low) * (rising[min(low + 1, len(rising) - 1)] - rising[low])


# --- prompts about what was written ---


def showing(
    ask: Ask, words: str, most: int | None, parts: Sequence[Ids], *, into: str = "candidates", label: str = "Solution {}:\n"
) -> tuple[Ask, int]:
    """The question that `words` ask, and how many tokens of its `parts` were left out.

    {question}, {n}, {last} and {into} in `words` become the question, the number of parts, that of the last (from 0), and the
    parts, each below its `label`. A prompt has at most `most` tokens (None: half of the context). Where the parts are too long,
    the longest of them lose their beginnings, so that as much of each is kept.
    """
    most, keep, kept = most or ask.chat.context_length // 2, max(map(len, parts), default=0), sum(map(len, parts))
    while True:
        texts = [label.format(i) + ask.decode(ids[len(ids) - min(keep, len(ids)) :]) for i, ids in enumerate(parts)]
        fields = {"question": ask.prompt.text, "n": str(len(parts)), "last": str(len(parts) - 1), into: "\n\n".join(texts)}
        text = re.sub(r"\{(\w+)\}", lambda found: fields.get(found[1], found[0]), words)
        asked = replace(ask, prompt=replace(ask.prompt, text=text, following=()))
        over = len(asked.prompt.ids) - most
        if over <= 0 or keep == 0:
            return asked, sum(map(len, parts)) - kept
        keep = _even([len(ids) for ids in parts], kept - over)
        kept = sum(min(len(ids), keep) for ids in parts)


def _even(lengths: Sequence[int], total: int) -> int:
    """The largest m for which parts of these lengths, cut to m each, have no more than `total` (0 where there is none)."""
    left, rising = max(0, total), sorted(lengths)
    for at, length in enumerate(rising):
        if length * (len(rising) - at) > left:
            return left // (len(rising) - at)
        left -= length
    return rising[-1] if rising else 0


def asked(inner: Inner, ask: Ask, role: str) -> Method:
    """A trace of `inner` under a prompt that the method wrote, which stands at its beginning with its role."""
    trace = yield from inner(ask)
    return replace(_single(trace), segments=[Segment("delimiter", ask.prompt.ids, role=role), *trace.segments])
