"""Servers that talk without end, or send what nobody should read: limits, one sentence, and nothing stays stuck."""

from __future__ import annotations

import gzip
import json
import time

import pytest

from s1x.engines.scripted import ScriptedEngine
from s1x.streams.engine import EngineError, Open

from .loopback import Loopback
from .test_server import SETTINGS, connect, model, write  # noqa: F401

REQUESTS = [Open((i, 1), 30) for i in range(24)]
EMPTY = {"choices": [{"index": 0, "text": "", "token_ids": [], "finish_reason": None}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 2}}


class Hostile(Loopback):
    """`spoil(request number, events)` makes of a request's events what is sent; probes are answered as they should."""

    def __init__(self, model_id: str, spoil, **settings):
        super().__init__(model_id, SETTINGS, **settings)
        self.spoil = spoil

    def events(self, body: dict):
        events = super().events(body)
        return events if body["prompt"] in ([1], [1, 1]) else self.spoil(len(self.streams), events)


def talk(event: dict, seconds: float):
    """The same event, over and over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield event
        time.sleep(0.02)


def before_the_first_token(number, events):
    if number % 3 == 0:
        yield from talk(EMPTY, 20)
    yield from events


def in_the_middle(number, events):
    yield next(events)
    if number % 3 == 0:
        yield from talk(USAGE, 20)
    yield from events


def behind_the_last_token(number, events):
    yield from events
    yield from talk(USAGE if number % 2 else EMPTY, 20)


def nested(number, events):
    yield next(events)
    if number % 3 == 0:
        yield "[" * 200_000
    yield from events


def long_lines(number, events):
    yield next(events)
    if number % 3 == 0:
        yield json.dumps(EMPTY | {"filling": "x" * 9_000_000})
    yield from events


def more_than_asked(number, events):
    """Tokens go on behind the limit, and the end is never said."""
    last = {"choices": [{"index": 0, "text": "", "token_ids": [3], "finish_reason": None}]}
    for event in events:
        for choice in event["choices"]:
            choice["finish_reason"] = None
        yield event
    yield from talk(last, 20)


@pytest.mark.parametrize(
    "spoil",
    [nested, more_than_asked, *(pytest.param(f, marks=pytest.mark.campaign) for f in (
        before_the_first_token, in_the_middle, behind_the_last_token, long_lines,
    ))],
)  # fmt: skip
def test_nothing_stays_stuck_and_every_token_is_right(model, spoil):  # noqa: F811
    with Hostile(model, spoil) as server:
        engine = connect(model, server.url, in_flight=8, first_token_s=3, between_tokens_s=1)
        began = time.monotonic()
        assert write(engine, REQUESTS) == write(ScriptedEngine(**SETTINGS), REQUESTS)
        assert time.monotonic() - began < 60  # 20 s of talk for each would take longer
        engine.close()


class Heavy(Loopback):
    """Answers with bodies that no honest server has."""

    def __init__(self, model_id: str, kind: str):
        super().__init__(model_id, SETTINGS)
        self.kind, self.sent = kind, 0

    def models(self, handler) -> None:
        if self.kind == "refusal without end":
            handler.send_response(403)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            piece = b"x" * (1 << 16)
            try:
                for _ in range(1 << 14):  # a gigabyte
                    handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.sent += len(piece)
            except OSError:
                handler.close_connection = True
            return
        data = {
            "gzip bomb": gzip.compress(b'{"data": [' + b" " * (1 << 28) + b"]}"),
            "list without end": b'{"data": [' + b"{}," * (1 << 25) + b"{}]}",
            "nested": b'{"data": ' + b"[" * 300_000 + b"]" * 300_000 + b"}",
            "no list": b'{"data": 3}',
        }[self.kind]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        if self.kind == "gzip bomb":
            handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        try:
            handler.wfile.write(data)
        except OSError:
            handler.close_connection = True


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["refusal without end", "gzip bomb", "list without end", "nested", "no list"])
def test_bodies_are_read_up_to_a_limit(model, kind):  # noqa: F811
    with Heavy(model, kind) as server:
        with pytest.raises(EngineError, match="engine.urls=http://127.0.0.1") as error:
            write(connect(model, server.url, retries=1), [Open((5, 6), 10)])
        assert len(str(error.value)) < 600 and server.sent < 1 << 25
