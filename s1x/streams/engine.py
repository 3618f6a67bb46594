"""The engine protocol: token ids in, token ids out, many streams at once. No text, no tasks, no budgets.

An engine is step-driven: `open` queues a stream, `poll` does some work and returns what is new. Engines may batch, reuse
prefixes and reorder as they like, as long as each opened stream's tokens are what the model would write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from .types import CONFIDENCES, GREEDY, Confidence, Forbid, Ids, Sampling

BEHIND = frozenset({"next", *CONFIDENCES})  # kinds of rows that need a token behind ids[:n]


class EngineError(RuntimeError):
    """The engine cannot go on (a server that refuses, a process that died twice). The message is one sentence for people."""


@dataclass(frozen=True)
class Open:
    """A request for up to `limit` tokens after `prefix`.

    Noise applies at the absolute position (length of `prefix` plus tokens generated so far), so a stream opened again from
    its last stored token goes on with the same noise. `forbid.first` counts from here. The engine may end after any id of
    `stop_ids` (a hint; the stop id itself is returned). Lower `priority` goes first. `logprobs` asks for the untempered
    log-probability of every token, `confidences` for these measures of the model's (of those that the engine has). `watched`:
    the caller looks for stops that the engine is not told of, so tokens should come at once and not several at a time.
    """

    prefix: Ids
    limit: int
    sampling: Sampling = GREEDY
    forbid: Forbid | None = None
    stop_ids: frozenset[int] = frozenset()
    priority: tuple[int, ...] = ()
    logprobs: bool = False
    watched: bool = False
    confidences: frozenset[str] = frozenset()


class Chunk(NamedTuple):
    """New tokens of one open stream; `done` when the engine will send no more (limit, stop hint or context reached).
    `confidences`: a number for each id, by measure."""

    handle: int
    ids: list[int]
    logprobs: list[float] | None
    done: bool
    confidences: Mapping[str, Sequence[float]] | None = None


@dataclass(frozen=True)
class Scoring:
    """A request for what the model says of tokens that are there: having read exactly `ids[:n]`, for each n in `at` (rising).

    of: "next" is log p(ids[n] | ids[:n]) with 1 <= n < len(ids); a measure of `Confidence` is that of p(. | ids[:n]), also with
    n < len(ids); a tuple of ids gives log p(id | ids[:n]) for each; "head" the value head's outputs at token n - 1. Untempered,
    without masks, over the whole vocabulary.
    """

    ids: Ids
    at: tuple[int, ...]
    of: Ids | Literal["next", "head"] | Confidence
    priority: tuple[int, ...] = ()

    def labels(self, n: int) -> Ids:
        """The ids whose log-probabilities the row after `ids[:n]` has."""
        return (self.ids[n],) if self.of == "next" else self.of if isinstance(self.of, tuple) else ()


class Rows(NamedTuple):
    """Answers to a scoring, one row for each n of its `at` in order; `done` with the last of them."""

    handle: int
    rows: list[tuple[float, ...]]
    done: bool


@dataclass
class Counters:
    """What an engine has done so far, in tokens. `prefill_cached` is the part of `prefill` that was already in the KV cache."""

    decoded: int = 0
    prefill: int = 0
    prefill_cached: int = 0
    starts: int = 0
    scored: int = 0  # tokens read for scorings, and the part of them that was already in the KV cache
    scored_cached: int = 0
    extra: dict[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """What the scheduler drives. `capacity` is how many streams decode at once; more may be open (they queue). `scores`: which
    of "labels", "next", "head" and the measures of confidence it can say of tokens that are there; `confidences`: those of them
    that it reports with the tokens that it writes (an engine without this has none)."""

    fingerprint: str
    context_length: int
    capacity: int
    counters: Counters
    scores: frozenset[str]
    confidences: frozenset[str]

    def open(self, request: Open) -> int:
        """Queue a stream; returns its handle."""

    def score(self, request: Scoring) -> int:
        """Queue a scoring; returns its handle, in the numbering of `open`."""

    def poll(self, wait: float = 1.0) -> list[Chunk | Rows]:
        """Do a bounded amount of work (one model step) and return what is new; [] only when nothing is open. An engine that
        works elsewhere waits for news, `wait` seconds at most."""

    def cancel(self, handle: int) -> None:
        """Forget a stream; its tokens so far stay valid. Unknown handles are ignored."""

    def close(self) -> None:
        """Free devices and processes."""


def can_say(engine: Engine, confidence: str) -> bool:
    """Whether an engine reports a measure of confidence, or says it of tokens that are there."""
    return confidence in getattr(engine, "confidences", ()) or confidence in engine.scores
