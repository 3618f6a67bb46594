"""Self-refine (Madaan et al. 2023, arXiv 2303.17651): the model criticizes its own answer and revises it, round by round."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from ..streams.types import Method, Trace
from .base import Ask, method
from .checks import Checks
from .turns import Message, assistant, followed, newest, said, user

CRITIQUE = (
    "Check the answer above step by step. Say what is wrong in it or can be made better, and why. "
    "If there is nothing to change, say only: Nothing to change."
)
REVISION = "Answer the question again, with everything put right that the check found."
SATISFIED = "Nothing to change"


def _check(s, checks: Checks) -> None:
    checks.whole("rounds", "least_room")
    checks.wording("critique")
    checks.wording("revision")
    checks.text("satisfied")


@method(
    limits=lambda s: (None, None),  # the inner method's are those of each turn
    relative=lambda s: None,
    instructed=lambda s: None,
    free=lambda s: False,
    columns=lambda s: ("rounds", "satisfied", "left_out", "cut"),
    check=_check,
)
def self_refine(
    ask: Ask,
    *,
    inner: Callable[..., Method],
    rounds: int = 2,
    critique: str = CRITIQUE,
    revision: str = REVISION,
    satisfied: str | None = SATISFIED,
    least_room: int = 128,
) -> Method:
    """An answer of `inner`, and at most `rounds` times its critique and its revision, each a turn of `inner` as well.

    As in the paper (equations 2 and 4) the critique sees the question and the present answer, the revision all answers and
    critiques so far. satisfied: words, in either case, by which a critique says that nothing is to change; then the answer
    stands (null: all rounds are gone through). least_room: tokens of thinking for which every prompt leaves room: a revision
    leaves out the oldest rounds until it does. info: `rounds` (revisions), whether a critique was `satisfied`, `left_out`
    (rounds that the last revision did not see), and whether refining was `cut`: a prompt found no room, or its turn no answer.
    """
    trace = yield from inner(ask)
    answer = said(ask, trace)
    info: dict[str, Any] = {"rounds": 0, "satisfied": False, "left_out": 0, "cut": not answer}
    history: list[list[Message]] = []
    while info["rounds"] < rounds and not info["satisfied"] and not info["cut"]:
        history.append([assistant(answer), user(critique)])
        found, trace, _ = yield from _turn(inner, ask, history[-1:], least_room, "critique", trace)
        info["satisfied"] = bool(found) and satisfied is not None and satisfied.lower() in found.lower()
        if found and not info["satisfied"]:
            history[-1] += [assistant(found), user(revision)]
            answer, trace, info["left_out"] = yield from _turn(inner, ask, history, least_room, "revision", trace)
            info["rounds"] += bool(answer)
        info["cut"] = not found or not answer
    trace.info |= info
    return trace


def _turn(
    inner: Callable[..., Method], ask: Ask, rounds: list[list[Message]], least_room: int, role: str, before: Trace
) -> Generator[Any, Any, tuple[str, Trace, int]]:
    """What `inner` says under the newest of the rounds ("" where it finds no room or no end), the trace with it, and how many
    rounds were left out. Only a revision that says something is an answer."""
    longer, left_out = newest(ask, rounds, least_room)
    if longer is None:
        return "", before, left_out
    turn = yield from inner(longer)
    text = said(longer, turn)
    return text, followed(before, role, turn, answers=role == "revision" and bool(text)), left_out
