"""Scorings as requests to a server: log-probabilities of a prompt or of the 20 likeliest ids in each of its places, labels
behind its first n ids, outputs of a value head.

Labels are asked for one position at a time, by a request for one token, so that the prefix cache serves what was read before.
vLLM says the log-probabilities of the ids that a request names (`logprob_token_ids` of POST /v1/completions). From a server
that knows no such field each label is drawn, as the only token that may be (`allowed_token_ids`): what is said of a drawn token
is of the model itself, before masks. So a label is never looked for among the most probable tokens, where it may be missing. A
value head is read by POST /pooling, in one pass over all ids (vLLM: entrypoints/pooling/pooling/protocol.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..streams.engine import Rows, Scoring
from ..streams.types import Ids, Row
from .completions import TOP, Broken, Refused, cached_tokens, is_logprob, top20
from .parts import Reading

NAMED = 128  # labels that one request may name (vLLM: MAX_LOGPROB_TOKEN_IDS)
DRAWN = 1  # labels that one request may draw
Answer = dict[str, Any]


class Part(NamedTuple):
    """One request of a scoring, the `place`-th. `path` is below the server's address, `read` makes of its answer what
    `Asked.take` takes, `tokens` is how many the model reads for it."""

    scoring: Asked
    place: int
    path: str
    body: dict[str, Any]
    read: Callable[[Answer], Any]
    tokens: int

    @property
    def handle(self) -> int:
        return self.scoring.handle

    @property
    def request(self) -> Scoring:
        return self.scoring.request


class Got(NamedTuple):
    """What was read of an answer, and how many tokens the server had in its KV cache, where it says so."""

    value: Any
    cached: int | None


class Asked:
    """A scoring under way: the requests that it takes, and its rows once all of them are answered. `server`: where they go;
    what one of them has read the others find in the cache there. Raises ValueError where there is no room to ask."""

    def __init__(self, handle: int, request: Scoring, context_length: int) -> None:
        if isinstance(request.of, tuple) and request.at[-1] >= context_length:
            raise ValueError(
                f"labels after {request.at[-1]} tokens: a server needs room for one more; the context has {context_length}"
            )
        self.handle, self.request = handle, request
        self.server: int | None = None
        self._reading = Reading(handle, request, context_length) if request.of in ("next", "top20") else None
        self._parts = 0
        self._answers: dict[int, Any] = {}

    def parts(self, fields: dict[str, Any], labels: int) -> list[Part]:
        """The requests. fields: what every one says (completions.plain). labels: how many one may ask for, NAMED or DRAWN."""
        ids, at, of = self.request.ids, self.request.at, self.request.of
        if self._reading:
            beside = TOP if of == "top20" else 0
            asked = [(prompt_request(fields, self._reading.prompt, self._reading.drawn, beside), at[-1])]
        elif of == "head":
            asked = [(head_request(fields["model"], ids[: at[-1]]), at[-1])]
        else:
            unlike = tuple(dict.fromkeys(of))
            groups = [unlike[i : i + labels] for i in range(0, len(unlike), labels)]
            kind = named_request if labels > DRAWN else drawn_request
            asked = [(kind(fields, ids[:n], group), n) for n in at for group in groups]
        self._parts = len(asked)
        return [Part(self, place, *request, tokens) for place, (request, tokens) in enumerate(asked)]

    def take(self, place: int, value: Any) -> Rows | None:
        """Receive what the answer to a part says; the rows with the last of them."""
        self._answers[place] = value
        if len(self._answers) < self._parts:
            return None
        answers = [self._answers[i] for i in range(self._parts)]
        if self._reading:
            prompt, drawn = answers[0]
            return self._reading.rows(prompt.__getitem__, drawn)
        return Rows(self.handle, self._rows(answers), True)

    def _rows(self, answers: list[Any]) -> list[Row]:
        at, of = self.request.at, self.request.of
        if of == "head":
            return [answers[0][n - 1] for n in at]
        found: list[dict[int, float]] = [{} for _ in at]
        for i, values in enumerate(answers):
            found[i * len(at) // len(answers)] |= values
        return [tuple(values[label] for label in of) for values in found]


Request = tuple[str, dict[str, Any], Callable[[Answer], Got]]  # path, body, how the answer is read


def prompt_request(fields: dict[str, Any], prompt: Ids, drawn: int | None, beside: int = 0) -> Request:
    """For log-probabilities of the ids of a prompt, and of one that is drawn for want of room; or, where the likeliest `beside`
    them are asked for, for the confidence at each."""
    named = {"return_tokens_as_token_ids": True} if beside else {}
    extra = {} if drawn is None else {"allowed_token_ids": [drawn], "logprobs": beside, **named}
    read = partial(_likeliest, prompt, drawn) if beside else partial(_prompt, prompt, drawn)
    return _one_token(fields, prompt, read, prompt_logprobs=beside, **extra)


def named_request(fields: dict[str, Any], prompt: Ids, labels: Ids) -> Request:
    """For log-probabilities of the labels behind a prompt; NAMED of them at most."""
    asked = {"logprob_token_ids": list(labels), "logprobs": 0, "return_tokens_as_token_ids": True}
    return _one_token(fields, prompt, partial(_named, labels), **asked)


def drawn_request(fields: dict[str, Any], prompt: Ids, labels: Ids) -> Request:
    """For the log-probability of a single label behind a prompt."""
    return _one_token(fields, prompt, partial(_drawn, labels), allowed_token_ids=list(labels), logprobs=0)


def head_request(model: str, ids: Ids, activation: bool = False) -> Request:
    """For the value head's outputs at all `ids`, as they are or behind the model's activation."""
    body = {
        "model": model, "input": list(ids), "task": "token_classify", "use_activation": activation,
        "add_special_tokens": False, "encoding_format": "float",
    }  # fmt: skip
    return "pooling", body, partial(_outputs, len(ids))


def _one_token(fields: dict[str, Any], prompt: Ids, read: Callable[[Answer], Got], **asked: Any) -> Request:
    least = {"prompt": list(prompt), "max_tokens": 1, "temperature": 0.0, "return_token_ids": True}
    return "v1/completions", {**fields, **least, **asked}, read


def _prompt(prompt: Ids, drawn: int | None, answer: Answer) -> Got:
    """A number for each id of the prompt (NaN for the first), and that of the drawn one."""
    choice, given = _places(prompt, answer)
    values = [float(place[str(token)]["logprob"]) for place, token in zip(given, prompt[1:], strict=True)]
    last = None if drawn is None else _checked(choice["logprobs"]["token_logprobs"])[0]
    return Got(([math.nan, *_checked(values)], last), cached_tokens(answer))


def _likeliest(prompt: Ids, drawn: int | None, answer: Answer) -> Got:
    """The same of the confidence at each."""
    choice, given = _places(prompt, answer)
    values = [top20(said["logprob"] for said in place.values()) for place in given]
    last = None if drawn is None else top20(choice["logprobs"]["top_logprobs"][0].values())
    return Got(([math.nan, *values], last), cached_tokens(answer))


def _places(prompt: Ids, answer: Answer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The only choice, and what is said at each id of the prompt but the first."""
    (choice,) = answer["choices"]
    given = choice.get("prompt_logprobs")
    if given is None:
        raise Refused("it returns no prompt_logprobs")
    if len(given) != len(prompt):
        raise Broken("prompt_logprobs of another prompt")
    return choice, given[1:]


