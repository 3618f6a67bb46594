"""DEER (Yang et al. 2025, arXiv 2504.15895): thinking ends where a trial answer is confident enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..streams.types import GREEDY, Ids, Method, Read, Segment, Span, Stops
from .base import BUDGET, Ask, End, method
from .checks import Checks


def _check(s, checks: Checks) -> None:
    checks.number("threshold", least=0, most=1)
    checks.texts("marks")
    checks.text("inducer")
    checks.whole("trial_tokens")
    checks.budget("max_thinking_tokens", words=("auto",))


@method(
    limits=lambda s: (None, s.max_thinking_tokens if isinstance(s.max_thinking_tokens, int) else None),
    free=lambda s: False,
    columns=lambda s: ("trials", "trial_tokens", "confident"),
    curve=("max_thinking_tokens",),
    words=BUDGET,
    check=_check,
)
def deer(
    ask: Ask,
    *,
    threshold: float = 0.95,
    marks: Sequence[str] = ("Wait", "\n\n"),
    inducer: str | None = None,
    trial_tokens: int = 20,
    trial_until: Sequence[str] = ("\n",),
    max_thinking_tokens: int | str = "auto",
) -> Method:
    """At each of the `marks` in the thinking a trial answer is read; thinking ends there if it is surer than `threshold`.

    How sure: the geometric mean of the probabilities of its tokens, which are the most probable ones (section 3.2); an answer
    without tokens is not sure at all. inducer: what asks for the trial answer within the thinking (null: what a forced end
    writes). The mark itself is no part of thinking that ends there; thinking that goes on is the model's own stream, marks
    included. max_thinking_tokens: as in budget forcing. info: `trials`, `trial_tokens`, and whether one was `confident`.
    """
    limit = ask.room if max_thinking_tokens == "auto" else min(int(max_thinking_tokens), ask.room)
    if limit < 1:
        return ask.unfinished()
    transitions = ask.chat.thinking_stops | Stops(strings=tuple(marks))
    stops = ask.chat.answer_stops | Stops(strings=tuple(trial_until))
    thought: Ids = ()
    trials = tokens = 0
    confident = False
    while True:
        span = yield replace(ask.think(limit - len(thought), role="step"), start=len(thought), stop=transitions)
        thought += span.ids
        if span.reason != "stop" or ask.ended(span):
            break
        asking = ask.encode(inducer) if inducer else ask.closing(thought, forced=True)
        until = stops | ask.chat.thinking_stops if inducer else stops
        trial = yield Read(ask.head + thought + asking, GREEDY, until, trial_tokens, logprobs=True, role="probe")
        trials, tokens = trials + 1, tokens + len(trial.ids)
        if confident := _confidence(trial) > threshold:
            break
        thought += span.stop
    ends: dict[bool, End] = {
        True: "natural",
        False: "forced" if confident or max_thinking_tokens in (limit, "auto") else "context",
    }
    end = ends[ask.ended(span)]
    info = {"trials": trials, "trial_tokens": tokens, "confident": confident}
    return (yield from ask.close([Segment("thinking", thought)], span, end=end, forced=end != "natural", info=info))


def _confidence(trial: Span) -> float:
    return math.exp(sum(trial.logprobs) / len(trial.logprobs)) if trial.logprobs else 0.0
