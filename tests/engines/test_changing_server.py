"""What stands between: proxies that repeat or lose events, and servers that come to serve something else."""

from __future__ import annotations

import threading
from itertools import cycle

import pytest

from s1x.engines import server_client
from s1x.engines.scripted import ScriptedEngine
from s1x.streams.engine import EngineError, Open, Scoring
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.store import Store
from s1x.streams.types import Read, Sampling

from .loopback import Loopback
from .test_hostile_server import REQUESTS, Hostile
from .test_server import SETTINGS, connect, model, write  # noqa: F401

TALKATIVE = SETTINGS | {"tokens_per_poll": 3}


def every(n, what):
    """Spoils every n-th event of a request: `what(event)` are the events that come in its place."""

    def spoil(number, events):
        for place, event in enumerate(events, number):
            yield from what(event) if place % n == 0 else [event]

    return spoil


def twice(event):
    return [event, event]


def thrice(event):
    return [event] * 3


def lost(event):
    return []


def again_later(number, events):
    """A whole piece of the stream comes again."""
    seen = []
    for event in events:
        yield event
        seen.append(event)
        if len(seen) % 10 == 0:
            yield from seen[-4:]


def swapped(number, events):
    events = list(events)
    if number % 2 and len(events) > 5:
        events[2], events[3] = events[3], events[2]
    yield from events


SPOILT = {
    "repeated": every(10, twice), "thrice": every(7, thrice), "lost": every(11, lost), "a piece again": again_later,
    "swapped": swapped, "all repeated": every(1, twice),
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT)
def test_events_that_are_repeated_or_lost_change_no_token(model, spoil, caplog):  # noqa: F811
    expected = write(ScriptedEngine(**SETTINGS), REQUESTS)
    with Hostile(model, SPOILT[spoil]) as server:
        engine = connect(model, server.url, in_flight=8, retries=20)  # which request loses its first event is chance
        assert write(engine, REQUESTS) == expected
        engine.close()
    said = [r.getMessage() for r in caplog.records if "repeats or loses" in r.getMessage()]
    assert len(said) == 1 and f"engine.urls={server.url}: " in said[0], said


@pytest.mark.parametrize("logprobs", [True, False])
def test_log_probabilities_stay_with_their_tokens(model, logprobs):  # noqa: F811
    requests = [Open((i, 1), 40, logprobs=logprobs) for i in range(6)]

    def read(engine):
        handles, found = [engine.open(request) for request in requests], {}
        while chunks := engine.poll():
            for chunk in chunks:
                ids, values = found.setdefault(chunk.handle, ([], []))
                ids += chunk.ids
                values += chunk.logprobs or []
        engine.close()
        return [found[handle] for handle in handles]

    with Hostile(model, every(4, twice)) as server:
        assert read(connect(model, server.url)) == read(ScriptedEngine(**SETTINGS))


@pytest.mark.parametrize("spoil", ["repeated", "lost", "a piece again"])
def test_a_server_that_counts_at_the_end_is_believed_then(model, spoil, tmp_path):  # noqa: F811
    """Nothing of a request that does not add up is used: what is stored is what the model writes."""
    sometimes = cycle([False, True])

    def at_times(number, events):
        return SPOILT[spoil](number, events) if next(sometimes) else events

    expected = write(ScriptedEngine(**SETTINGS), REQUESTS)
    with Hostile(model, at_times, counts="end") as server:
        engine = connect(model, server.url, in_flight=4, retries=50)
        assert write(engine, REQUESTS) == expected
        engine.close()
        assert all("continuous_usage_stats" in body["stream_options"] for body in server.streams)
    with Hostile(model, SPOILT["all repeated"], counts="end") as server:
        with pytest.raises(EngineError, match="3 tries in a row failed, the last with: .* than were asked for"):
            write(connect(model, server.url, retries=2), [Open((5, 6), 30)])


def test_long_requests_to_such_a_server_are_parted(model, monkeypatch):  # noqa: F811
    monkeypatch.setattr(server_client, "PART", 64)
    request = Open((5, 6), 150)
    with Loopback(model, SETTINGS, counts="end") as server:
        engine = connect(model, server.url)
        assert write(engine, [request]) == write(ScriptedEngine(**SETTINGS), [request])
        engine.close()
        assert [body["max_tokens"] for body in server.streams] == [64, 64, 22]


def test_a_server_that_counts_nothing_is_said_to(model, caplog):  # noqa: F811
    with Loopback(model, SETTINGS, counts="none") as server:
        assert write(connect(model, server.url), REQUESTS) == write(ScriptedEngine(**SETTINGS), REQUESTS)
    assert caplog.text.count("says nowhere how many tokens it has written") == 1


