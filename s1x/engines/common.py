"""What engines do alike: settings every one of them checks, what each is known by, requests that cannot be, a sign of life."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import Any, ClassVar

from ..models.facts import model_facts
from ..models.fingerprint import fingerprint
from ..models.tokenizer import check_ids, padded_ids
from ..models.weights import check_weights
from ..streams.engine import BEHIND, Chunk, Counters, Open, Rows, Scoring


class ModelEngine:
    """The engine protocol's plain part for an engine that runs a model of files, whose sampler may know ids without a token.

    model: folder or hub id. revision: of a hub model. tokenizer: where it differs from the model. max_model_len: tokens per
    stream, prefix included (None: the model's). keyed: further settings that decide what is written. overrides: of what
    config.json says. The constructor reads small files only and raises one-sentence errors.
    """

    name: ClassVar[str]  # in fingerprints: what is stored is found again by it
    packages: ClassVar[Sequence[str]] = ()  # whose version decides what is written; the first that is installed
    scores: frozenset[str] = frozenset()
    confidences: frozenset[str] = frozenset()
    loads: ClassVar[bool] = True  # weights, which are to be whole

    def __init__(
        self,
        model: str,
        *,
        revision: str | None,
        tokenizer: str | None,
        max_model_len: int | None,
        capacity: int,
        dtype: str,
        quantization: str | None = None,
        trust_remote_code: bool = False,
        keyed: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.revision, self.tokenizer = model, revision, tokenizer
        if self.loads:
            check_weights(model, revision)
        self.facts: dict[str, Any] = model_facts(model, revision, overrides)
        longest = self.facts["longest_context"]
        if max_model_len is not None and not 1 <= max_model_len <= longest:
            raise ValueError(f"engine.max_model_len={max_model_len} is out of range; {model} takes 1 to {longest} tokens.")
        self.context_length: int = max_model_len or self.facts["context_length"]
        self.dtype, self.capacity, self.trust_remote_code = dtype, capacity, trust_remote_code
        self.quantization, self.keyed = quantization, keyed
        self.counters = Counters()
        self.padded = range(0)  # ids without a token, known once the first request has come
        self._handles = count()

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            self.name,
            self.model,
            revision=self.revision,
            tokenizer=self.tokenizer,
            dtype=self.dtype,
            quantization=self.quantization,
            packages=self.packages,
            version=self.version_there(),
            arguments=self.keyed,
        )

    def version_there(self) -> str | None:
        """The version of what runs the model, where it is not one of `packages`."""
        return None

    def admit(self, request: Open | Scoring) -> int:
        """A handle for a request that makes sense. Raises ValueError for others."""
        if isinstance(request, Scoring):
            check_scoring(request, self.scores, self.context_length)
        elif not request.prefix:
            raise ValueError("Open.prefix is empty; a stream needs at least one token to start from.")
        if not self.padded.stop:
            self.padded = padded_ids(self.model, self.revision, self.tokenizer, self.trust_remote_code)
        if isinstance(request, Scoring):
            largest = max(*request.ids, *(request.of if isinstance(request.of, tuple) else ()), 0)
            if largest >= self.padded.start:
                raise ValueError(f"a scoring holds the id {largest}; this model's tokens end before {self.padded.start}.")
        check_ids(self.model, max(request.ids if isinstance(request, Scoring) else request.prefix), self.facts["vocab_size"])
        return next(self._handles)


def at_least_one(**sizes: int) -> None:
    """Raises ValueError for the first setting below 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"engine.{name}={value} is too small; it must be at least 1.")


def check_scoring(request: Scoring, scores: frozenset[str], context_length: int) -> None:
    """Raises ValueError for a scoring that an engine with these `scores` cannot do, or nobody could."""
    kind = request.of if isinstance(request.of, str) else "labels"
    ids, at = request.ids, request.at
    if kind not in scores:
        raise ValueError(f'Scoring.of="{kind}": this engine scores {", ".join(sorted(scores)) or "nothing"}.')
    last = len(ids) - (kind in BEHIND)
    if not at or not 1 <= at[0] or at[-1] > last or any(a >= b for a, b in zip(at, at[1:])):
        raise ValueError(f"Scoring.at={at}: positions must rise from 1 or more to {last} at most.")
    if len(ids) > context_length:
        raise ValueError(f"Scoring.ids has {len(ids)} tokens; this engine reads {context_length} at most.")


def no_room(request: Open, handle: int) -> Chunk:
    """The end of a stream that has no room for a token."""
    return Chunk(handle, [], [] if request.logprobs else None, True)


def alive(waiting: Iterable[tuple[int, Open | Scoring]]) -> list[Chunk | Rows]:
    """Nothing new, said of the first open request: `poll` returns [] only when nothing is open."""
    for handle, request in waiting:
        return [Rows(handle, [], False) if isinstance(request, Scoring) else no_room(request, handle)._replace(done=False)]
    return []
