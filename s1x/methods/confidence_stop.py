"""Confidence stop: end the thinking when the model has been sure of its words for a while, and force the answer.

The simplest member of a family (DeepConf, DEER) that looks at log-probabilities instead of probing for answers.
"""

from __future__ import annotations

from collections import deque

from ..streams.types import Method, Until
from .base import Ask, method
from .checks import Checks


def _check(s, checks: Checks) -> None:
    checks.number("threshold", most=0)
    checks.whole("window")


@method(check=_check)
def confidence_stop(ask: Ask, *, threshold: float = -0.05, window: int = 32) -> Method:
    """Thinking ends behind the first token where the mean log-probability of the last `window` tokens exceeds `threshold`."""
    if ask.room < 1:
        return ask.unfinished()

    def confident(last: deque | None, token: int, logprob: float) -> tuple[deque, bool]:
        last = deque(maxlen=window) if last is None else last
        last.append(logprob)
        return last, len(last) == window and sum(last) > threshold * window

    span = yield Until(ask.think(ask.room), confident)
    return (yield from ask.close([ask.thinking(span)], span, info={"confident": span.reason == "until"}))
