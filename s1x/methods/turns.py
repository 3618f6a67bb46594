"""Turns: what methods that ask more than once are made of.

Each turn has a prompt of its own, with the messages so far; the thinking behind them is left out, as chat templates do. In one
trace of several turns one answer is the answer, and what else the model wrote (drafts and critiques with their thinking) is
thinking: it is what the answer was bought with. Each prompt between stands there as a delimiter, whole, with its role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..streams.types import Segment, Trace
from .base import Ask

Message = Mapping[str, str]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def said(ask: Ask, trace: Trace) -> str:
    """The text of a turn's answer; "" where the thinking came to none. Raises ValueError for a pool, which has several."""
    if trace.samples:
        raise ValueError("a turn needs one answer, and the inner method gives a pool of them")
    return ask.chat.answer_text(trace).strip()


def fits(ask: Ask, least: int) -> bool:
    """Whether `least` tokens of thinking, and an answer, fit behind the prompt."""
    return ask.room_after(ask.prompt.ids) >= least


def newest(ask: Ask, rounds: Sequence[Sequence[Message]], least: int) -> tuple[Ask | None, int]:
    """`ask` gone on with the newest `rounds` of messages that leave room for `least` tokens of thinking, and how many older
    ones are left out for it. None where not even the last one leaves so much."""
    for left_out in range(len(rounds)):
        longer = ask.turn([message for messages in rounds[left_out:] for message in messages])
        if fits(longer, least):
            return longer, left_out
    return None, len(rounds)


def followed(before: Trace, role: str, turn: Trace, *, answers: bool) -> Trace:
    """One trace of what was there `before` and a `turn` after it, whose prompt asks for what `role` says. answers: its answer
    counts from now on, instead of the one before."""
    first, second = (_thought(before), turn.segments) if answers else (before.segments, _thought(turn))
    segments = [*first, Segment("delimiter", turn.prompt, role=role), *second]
    return replace(turn if answers else before, prompt=before.prompt, segments=segments, waits=before.waits + turn.waits)


def _thought(trace: Trace) -> list[Segment]:
    return [replace(s, kind="thinking") if s.kind == "answer" else s for s in trace.segments]
