"""Servers that do what servers should not: forty ways, on loopback.

A fault spoils every third stream request (`stream`: what is sent instead of its events), or every third request altogether
(`request`: what is written to the connection), or what the server says of itself (`about`). `ends` says what must come of it:
"tokens", those that an undisturbed server gives, or a sentence.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..engines.test_hostile_server import EMPTY, USAGE, Hostile, talk

Events = Iterator[Any]
LAST = {"choices": [{"index": 0, "text": "", "token_ids": [3], "finish_reason": None}]}


@dataclass(frozen=True)
class Fault:
    name: str
    kind: str  # stream, request, about
    spoil: Callable
    ends: str = "tokens"


class Faulty(Hostile):
    """A server with one fault; `happened` counts how often."""

    def __init__(self, model_id: str, fault: Fault):
        super().__init__(model_id, self._spoilt)
        self.fault, self.posts, self.happened = fault, 0, 0
        if fault.kind == "about":
            fault.spoil(self)
            self.happened = 1

    def _spoilt(self, number: int, events: Events) -> Events:
        if self.fault.kind != "stream" or number % 3:
            return events
        self.happened += 1
        return self.fault.spoil(events)

    def complete(self, handler) -> None:
        self.posts += 1
        if self.fault.kind == "request" and self.posts > 3 and self.posts % 3 == 0:
            length = int(handler.headers["Content-Length"])
            handler.rfile.read(length)
            handler.close_connection = True
            self.happened += 1
            try:
                self.fault.spoil(handler)
            except OSError:
                pass
            return
        super().complete(handler)


# --- spoilt streams ---


def instead(value: Any) -> Callable[[Events], Events]:
    """After the first event: this, then the rest."""

    def spoil(events: Events) -> Events:
        yield next(events)
        yield value
        yield from events

    return spoil


def tokens(change: Callable[[list[int]], Any]) -> Callable[[Events], Events]:
    """Other ids in the second event."""

    def spoil(events: Events) -> Events:
        for number, event in enumerate(events):
            if number == 1 and event["choices"]:
                event["choices"][0]["token_ids"] = change(event["choices"][0]["token_ids"])
            yield event

    return spoil


def scores(change: Callable[[list[float]], Any]) -> Callable[[Events], Events]:
    """Other log-probabilities in the second event."""

    def spoil(events: Events) -> Events:
        for number, event in enumerate(events):
            if number == 1 and event["choices"] and "logprobs" in event["choices"][0]:
                event["choices"][0]["logprobs"] = {"token_logprobs": change([-1.0] * len(event["choices"][0]["token_ids"]))}
            yield event

    return spoil


def without_end(events: Events) -> Events:
    for event in events:
        for choice in event["choices"]:
            choice["finish_reason"] = None
        yield event


def more_than_asked(events: Events) -> Events:
    yield from without_end(events)
    yield from talk(LAST, 15)


def ends_early(events: Events) -> Events:
    yield from islice(events, 2)
    yield {"choices": [{"index": 0, "text": "", "token_ids": [], "finish_reason": "stop"}]}


def behind_the_last(events: Events) -> Events:
    yield from events
    yield from talk(USAGE, 15)


def before_the_first(events: Events) -> Events:
    yield from talk(EMPTY, 15)
    yield from events


def in_the_middle(events: Events) -> Events:
    yield next(events)
    yield from talk(USAGE, 15)
    yield from events


def drip(events: Events) -> Events:
    yield next(events)
    time.sleep(15)
    yield from events


def twice(events: Events) -> Events:
    """Every event two times, as a proxy that repeats what it was not sure to have sent."""
    for event in events:
        yield event
        yield event


def wrong_counts(events: Events) -> Events:
    for event in events:
        yield event | {
            "usage": {"prompt_tokens": -7, "completion_tokens": 10**9, "prompt_tokens_details": {"cached_tokens": "x"}}
        }


# --- spoilt requests ---


def raw(data: bytes, wait: float = 0.0) -> Callable:
    def spoil(handler) -> None:
        handler.wfile.write(data)
        handler.wfile.flush()
        time.sleep(wait)

    return spoil


def status(code: int, body: bytes = b"", **headers: str) -> Callable:
    head = f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\n" + "".join(
        f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items()
    )
    return raw(head.encode() + b"Connection: close\r\n\r\n" + body)


def reset(handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def endless_headers(handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1 << 16):
        handler.wfile.write(b"X-%d: %s\r\n" % (number, b"x" * 1000))


def drop_by_drop(handler) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {" + b" " * 200:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.1)


def zipped(handler) -> None:
    data = gzip.compress(b"data: " + b" " * (1 << 27) + b"{}\n\n")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n"
    handler.wfile.write(head.encode() + data)


EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = EVENT_STREAM + b"Transfer-Encoding: chunked\r\n\r\n"

# --- what it says of itself ---


def listed(value: Any) -> Callable:
    """An answer of another kind where its models are asked for."""

    def spoil(server: Faulty) -> None:
        server.models = lambda handler: server.answer(handler, 200, value)

    return spoil


def switched(**off: Any) -> Callable:
    def spoil(server: Faulty) -> None:
        vars(server).update(off)

    return spoil


FAULTS = (
    Fault("nested JSON", "stream", instead("[" * 200_000)),
    Fault("a line of 9 MB", "stream", instead(json.dumps(EMPTY | {"filling": "x" * 9_000_000}))),
    Fault("no JSON", "stream", instead("{'choices': oops")),
    Fault("no choices", "stream", instead({"id": 1})),
    Fault("two choices", "stream", instead({"choices": EMPTY["choices"] * 2})),
    Fault("a list for an event", "stream", instead([])),
    Fault("choices that are a number", "stream", instead({"choices": 7})),
    Fault("an error in mid-stream", "stream", instead({"error": {"message": "\x1b[2Jboom\n" * 400, "code": 500}})),
    Fault("ids as text", "stream", tokens(lambda ids: [str(i) for i in ids])),
    Fault("negative ids", "stream", tokens(lambda ids: [-1 - i for i in ids])),
    Fault("ids of no vocabulary", "stream", tokens(lambda ids: [10**40 for _ in ids])),
    Fault("ids as fractions", "stream", tokens(lambda ids: [i + 0.0 for i in ids])),
    Fault("true for an id", "stream", tokens(lambda ids: [True] * len(ids))),
    Fault("log-probabilities not a number", "stream", scores(lambda row: [float("nan")] * len(row))),
    Fault("log-probabilities without bounds", "stream", scores(lambda row: [1e300] * len(row))),
    Fault("too few log-probabilities", "stream", scores(lambda row: row[1:])),
    Fault("more than was asked for", "stream", more_than_asked),
    Fault("no end said", "stream", without_end),
    Fault("an end too early", "stream", ends_early),
    Fault("talk before the first token", "stream", before_the_first),
    Fault("talk in the middle", "stream", in_the_middle),
    Fault("talk behind the last token", "stream", behind_the_last),
    Fault("silence in the middle", "stream", drip),
    Fault("every event twice", "stream", twice),
    Fault("wrong counts", "stream", wrong_counts),
    Fault("silence before headers", "request", raw(b"", 15)),
    Fault("half of the headers", "request", raw(EVENT_STREAM)),
    Fault("headers without end", "request", endless_headers),
    Fault("a byte now and then", "request", drop_by_drop),
    Fault("a reset", "request", reset),
    Fault("broken framing", "request", raw(CHUNKED + b"zz\r\ndata: {}\r\n")),
    Fault("less than announced", "request", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\ndata: {}\n\n")),
    Fault("a gzip bomb", "request", zipped),
    Fault("a page instead of events", "request", status(200, b"<html><script>alert(1)</script></html>")),
    Fault("500, with a page", "request", status(500, b"<html>" * 5000)),
    Fault("429, Retry-After no number", "request", status(429, Retry_After="soon")),
    Fault("503, Retry-After in a moment", "request", status(503, Retry_After="0")),
    Fault("a redirection elsewhere", "request", status(307, Location="http://127.0.0.1:1/\x1b[31m"), "which is not followed"),
    Fault("another model", "about", listed({"data": [{"id": "\x1b[31m" + "other" * 9000}] * 900}), "engine.model_id="),
    Fault("ids not returned", "about", switched(returns_ids=False), "does not return token ids"),
)  # fmt: skip
