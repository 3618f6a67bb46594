"""Streams, reads and traces: the words everything else is written in.

Fix a model, a prefix of token ids, the sampling settings and a seed: what the model would write next is one endless token
*stream*. Every generation is a *read* of such a stream; a scaling method is a generator that yields reads and returns a
*trace*. Nothing here knows text, engines or files.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain
from typing import Any, Literal

Ids = tuple[int, ...]


def digest(*parts: object) -> bytes:
    """A 16-byte content hash of strings, numbers, None and tuples of ids."""
    h = blake2b(digest_size=16)
    for part in parts:
        data = array("q", part).tobytes() if isinstance(part, tuple) else repr(part).encode()
        h.update(len(data).to_bytes(8, "little"))
        h.update(data)
    return h.digest()


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. `noise` is the stream's noise key (64 bits), None exactly when greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    noise: int | None = None

    @classmethod
    def of(cls, prompt: Ids, *, seed: int, index: int = 0, temperature: float, top_p: float = 1.0, top_k: int = 0) -> Sampling:
        """Settings for sample `index` of the root `prompt`: every question and every sample draws noise of its own."""
        if temperature == 0:
            return cls()
        noise = int.from_bytes(digest("noise", seed, prompt, index)[:8], "little") >> 1
        return cls(temperature, top_p, top_k, noise)

    def sample(self, index: int) -> Sampling:
        """The same settings with the noise of pool member `index`; member 0 is this one. Greedy stays greedy."""
        if index == 0 or self.noise is None:
            return self
        return replace(self, noise=int.from_bytes(digest("member", self.noise, index)[:8], "little") >> 1)


GREEDY = Sampling()


@dataclass(frozen=True)
class Stops:
    """Where a read may end: single ids, id sequences, strings (`first_stop` says where one stands). The scheduler matches
    them, engines only see `ids` as a hint."""

    ids: frozenset[int] = frozenset()
    sequences: tuple[Ids, ...] = ()
    strings: tuple[str, ...] = ()

    def __or__(self, other: Stops) -> Stops:
        return Stops(self.ids | other.ids, self.sequences + other.sequences, self.strings + other.strings)


def first_stop(text: str, strings: Iterable[str], start: int = 0) -> int:
    """Where the first of the stop `strings` begins in what was written from `start` on; -1 where none does.

    As in lm-eval 0.4.13 white space at the beginning is passed over; and a stop at the very beginning is none, since nothing
    has been written that it could end.
    """
    begin = len(text) - len(text[start:].lstrip())
    found = (text.find(s, begin + len(s) if text.startswith(s, begin) else begin) for s in strings)
    return min((at for at in found if at >= 0), default=-1)


@dataclass(frozen=True)
class Forbid:
    """Ids banned on the first `first` tokens of a stream (part of what the stream is)."""

    ids: frozenset[int]
    first: int


Role = Literal["thinking", "resumed", "wait", "countdown", "step", "answer", "forced_answer", "probe"]
"""What a request is for: thinking; thinking that goes on behind words put into it, or after an ignored end; thinking that
counts its steps down; one step; the answer, of itself or after a forced end; an answer that is looked at and thrown away."""


Confidence = Literal["top20", "kl"]
"""How sure the model was where it wrote a token: a number of the whole distribution p over the tokenizer's ids there,
untempered and without masks. "top20": -1/20 sum of log p over the 20 likeliest ids (DeepConf, arXiv 2508.15260; over all where
there are fewer). "kl": KL(U || p) = -1/V sum of log(V p) over all V ids (self-certainty, arXiv 2502.18581)."""

CONFIDENCES: dict[str, str] = {  # what they are made of
    "top20": "log-probabilities of the 20 likeliest tokens at each position",
    "kl": "log-probabilities of the whole vocabulary at each position",
}

Number = Literal["logprob", "top20", "kl"]
"""What may stand beside a token: its log-probability, or a measure of confidence."""


@dataclass(frozen=True)
class Read:
    """Read the stream (prefix, sampling, forbid) from position `start` until a stop or `limit` tokens.

    `limit` counts from `start` and includes the stop tokens; a stop that ends exactly at the limit is a stop. None reads to
    the end of the context. `logprobs`, `confidence`: the span must have log-probabilities, and that measure of confidence;
    tokens that were stored without get theirs. `role` says what the tokens are for (plans and prices follow it). None of these
    three is part of what the stream is.
    """

    prefix: Ids
    sampling: Sampling = GREEDY
    stop: Stops = Stops()
    limit: int | None = None
    start: int = 0
    forbid: Forbid | None = None
    logprobs: bool = False
    role: Role = "thinking"
    confidence: Confidence | None = None

    def key(self, fingerprint: str) -> bytes:
        """The stream's content address (16 bytes)."""
        s, f = self.sampling, self.forbid
        banned = (tuple(sorted(f.ids)), f.first) if f and f.first > 0 and f.ids else (None, None)
        return digest(fingerprint, self.prefix, s.temperature, s.top_p, s.top_k, s.noise, *banned)


