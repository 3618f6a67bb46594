"""Several engine processes behind one engine: same results, processes that die are replaced."""

from __future__ import annotations

import logging
import os
import signal
import time
from functools import partial

import pytest

from s1x.engines.build import build
from s1x.engines.replicas import Replicas, device_groups
from s1x.engines.scripted import ScriptedEngine
from s1x.streams.engine import EngineError, Open
from s1x.streams.types import Ids

from ..methods.conftest import CONTEXT, END, SPOKEN, START, make_chat
from . import sweep

SETTINGS = {"vocab": len(SPOKEN), "first_id": 2, "ends": {START: 250, END: 100}, "context_length": CONTEXT, "capacity": 16}
TEXTS = [f"{i}+{i}=" for i in range(34)]


class Slow(ScriptedEngine):
    """Slow enough to be killed in the middle of its work."""

    def poll(self):
        time.sleep(0.002)
        return super().poll()


class Failing(ScriptedEngine):
    def poll(self):
        raise MemoryError("no room for the weights")


def killing(replicas: Replicas, after: int, places: list[int]):
    """A poll that kills the processes of `places`, one each time another `after` tokens have arrived."""
    poll, seen = replicas.poll, 0

    def polled():
        nonlocal seen
        chunks = poll()
        seen += sum(len(chunk.ids) for chunk in chunks)
        if places and seen > after:
            seen = 0
            os.kill(replicas.pids()[places.pop(0)], signal.SIGKILL)
        return chunks

    return polled


@pytest.fixture(scope="module")
def expected():
    return sweep.run(ScriptedEngine(**SETTINGS), make_chat(), TEXTS)


def test_a_sweep_over_two_processes_equals_one_engine(expected):
    engine = Replicas(partial(Slow, **SETTINGS), 2)
    assert engine.capacity == 32 and engine.fingerprint == ScriptedEngine(**SETTINGS).fingerprint
    traces = sweep.run(engine, make_chat(), TEXTS)
    decoded = [process.counters.decoded for process in engine._processes]
    engine.close()
    assert sweep.same(traces, expected) == len(expected)
    assert min(decoded) > sum(decoded) / 4 and engine.counters.decoded >= sum(decoded)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_killed_process_is_reported_and_its_streams_go_on(expected, caplog, temperature):
    engine = Replicas(partial(Slow, **SETTINGS), 2)
    engine.poll = killing(engine, 1000, [0, 1])
    with caplog.at_level(logging.WARNING):
        traces = sweep.run(engine, make_chat(), TEXTS, temperature=temperature)
    engine.close()
    alone = expected if temperature == 0 else sweep.run(ScriptedEngine(**SETTINGS), make_chat(), TEXTS, temperature=temperature)
    assert sweep.same(traces, alone) == len(alone)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("s1x")]
    assert len(messages) == 2 and all("is started again" in m and "exit status -9" in m for m in messages)


def test_a_process_that_dies_again_ends_the_run_with_a_sentence():
    engine = Replicas(partial(Slow, **SETTINGS), 2)
    engine.poll = killing(engine, 300, [0, 0])
    with pytest.raises(EngineError, match="process 0 ended twice"):
        sweep.run(engine, make_chat(), TEXTS)
    engine.close()


def test_an_error_in_a_process_is_raised_here():
    engine = Replicas(partial(Failing, **SETTINGS), 2)
    engine.open(Open((1, 2), 5))
    with pytest.raises(EngineError, match="MemoryError: no room for the weights"):
        while True:
            engine.poll()
    engine.close()


def test_processes_end_with_close_and_start_again():
    engine = Replicas(partial(ScriptedEngine, **SETTINGS), 2)

    def write(prefix: Ids) -> list[int]:
        handle, ids = engine.open(Open(prefix, 20)), []
        while chunks := engine.poll():
            ids += [i for chunk in chunks if chunk.handle == handle for i in chunk.ids]
        return ids

    first, pids = write((1, 2)), engine.pids()
    engine.close()
    for pid in pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert write((1, 2)) == first and len(first) == 20
    assert engine.counters.decoded == 40
    engine.close()


def test_cancelled_streams_say_no_more():
    engine = Replicas(partial(Slow, **SETTINGS), 2)
    gone, kept = engine.open(Open((5, 1), 400)), engine.open(Open((6, 1), 200))
    seen = {gone: 0, kept: 0}
    cancelled = False
    while chunks := engine.poll():
        for chunk in chunks:
            assert not (cancelled and chunk.handle == gone)
            seen[chunk.handle] += len(chunk.ids)
        if seen[gone] and not cancelled:
            engine.cancel(gone)
            cancelled = True
    engine.close()
    assert seen[kept] == 200 and 0 < seen[gone] < 400


def test_build_makes_replicas_of_any_engine():
    settings = {
        "_target_": "s1x.engines.scripted.ScriptedEngine",
        "replicas": 3,
        "end_chance": 50,
        "context_length": 100,
        "capacity": 5,
        "tokens_per_poll": 2,
    }
    engine = build(settings, {"path": "unused", "revision": None, "tokenizer": None}, (7,))
    assert isinstance(engine, Replicas) and engine.capacity == 15
    handle = engine.open(Open((1, 2), 9))
    ids = [i for chunks in iter(engine.poll, []) for chunk in chunks if chunk.handle == handle for i in chunk.ids]
    engine.close()
    assert len(ids) == 9


def test_device_groups():
    assert device_groups(["0", "1", "2", "3"], 2, 2) == ["0,1", "2,3"]
    assert device_groups(["4", "6"], 2, 1) == ["4", "6"]
    assert device_groups([], 2, 1) is None
    with pytest.raises(ValueError, match="engine.replicas=3 with 2 devices each needs 6 devices; there are 4"):
        device_groups(["0", "1", "2", "3"], 3, 2)
