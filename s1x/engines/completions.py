"""The completions protocol of vLLM-compatible servers: token ids in, a stream of token ids out, and what can go wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Any, NamedTuple

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ..errors import printable
from ..streams.types import Sampling
from .parts import Part
from .tally import Counts, Event, Miscounted, Tally

log = logging.getLogger(__name__)

TOP = 20  # ids whose log-probabilities make a confidence: as many as `vllm serve` says unless told otherwise (--max-logprobs)
_READ_BYTES = 1 << 22  # a line of an answer repeats the prompt's ids
_TAIL_S = 2.0  # patience with what a server has to say when a stream is finished: how much of it was cached
_ANSWER_BYTES, _REFUSAL_BYTES = 1 << 26, 1 << 16  # what is read of an answer in one piece, and of a refusal
_LIKELIEST_BYTES = 1 << 12  # and of what is said of the `TOP` likeliest ids in place of one
AGAIN = {408, 409, 425, 429}  # and every 5xx: the same request may succeed later
# What may change tokens beside temperature, seed and stops, at the value that changes none. A server fills in what a request
# leaves out, from the model's generation_config.json or from its own command line; so nothing is left out.
NEUTRAL: dict[str, Any] = {
    "n": 1,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "min_tokens": 0,
    "stop": [],
    "stop_token_ids": [],
    "bad_words": [],
    "logit_bias": {},
    "watermarking": False,
    "ignore_eos": True,
}
_FAILURES = (
    *(aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError),  # HttpProcessingError: lines without end
    *(ValueError, TypeError, KeyError, AttributeError, RecursionError),
)


class Broken(Exception):
    """The request failed in a way that may pass: try again, not before `after` seconds if the server said so."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Unreachable(Broken):
    """No connection came about."""


class Refused(Exception):
    """The server understood and said no; the message is its reason, `status` that of its answer where it had one."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


_COUNTS = "continuous_usage_stats"  # of stream_options: each event says how many tokens are written
_STANDARD = {"n", "top_p", "presence_penalty", "frequency_penalty", "stop", "logit_bias", "ignore_eos"}
EXTENSIONS = (frozenset(NEUTRAL) - _STANDARD) | {_COUNTS}


class Served(NamedTuple):
    """What a server says of the model that it serves under a name, and of itself."""

    root: str | None
    max_model_len: int | None
    version: str | None = None


def plain(model: str, unknown: Collection[str] = ()) -> dict[str, Any]:
    """What every request says. unknown: fields that the server refuses, left out while they say nothing."""
    return {**{name: value for name, value in NEUTRAL.items() if name not in unknown}, "model": model}


def body(
    model: str,
    part: Part,
    sampling: Sampling,
    *,
    logprobs: bool,
    priority: int | None,
    interval: int = 1,
    top: bool = False,
    unknown: Collection[str] = (),
) -> dict[str, Any]:
    """The request of a part. Nothing but its own stop ids may end it: `ignore_eos`. interval: tokens per event (vLLM 0.32).
    top: also say what the likeliest ids were. unknown: see `plain`."""
    request: dict[str, Any] = {
        **plain(model, unknown),
        "prompt": list(part.prefix),
        "max_tokens": part.limit,
        "temperature": sampling.temperature,
        "return_token_ids": True,
        "skip_special_tokens": False,
        "stream": True,
        "stream_options": {"include_usage": True} | ({} if _COUNTS in unknown else {_COUNTS: True}),
    }
    if sampling.noise is not None:
        request |= {"top_p": sampling.top_p, "top_k": sampling.top_k, "seed": part.seed}
    if interval > 1:
        request["stream_interval"] = interval
    if part.stop_ids:
        request["stop_token_ids"] = sorted(part.stop_ids)
    if part.banned:
        request["logit_bias"] = {str(i): -100 for i in sorted(part.banned)}
    if logprobs or top:
        request["logprobs"] = TOP if top else 0
    if top:
        request["return_tokens_as_token_ids"] = True  # else ids of the same text are one
    if priority is not None:
        request["priority"] = priority
    return request


def sessions(**connector: Any) -> aiohttp.ClientSession:
    """Connections to servers, any number at once."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, **connector),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        read_bufsize=_READ_BYTES,
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,  # a short answer must not become an endless one
    )