def _named(labels: Ids, answer: Answer) -> Got:
    """A number for each label; what else is said (of the token that was drawn) does not count."""
    (choice,) = answer["choices"]
    (there,) = choice["logprobs"]["top_logprobs"]
    names = {label: f"token_id:{label}" for label in labels}
    if missing := [label for label, name in names.items() if name not in there]:
        raise Broken(f"an answer without the label {missing[0]}")
    values = _checked([there[name] for name in names.values()])
    return Got(dict(zip(labels, values, strict=True)), cached_tokens(answer))


def _drawn(labels: Ids, answer: Answer) -> Got:
    (choice,) = answer["choices"]
    if choice.get("token_ids") != list(labels):
        raise Broken("another token than the only one that was allowed")
    values = _checked(choice["logprobs"]["token_logprobs"])
    return Got(dict(zip(labels, values, strict=True)), cached_tokens(answer))


def _outputs(n: int, answer: Answer) -> Got:
    """The outputs at each of `n` ids."""
    (item,) = answer["data"]
    rows = [tuple(map(float, row)) for row in item["data"]]
    if len(rows) != n:
        raise Broken(f"outputs at {len(rows)} of {n} tokens")
    if not rows[0] or {len(row) for row in rows} != {len(rows[0])} or not all(math.isfinite(x) for row in rows for x in row):
        raise Broken("outputs that are no numbers")
    return Got(rows, cached_tokens(answer))


def _checked(values: Sequence[Any]) -> list[float]:
    numbers = [float(value) for value in values]
    if not all(map(is_logprob, numbers)):
        raise Broken("log-probabilities that are none")
    return numbers
