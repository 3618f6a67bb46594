"""AlphaOne (Zhang et al. 2025, arXiv 2505.24863): slow thinking first, by a falling chance of "Wait", then fast thinking."""

from __future__ import annotations

from collections.abc import Sequence

from ..streams.types import Ids, Method, Read, Segment, Stops, digest
from .base import BUDGET, Ask, End, method
from .checks import Checks


def _check(s, checks: Checks) -> None:
    checks.whole("average")
    checks.number("alpha", least=0)
    checks.number("p", least=0, most=1)
    checks.wording("string")
    checks.wording("mark")
    checks.texts("slow")
    checks.budget("max_thinking_tokens", words=("auto",))
    checks.whole("seed", least=0)


@method(
    limits=lambda s: (None, s.max_thinking_tokens if isinstance(s.max_thinking_tokens, int) else None),
    free=lambda s: False,
    columns=lambda s: ("slowed", "hastened"),
    curve=("max_thinking_tokens",),
    words=BUDGET,
    check=_check,
)
def alpha_one(
    ask: Ask,
    *,
    average: int,
    alpha: float = 1.4,
    p: float = 1.0,
    string: str = "Wait",
    mark: str = "\n\n",
    slow: Sequence[str] = ("Wait", "Hmm", "Alternatively"),
    max_thinking_tokens: int | str = "auto",
    seed: int = 0,
) -> Method:
    """Up to the alpha moment T = `alpha` * `average` tokens of thinking, `string` is appended to a paragraph that ends at t
    with probability p (1 - t/T) (section 4.3.1, "linear anneal"); from there on the first of the `slow` words ends thinking.

    average: tokens that the model thinks on this task when left free. t counts all thinking, appended words included. Whether a
    word is appended is drawn by question, sample, seed and t alone (seed: of greedy samples, which have no noise of their
    own). A model that ends its thinking earlier has ended it. max_thinking_tokens: as in budget forcing. info: `slowed` (words
    appended), `hastened` (whether a slow word ended the thinking; the end is then forced, without "Final Answer:").
    """
    limit = ask.room if max_thinking_tokens == "auto" else min(int(max_thinking_tokens), ask.room)
    if limit < 1:
        return ask.unfinished()
    moment, word = min(round(alpha * average), limit), ask.encode(string)
    paragraph = ask.chat.thinking_stops | Stops(strings=(mark,))
    enough = ask.chat.thinking_stops | Stops(sequences=tuple(ask.encode(before + w) for w in slow for before in ("", " ")))

    segments: list[Segment] = []
    done: Ids = ()  # up to the last word that was appended: what the present stream goes on from
    here: Ids = ()  # read of that stream
    while True:
        t = len(done) + len(here)
        fast = t >= moment
        stops, most = (enough, limit) if fast else (paragraph, moment)
        read = Read(ask.head + done, ask.sampling, stops, most - t, start=len(here), role="resumed" if fast else "step")
        span = yield read
        over = fast or ask.ended(span) or span.reason == "context" or (span.reason == "limit" and moment == limit)
        here += span.ids if over else span.ids + span.stop
        if over:
            break
        t = len(done) + len(here)
        if span.reason == "stop" and t + len(word) < limit and _chance(ask, seed, t) < p * (1 - t / moment):
            segments += [Segment("thinking", here), Segment("injected", word)]
            done, here = done + here + word, ()
    segments.append(Segment("thinking", here))
    slowed, hastened = len(segments) // 2, span.reason == "stop" and not ask.ended(span)
    end: End = "natural" if ask.ended(span) else "forced" if hastened or max_thinking_tokens in (limit, "auto") else "context"
    return (
        yield from ask.close(
            segments, span, end=end, forced=end != "natural", words=not hastened, waits=slowed,
            info={"slowed": slowed, "hastened": hastened},
        )
    )  # fmt: skip


def _chance(ask: Ask, seed: int, t: int) -> float:
    """A number from 0 to 1, of the question, the sample, the seed and the position."""
    return int.from_bytes(digest("append", seed, ask.prompt.ids, ask.sampling.noise, t)[:8], "little") / (1 << 64)
