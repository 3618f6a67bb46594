"""Whether all tokens of a stream arrived, each once: a server's own count of them against what came.

Between a server and its client stand proxies, which may repeat an event or lose one; no event of the completions protocol says
where in the stream it belongs. vLLM's say how many tokens are written so far (`continuous_usage_stats`); other servers say it
at the end of a request, or nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

Counts = Literal["each", "end", "none"]  # with each event, at the end of a request, nowhere
PART = 512  # tokens of a request whose count comes at its end, until when nothing of it is believed


class Event(NamedTuple):
    """New tokens; `cached` is how many tokens of the prompt were in the server's KV cache, where it says so, and `written` how
    many it has written of the request so far. `top20`: the confidence at each (types.Confidence), where it was asked for."""

    ids: list[int]
    logprobs: list[float] | None
    cached: int | None
    finished: bool
    written: int | None = None
    top20: list[float] | None = None


class Miscounted(ValueError):
    """Tokens came twice, or not at all."""


class Tally:
    """The tokens of one request for at most `limit`. report: is told how many came, and how many were written, where these
    differ."""

    def __init__(self, counts: Counts, limit: int, report: Callable[[int, int], None]) -> None:
        self.counts, self.limit, self.report = counts, limit, report
        self.ids: list[int] = []
        self.written: int | None = None

    def take(self, event: Event) -> Event:
        """The event with what is new in it. Raises Miscounted where tokens are missing between it and those before."""
        if not event.ids:
            self.written = event.written if event.written is not None else self.written
            return event
        if self.counts == "each":
            if event.written is None:
                raise Miscounted("tokens without their count")
            if event.written != len(self.ids) + len(event.ids):
                repeated = event.written <= len(self.ids) and self.ids[: event.written][-len(event.ids) :] == event.ids
                self.report(len(self.ids) + len(event.ids), event.written)
                if not repeated:
                    raise Miscounted("tokens were lost on their way")
                return event._replace(ids=[], logprobs=event.logprobs and [], top20=event.top20 and [])
        self.ids += event.ids
        if self.counts == "end" and len(self.ids) > self.limit:
            raise Miscounted("more tokens than were asked for")
        self.written = event.written if event.written is not None else self.written
        return event

    def close(self) -> None:
        """The request has ended. Raises Miscounted unless all of it came once."""
        if self.counts != "none" and self.written != len(self.ids):
            if self.written is not None:
                self.report(len(self.ids), self.written)
            raise Miscounted("tokens were lost or repeated on their way")
