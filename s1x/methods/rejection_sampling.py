"""Rejection sampling (paper section 3.2, Figure 6): sample until the thinking happens to fit the limit."""

from __future__ import annotations

from ..streams.types import First, Method
from .base import Ask, End, method
from .checks import Checks


def _check(s, checks: Checks) -> None:
    checks.budget("limit")
    checks.whole("max_tries", "ahead")


@method(
    limits=lambda s: (0, s.limit),
    needs_sampling=lambda s: "every try would be the same",
    columns=lambda s: ("tries", "exhausted", "tried_tokens"),
    check=_check,
)
def rejection_sampling(ask: Ask, *, limit: int, max_tries: int = 1000, ahead: int = 4) -> Method:
    """The first sample whose thinking, its stop token included, is at most `limit` tokens long, and its answer.

    Try i reads pool member i, whatever the limit: all limits share one pool, and a try is never read past its limit.
    max_tries: s1 has no bound (655 tries per question at its lowest limit). When none fits the trace holds the last try, cut
    at the limit ("forced"), no answer, and `exhausted` in its info. ahead: tries run at the same time; more is faster and
    wastes the tries after the accepted one.
    """
    reads = (ask.sample(i).think(limit) for i in range(max_tries))
    tries = yield First(lambda spans: spans[-1].reason == "stop", reads, ahead=ahead)
    last, member = tries[-1], ask.sample(len(tries) - 1)
    fits = last.reason == "stop"
    info = {"limit": limit, "tries": len(tries), "exhausted": not fits, "tried_tokens": sum(s.end for s in tries)}
    if not fits:
        end: End = "context" if last.reason == "context" else "forced"
        return member.unfinished([member.thinking(last)], end=end, info=info)
    return (yield from member.close([member.thinking(last)], last, info=info))