# --- another model ---

OTHER = SETTINGS | {"first_id": 3}  # writes other tokens


class Changing(Loopback):
    """After `after` streams something else is served at the address: `change(self)` says what."""

    def __init__(self, model_id: str, after: int, change):
        super().__init__(model_id, SETTINGS, root="/models/one")
        self.after, self.change, self._lock = after, change, threading.Lock()

    def complete(self, handler) -> None:
        super().complete(handler)
        with self._lock:
            if self.change and len(self.streams) >= self.after:
                self.change(self)
                self.settings = OTHER | {"context_length": self.settings["context_length"]}
                self.change = None


def root(server):
    server.root = "/models/two"


def name(server):
    server.model_id = "another"


def length(server):
    server.settings = server.settings | {"context_length": server.settings["context_length"] - 1}


CHANGES = {
    "root": (root, "root was /models/one and is /models/two"),
    "name": (name, "the model was served and is another"),
    "length": (length, "max_model_len was"),
}


def stored(place, engine, n):
    """Read n streams with a store, as a run does: what the store has of them afterwards."""
    prefixes, fingerprint = [(i, 1, 2) for i in range(n)], engine.fingerprint
    store = Store(place, fingerprint)
    scheduler = Scheduler(engine, store)

    def one(prefix):
        yield Read(prefix, Sampling(), limit=20)

    error = None
    try:
        scheduler.run(Job((i,), one(prefix), lambda _: None) for i, prefix in enumerate(prefixes))
    except EngineError as found:
        error = found
    store.close()
    engine.close()
    there = Store(place, fingerprint)
    return error, [there.load(Read(prefix, Sampling(), limit=20).key(fingerprint)) for prefix in prefixes]


@pytest.mark.parametrize("kind", CHANGES)
def test_a_server_that_changes_ends_the_run_and_nothing_of_the_other_model_is_stored(model, kind, tmp_path):  # noqa: F811
    change, said = CHANGES[kind]
    with Changing("served", 10, change) as server:
        error, found = stored(tmp_path, connect(model, server.url, model_id="served", in_flight=1), 30)
    assert error and str(error).startswith(f"engine.urls={server.url}: the server serves something else"), error
    assert said in str(error) and "the same command goes on once" in str(error) and "\n" not in str(error)
    reference = write(ScriptedEngine(**SETTINGS), [Open((i, 1, 2), 20) for i in range(30)])
    kept = [list(one.ids) for one in found if one]
    assert 8 <= len(kept) <= 11 and kept == reference[: len(kept)]


def test_a_server_started_anew_with_another_version_or_model(model, tmp_path):  # noqa: F811
    """Cut in the middle of a stream; the same address answers again, as something else."""
    for kind in ("version", "root"):
        server = Loopback("served", SETTINGS, root="/models/one")

        def cut(body, events=server.events, server=server, kind=kind):
            for place, event in enumerate(events(body)):
                if place == 8 and len(server.streams) == 5:
                    setattr(server, kind, {"version": "0.33.0", "root": "/models/two"}[kind])
                    server.settings = OTHER
                    raise OSError("killed")
                yield event

        server.events = cut
        with server:
            error, found = stored(tmp_path / kind, connect(model, server.url, model_id="served", in_flight=1), 20)
        assert error and f"{kind} was" in str(error), error
        reference = write(ScriptedEngine(**SETTINGS), [Open((i, 1, 2), 20) for i in range(20)])
        kept = [list(one.ids) for one in found if one]
        assert 4 <= len(kept) <= 5 and kept == [ids[: len(k)] for ids, k in zip(reference, kept, strict=False)]


def test_scoring_looks_too(model):  # noqa: F811
    with Loopback("served", SETTINGS, root="/models/one") as server:
        engine = connect(model, server.url, model_id="served")
        handle = engine.score(Scoring((5, 6, 7), (1, 2), "next"))
        while not any(chunk.handle == handle and chunk.done for chunk in engine.poll()):
            pass
        server.root = "/models/two"
        engine.score(Scoring((5, 6, 7), (1, 2), "next"))
        with pytest.raises(EngineError, match="root was /models/one and is /models/two"):
            while engine.poll():
                pass
        engine.close()


def test_it_is_asked_once_for_all_requests_that_begin_together(model):  # noqa: F811
    asked = []

    class Counting(Loopback):
        def models(self, handler):
            asked.append(1)
            super().models(handler)

    with Counting(model, SETTINGS) as server:
        engine = connect(model, server.url, in_flight=64)
        write(engine, [Open((i, 1), 5) for i in range(64)])
        engine.close()
    assert len(asked) <= 4  # the probe, and hardly more
