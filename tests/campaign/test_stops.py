"""Told to stop in the middle: what the engine had handed over is in the store, as a server counts that sends the tokens."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from ..engines.loopback import Loopback
from .commands import Command, Hang, run

pytestmark = pytest.mark.campaign
MODEL = str(Path(__file__).parents[2] / "s1x" / "tiny" / "models" / "tiny-s1")
SPEAKS = {"vocab": 400, "first_id": 4, "ends": {1: 8, 2: 8}, "context_length": 2048}  # of a vocabulary of 512
STREAMS = 16  # at once
STREAM = ("prompt", "max_tokens", "stream", "stop_token_ids", "priority", "stream_interval", "logprobs")  # of a request, beside


class Counting(Loopback):
    """Counts every token that it sends, by what stood before it and the rest of the request. pace: seconds of a token in
    each stream. `hold` stops all streams where they are, until `let_go` ends them."""

    def __init__(self, pace: float):
        super().__init__(MODEL, SPEAKS)
        self.pace, self.sent, self.under_way = pace, Counter(), 0
        self._going, self._era, self._lock = threading.Event(), 0, threading.Lock()
        self._going.set()

    def hold(self) -> None:
        self._going.clear()
        time.sleep(0.5)  # what is on its way arrives

    def let_go(self) -> None:
        self._era += 1
        self._going.set()

    def events(self, body: dict):
        if body["prompt"] in ([1], [1, 1]):  # a probe
            yield from super().events(body)
            return
        era, before = self._era, tuple(body["prompt"])
        rest = tuple(sorted((key, str(value)) for key, value in body.items() if key not in STREAM))
        for event in super().events(body):
            time.sleep(self.pace * sum(len(choice["token_ids"]) for choice in event["choices"]))
            self._going.wait(60)
            if era != self._era:
                raise OSError("held and let go")
            for choice in event["choices"]:
                with self._lock:
                    for token in choice["token_ids"]:
                        before += (token,)
                        self.sent[hash((rest, before))] += 1
            yield event

    def twice(self) -> int:
        return sum(n - 1 for n in self.sent.values())


def arguments(server: Counting, place: Path) -> list[str]:
    return [
        "-m", "method.max_thinking_tokens=64,512", "method.ignore_end=0,1", "task.limit=12", "tracking=none", "model=tiny_s1",
        "engine=server", f"engine.urls={server.url}", f"engine.in_flight={STREAMS}", f"store.dir={place / 'store'}",
        f"hydra.sweep.dir={place / 'out'}", "engine.pause_s=0.05",
    ]  # fmt: skip


def test_nothing_is_sent_twice(tmp_path, size, count):
    tally, rng = count("stopped while a server sends"), random.Random(2)
    with Counting(0.0) as server:
        began = time.monotonic()
        assert run(arguments(server, tmp_path / "whole"), tmp_path / "whole.log").status == 0
        whole, alone = sum(server.sent.values()), server.twice()
        seconds = time.monotonic() - began
    slow = 3 * STREAMS * seconds / whole  # a third of what the command takes in here, or more and more would be on its way
    flowing = 0
    for number in range(size(4, 12)):
        held, sign = number % 2 == 0, rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
        with Counting(slow) as server:
            place = tmp_path / str(number)
            command = Command(arguments(server, place), tmp_path / f"{number}.log")
            faults: dict[str, str | None] = {}
            try:
                command.until(lambda: sum(server.sent.values()) > rng.random() * 0.8 * whole, "generating")
                if held:
                    server.hold()
                command.send(sign)
                status = command.wait("stopping")
                if status != 128 + sign:
                    faults["other"] = f"it ended with {status}: {command.said()[-500:]}"
                server.let_go()
                until = sum(server.sent.values())
                server.pace = 0.0
                again = run(arguments(server, place), tmp_path / f"{number}.again.log")
                faults["wrong"] = f"it ended with {again.status}: {again.said()[-500:]}" if again.status else None
                twice = server.twice() - alone
                if (
                    held and twice > 0 or twice > STREAMS * 8
                ):  # tokens that were on their way: an event of each stream, and no more
                    faults["lost"] = f"{twice} of {until} tokens were sent twice"
                flowing += 0 if held else max(0, twice)
                faults["traceback"] = command.traceback() or again.traceback()
            except Hang as hang:
                faults["hang"] = str(hang)
            tally.trial("all streams held" if held else "tokens flowing", **faults)
    tally.measured |= {"tokens of one undisturbed run": whole, "sent twice, with tokens on their way": flowing}
    tally.measured["its seconds"] = round(seconds, 1)
    tally.check(size(4, 12))