class Endpoint:
    """One server. `url` ends before /v1. The key goes into the request header and nowhere else."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str | None, *, first_s: float, between_s: float) -> None:
        self.session, self.url, self._key = session, url, key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._sent = {"headers": headers, "allow_redirects": False}  # prompts and key go where somebody said, and nowhere else
        self._first_s, self._between_s = first_s, between_s
        self.open = 0  # requests in flight
        self.down_until = 0.0  # loop time before which no other request should try it
        self.counts: Counts = "none"  # until it has been found out (probing.py)
        self._reported = False

    async def models(self) -> list[dict[str, Any]]:
        """What the server says it serves. Raises Broken or Refused."""
        there = await self._get("v1/models")
        try:
            return [model for model in there["data"] if isinstance(model, dict)]
        except _FAILURES as error:
            raise self._broken(error) from None

    async def served(self, name: str) -> Served | list[str]:
        """What the server says of the model `name`; the names it has where that is none of them. Raises Broken or Refused."""
        there = {str(model.get("id")): model for model in await self.models()}
        if name not in there:
            return list(there)
        root, longest = there[name].get("root"), there[name].get("max_model_len")
        return Served(root and said(root), longest if isinstance(longest, int) else None)

    async def version(self) -> str | None:
        """Of the server; None where it does not say. Raises Broken."""
        try:
            return version_of(await self._get("version"))
        except Refused:
            return None

    async def _get(self, path: str) -> Any:
        """Over a connection of its own: it goes where a new request goes, and no request is sent behind it while it closes."""
        try:
            async with asyncio.timeout(self._between_s), sessions(force_close=True) as own:
                async with own.get(f"{self.url}/{path}", **self._sent) as answer:
                    await self._check(answer)
                    return await _json(answer)
        except _FAILURES as error:
            raise self._broken(error) from None

    async def complete(self, request: dict[str, Any]) -> AsyncIterator[Event]:
        """Send a request and yield what arrives, each token once, until it is finished; where the server counts its tokens at
        the end of a request alone, all of it then. Patience is with tokens: a server that talks without writing any is waited
        for no longer than a silent one. Raises Broken (at any time) or Refused."""
        self.open += 1
        finished, tally, held = False, Tally(self.counts, request["max_tokens"], self._miscounted), list[Event]()
        try:
            async with asyncio.timeout(self._first_s) as patience:
                async with self.session.post(f"{self.url}/v1/completions", json=request, **self._sent) as answer:
                    await self._check(answer)
                    _end_with_connection(answer)
                    async for line in answer.content:
                        if line.startswith(b"data:"):
                            data = line[5:].strip()
                            if data == b"[DONE]":
                                break
                            event = tally.take(self._event(json.loads(data), request.get("logprobs")))
                            if event.ids or event.finished and not finished:
                                seconds = _TAIL_S if event.finished else self._between_s
                                patience.reschedule(asyncio.get_running_loop().time() + seconds)
                            finished |= event.finished
                            if self.counts == "end":
                                held.append(event)
                            else:
                                yield event
                    if not finished:
                        raise Broken("the stream was cut")
        except _FAILURES as error:
            if not (finished and isinstance(error, TimeoutError)):  # all tokens are there
                raise self._broken(error) from None
        finally:
            self.open -= 1
        try:
            tally.close()
        except Miscounted as error:
            raise self._broken(error) from None
        for event in held:
            yield event

    async def chat(self, request: dict[str, Any]) -> str:
        """Send a chat request; what the model said. Raises Broken or Refused."""
        return await self.whole("v1/chat/completions", request, lambda answer: answer["choices"][0]["message"]["content"] or "")

    async def whole(self, path: str, request: dict[str, Any], read: Callable[[dict[str, Any]], Any]) -> Any:
        """Send a request that is answered in one piece; what `read` makes of the answer. Raises Broken, also where `read` finds
        something else than it looks for, or Refused."""
        self.open += 1
        try:
            async with asyncio.timeout(self._first_s):
                async with self.session.post(f"{self.url}/{path}", json=request, **self._sent) as answer:
                    await self._check(answer)
                    many = len(request["prompt"]) if request.get("prompt_logprobs") else 0
                    return read(await _json(answer, _ANSWER_BYTES + many * _LIKELIEST_BYTES))
        except (*_FAILURES, IndexError) as error:
            raise self._broken(error) from None
        finally:
            self.open -= 1

    def _event(self, data: dict[str, Any], logprobs: int | None) -> Event:
        """logprobs: how many ids beside each token were asked for (None: not even its own log-probability)."""
        if "error" in data:
            error = data["error"]
            if isinstance(error.get("code"), int) and 400 <= error["code"] < 500 and error["code"] not in AGAIN:
                raise Refused(self._clean(str(error.get("message"))))
            raise Broken("the server reported an error in mid-stream")
        usage = data.get("usage") or {}
        written = _count(usage.get("completion_tokens"))
        if not data["choices"]:
            return Event([], None if logprobs is None else [], cached_tokens(data), False, written)
        (choice,) = data["choices"]
        ids = choice.get("token_ids") or []
        if not all(type(token) is int and token >= 0 for token in ids):
            raise ValueError("token_ids")
        given, sure, said = None, None, choice.get("logprobs") or {}
        if logprobs is not None:
            given = [float(p) for p in said.get("token_logprobs") or []]
            if len(given) != len(ids) or not all(map(is_logprob, given)):
                raise ValueError("token_logprobs")
        if logprobs:
            sure = [top20(top.values()) for top in said.get("top_logprobs") or []]
            if len(sure) != len(ids):
                raise ValueError("top_logprobs")
        return Event(ids, given, None, choice.get("finish_reason") is not None, written, sure)

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status == 200:
            return
        if answer.status in AGAIN or answer.status >= 500:
            after = answer.headers.get("Retry-After", "")
            raise Broken(f"HTTP status {answer.status}", float(after) if after.isdigit() else 0.0)
        if 300 <= answer.status < 400:
            to = self._clean(answer.headers.get("Location", "nowhere"))
            raise Refused(
                f"HTTP status {answer.status}: it points to {to}, which is not followed; set the address that answers",
                answer.status,
            )
        text = (await answer.content.read(_REFUSAL_BYTES)).decode(errors="replace")
        try:
            given = json.loads(text)
            text = given.get("error", given).get("message", text)
        except (ValueError, AttributeError, RecursionError):
            pass
        raise Refused(f"HTTP status {answer.status}: {self._clean(str(text))}", answer.status)

    def _broken(self, error: Exception) -> Broken:
        if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
            return Unreachable("no connection")
        if isinstance(error, TimeoutError):
            return Broken("no answer in time")
        if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError)):
            return Broken("the connection was cut")
        return Broken(str(error) if isinstance(error, Miscounted) else "an unreadable answer")

    def _miscounted(self, came: int, written: int) -> None:
        if not self._reported:
            log.warning(
                "engine.urls=%s: %d tokens of a request came, of which the server had written %d: something between here and "
                "there repeats or loses them. What does not fit is not used, and asked for again.", self.url, came, written,
            )  # fmt: skip
        self._reported = True

    def _clean(self, text: str) -> str:
        """The server's words, short, on one line, and without the key should it have been echoed."""
        text = " ".join(text.split())
        return said(text.replace(self._key, "***") if self._key else text)