@dataclass(frozen=True)
class Span:
    """What a read returned: `ids` without the stop, the matched `stop` ids, and where it stands in its stream.

    A string stop keeps the tokens that hold text before the match. `reason` is "context" when the model's context was full
    before stop or limit, "until" when the condition of an `Until` held.
    """

    ids: Ids
    reason: Literal["stop", "limit", "context", "until"]
    start: int
    end: int  # position after the stop
    stop: Ids = ()
    logprobs: tuple[float, ...] | None = None  # of `ids`, untempered
    confidence: tuple[float, ...] | None = None  # of `ids`, where the read asked for it


Fold = Callable[[Any, int, float], tuple[Any, bool]]


@dataclass(frozen=True)
class Until:
    """A read that also ends where a condition on the tokens so far holds; the value is a `Span`.

    `fold(state, id, number)` is called once for each position in order, with None as the first state, and returns the next
    state and whether to end behind this token; that verdict is looked at on each `every`-th position. `of` says which number.
    A stop or limit at the same position wins. It should take constant time. Where it ends depends on the tokens alone, never on
    how they came.
    """

    read: Read
    fold: Fold
    every: int = 1
    of: Number = "logprob"


@dataclass(frozen=True)
class All:
    """Run all members (reads or methods) at the same time; the value is the list of their results in member order."""

    members: Sequence[Any]


@dataclass(frozen=True)
class First:
    """Run members until `accept(results)` holds for the results of a leading run of members; cancel the rest.

    `accept` sees the results of members 0..i, for i = 0, 1, 2, ...; the value is the list of results up to and including the
    accepted one (all results when none was). Members may come from a lazy iterable; at most `ahead` of them are begun
    beyond the results already seen. The trace's cost is that of these results, as with ahead=1: how far the others came is a
    matter of batches and of what is stored, and stands in the engine's counters. Who means to run several at a time and to cut
    some of them reads all to the same position (`All` in rounds) or up to a condition (`Until`): that counts.
    """

    accept: Callable[[list[Any]], bool]
    members: Iterable[Any]
    ahead: int = 1


