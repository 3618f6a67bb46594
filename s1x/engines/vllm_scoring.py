"""Scorings as requests of vLLM: log-probabilities of a prompt, labels after its first n ids, outputs of a value head.

Labels are asked for one position at a time, by a request for one token, so that the prefix cache serves (in whole blocks) what
was read before; a value head is read in one pass over all ids, without the cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..streams.engine import Rows, Scoring
from ..streams.types import Ids
from .parts import Reading

Wanted = tuple[Ids, Any]  # a prompt and vLLM's parameters for it
TOP = 20


def own(logprobs: Any, n: int) -> float:
    """Of the n-th token, by vLLM's flat log-probabilities: its own, which comes first."""
    return logprobs.logprobs[logprobs.start_indices[n]]


def top20(logprobs: Any, n: int) -> float:
    """The confidence at the n-th token: behind its own, the log-probabilities of the `TOP` likeliest ids follow."""
    start, end = logprobs.start_indices[n] + 1, logprobs.end_indices[n]
    return -sum(logprobs.logprobs[start:end]) / (end - start)


class Next:
    """Log-probabilities of the ids themselves, or of the 20 likeliest in their places: a prompt, and one token more since less
    cannot be asked for (parts.Reading)."""

    def __init__(self, handle: int, request: Scoring, context_length: int) -> None:
        self.handle, self.request = handle, request
        self._reading = Reading(handle, request, context_length)
        self._beside = 0 if request.of == "next" else TOP

    def wanted(self) -> list[Wanted]:
        drawn = None if self._reading.drawn is None else [self._reading.drawn]
        return [(self._reading.prompt, params(
            "FINAL_ONLY", max_tokens=1, temperature=0.0, allowed_token_ids=drawn, logprobs=self._beside if drawn else None,
            prompt_logprobs=self._beside, flat_logprobs=True,
        ))]  # fmt: skip

    def take(self, place: int, output: Any) -> Rows:
        said = top20 if self._beside else own
        prompt, drawn = output.prompt_logprobs, output.outputs[0].logprobs
        last = None if self._reading.drawn is None else said(drawn, 0)
        return self._reading.rows(lambda n: said(prompt, n), last)


class Labels:
    """Log-probabilities of the same few ids after the first n, for each n: rows in order, once all of them are there."""

    def __init__(self, handle: int, request: Scoring, context_length: int) -> None:
        if request.at[-1] >= context_length:
            raise ValueError(f"labels after {request.at[-1]} tokens: vLLM needs room for one more; it has {context_length}")
        self.handle, self.request = handle, request
        self._rows: dict[int, tuple[float, ...]] = {}

    def wanted(self) -> list[Wanted]:
        labels = list(dict.fromkeys(self.request.of))
        asked = params("FINAL_ONLY", max_tokens=1, temperature=0.0, logprob_token_ids=labels, flat_logprobs=True)
        return [(self.request.ids[:n], asked) for n in self.request.at]

    def take(self, place: int, output: Any) -> Rows | None:
        found = output.outputs[0].logprobs
        values = dict(zip(found.token_ids, found.logprobs, strict=True))
        self._rows[place] = tuple(values[label] for label in self.request.of)  # type: ignore[index]  # label ids
        if len(self._rows) < len(self.request.at):
            return None
        return Rows(self.handle, [self._rows[i] for i in range(len(self.request.at))], True)


class Head:
    """The value head's outputs at every id, of which some are wanted."""

    def __init__(self, handle: int, request: Scoring, context_length: int) -> None:
        self.handle, self.request = handle, request

    def wanted(self) -> list[Wanted]:
        from vllm import PoolingParams

        return [(self.request.ids[: self.request.at[-1]], PoolingParams(task="token_classify", use_activation=False))]

    def take(self, place: int, output: Any) -> Rows:
        outputs = output.outputs.data.float()
        return Rows(self.handle, [tuple(outputs[n - 1].tolist()) for n in self.request.at], True)


Asked = Next | Labels | Head


class Part(NamedTuple):
    """One request of a scoring, the `place`-th."""

    scoring: Asked
    place: int

    @property
    def handle(self) -> int:
        return self.scoring.handle


def scoring(handle: int, request: Scoring, context_length: int) -> Asked:
    kind = Labels if isinstance(request.of, tuple) else Head if request.of == "head" else Next
    return kind(handle, request, context_length)


def head_arguments() -> dict[str, Any]:
    """Of vLLM, for a model with a value head."""
    from vllm.config import PoolerConfig

    return {"runner": "pooling", "pooler_config": PoolerConfig(task="token_classify", tok_pooling_type="ALL")}


def params(kind: str, **settings: Any) -> Any:
    """Sampling parameters for tokens without text, whose ends are ours to know. kind: how outputs come (RequestOutputKind)."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(**settings, output_kind=RequestOutputKind[kind], ignore_eos=True, detokenize=False, skip_clone=True)