def said(text: object) -> str:
    """What a server says, in a sentence: short, and nothing that a terminal would obey."""
    return printable(str(text), 300)


def version_of(answer: Any) -> str | None:
    """The version in an answer to `GET /version`; None where that is something else."""
    found = answer.get("version") if isinstance(answer, dict) else None
    return found if isinstance(found, str) and re.fullmatch(r"[0-9][\w.+-]{0,80}", found) else None


def is_logprob(value: float) -> bool:
    return -math.inf <= value < 1  # rounding may leave a little above 0; not a number is none


def top20(values: Iterable[Any]) -> float:
    """The confidence (types.Confidence) where a token was written: of the log-probabilities of the `TOP` likeliest ids and of
    its own, which may be one of them. Raises ValueError where there are fewer, or they are none."""
    numbers = [float(value) for value in values]
    if len(numbers) < TOP or not all(map(is_logprob, numbers)):
        raise ValueError("top_logprobs")
    return -sum(sorted(numbers)[-TOP:]) / TOP


async def _json(answer: aiohttp.ClientResponse, most: int = _ANSWER_BYTES) -> Any:
    """An answer in one piece, up to a length that no honest one has."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > most:
            raise ValueError("too long")
    return json.loads(b"".join(parts))


def cached_tokens(data: dict[str, Any]) -> int | None:
    return _count(((data.get("usage") or {}).get("prompt_tokens_details") or {}).get("cached_tokens"))


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _end_with_connection(answer: aiohttp.ClientResponse) -> None:
    """Let reading fail as soon as the connection is gone: where broken framing made it close, aiohttp 3.14 tells nobody."""
    connection = answer.connection
    if connection is None:
        return  # the answer is complete

    def tell(closed: asyncio.Future | None) -> None:
        if closed is not None and not closed.cancelled():
            closed.exception()  # seen
        if not answer.content.is_eof() and answer.content.exception() is None:
            answer.content.set_exception(aiohttp.ClientPayloadError("the connection was closed"))

    closed = connection.protocol.closed
    if closed is None:
        tell(None)
    else:
        closed.add_done_callback(tell)