@dataclass(frozen=True)
class Score:
    """What the model in the role `model` says of tokens that are there; the value is a list of rows (tuples of floats), one
    for each n in `at`.

    Having read exactly `ids[:n]`, for each n in `at` (rising, 1 <= n <= len(ids)): `of` label ids are their log-probabilities
    over the whole vocabulary, untempered; "next" is that of ids[n]; "top20" and "kl" are the `Confidence` there; "head" is the
    value head's raw outputs at token n - 1. All but labels and head need n < len(ids). Rows are float32, do not depend on one
    another, and are kept one by one: whoever scores the same beginning finds them. To be counted rightly (`Trace.scored`), name
    all positions of a path that are wanted, not the last alone.
    """

    ids: Ids
    at: tuple[int, ...]
    of: Ids | Literal["next", "head"] | Confidence
    model: str = "scorer"

    def keys(self, fingerprint: str) -> list[bytes]:
        """The content address of each row (16 bytes)."""
        packed, keys, read = array("q", self.ids).tobytes(), [], 0
        known = blake2b(digest(fingerprint, self.of), digest_size=16)
        for n in self.at:
            known.update(packed[8 * read : 8 * n])
            read = n
            if self.of == "next":
                (row := known.copy()).update(packed[8 * n : 8 * n + 8])
                keys.append(row.digest())
            else:
                keys.append(known.digest())
        return keys


Row = tuple[float, ...]

Kind = Literal["thinking", "injected", "delimiter", "answer"]


@dataclass(frozen=True)
class Segment:
    """A run of ids of one kind. `injected` and `delimiter` ids were put in by the method, the others by the model.

    `role` stands at a whole prompt that a method wrote in the middle of its trace (a delimiter), and says what it asks for
    ("critique"); what follows was written under that prompt alone.
    """

    kind: Kind
    ids: Ids
    logprobs: tuple[float, ...] | None = None
    role: str = ""
    confidence: tuple[float, ...] | None = None

    @classmethod
    def of(cls, kind: Kind, span: Span) -> Segment:
        """What a read has brought, with the numbers beside it."""
        return cls(kind, span.ids, span.logprobs, confidence=span.confidence)

    def first(self, n: int) -> Segment:
        """Its first `n` ids."""
        numbers = (self.logprobs, self.confidence)
        logprobs, confidence = (x and x[:n] for x in numbers)
        return replace(self, ids=self.ids[:n], logprobs=logprobs, confidence=confidence)


@dataclass
class Trace:
    """One finished attempt at a question: prompt, segments, and how thinking ended.

    `end` is "natural" (the model stopped), "forced" (a budget cut it), "context" (no room was left) or "none" (there was no
    separate thinking). `samples` holds the members of a pool (voting, search), and `vote` says which answer of theirs counts:
    the most frequent, that with the largest sum of rewards, or that of the highest reward (`reward` in their info); or else
    `weights`, one for each sample, say it: the answer with the largest sum, of equals that of the earliest sample. Segments of
    a trace with samples are what was written beside them. `reads` (stream key -> tokens read) is filled in by the scheduler:
    path tokens and sharing are computed from it; so is `scored` (model and row -> tokens that the row adds to those before it).
    """

    prompt: Ids
    segments: list[Segment] = field(default_factory=list)
    end: Literal["natural", "forced", "context", "none"] = "none"
    waits: int = 0
    samples: list[Trace] = field(default_factory=list)
    vote: Literal["majority", "weighted", "best"] = "majority"
    weights: tuple[float, ...] | None = None
    info: dict[str, Any] = field(default_factory=dict)
    reads: dict[bytes, int] = field(default_factory=dict)
    scored: dict[tuple[str, bytes], int] = field(default_factory=dict)

    def ids(self, *kinds: Kind) -> Ids:
        """All ids of the given kinds (of every kind when none is given), in order."""
        return tuple(chain.from_iterable(s.ids for s in self.segments if not kinds or s.kind in kinds))

    @property
    def thinking_tokens(self) -> int:
        """Thinking and injected ids, without delimiters (paper section 3.2: the x of every figure)."""
        return sum(len(s.ids) for s in self.segments if s.kind in ("thinking", "injected"))

    @property
    def answer_tokens(self) -> int:
        return sum(len(s.ids) for s in self.segments if s.kind == "answer")

    @property
    def path_tokens(self) -> int:
        """Tokens the model decodes for this trace alone, each stream once."""
        return sum(self.reads.values())


Method = Generator[Any, Any, Trace]
