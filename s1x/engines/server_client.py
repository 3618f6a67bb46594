"""The side of the server engine that lives on an event loop: which request goes where and when, and what to do if it fails."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from queue import SimpleQueue
from typing import Any

from ..streams.engine import Chunk, Counters, EngineError, Rows
from ..streams.types import CONFIDENCES
from .common import no_room
from .completions import Broken, Endpoint, Refused, Served, Unreachable, body, plain, sessions
from .looped import Looped, key_of
from .parts import Chain, pack
from .probing import Abilities, probe
from .routing import Router
from .server import Absent, ServerSettings
from .server_scoring import Asked, Part
from .tally import PART

log = logging.getLogger(__name__)

_SLOWEST_S = 60.0  # longest pause between two tries
_NOBODY = 2  # further tries at the start, where nobody answers: probably the address is wrong
_SAID = {
    "next": "log-probabilities of tokens that are there",
    "labels": "log-probabilities of labels",
    "head": "outputs of a value head",
    **{name: f"{what} of tokens that are there" for name, what in CONFIDENCES.items()},
}


class Client(Looped):
    """The side that lives on the event loop's thread. Chunks, rows and errors leave through `arrived`; what is done is counted
    in `counters`.

    scores, confidences: what all servers can say (streams/engine.py). writes: whether all of them write.
    """

    def __init__(self, settings: ServerSettings, counters: Counters) -> None:
        self.settings, self.counters = settings, counters
        self.arrived: SimpleQueue[Chunk | Rows | BaseException] = SimpleQueue()
        self.router = Router()
        self._waiting: list[tuple] = []  # heap of (priority, handle, place among the handle's requests, what it is)
        self._tasks: dict[tuple[int, int], asyncio.Task] = {}  # by handle and place
        super().__init__("s1x-server")

    # --- called from the engine's thread ---

    def submit(self, work: list[Chain | Asked]) -> None:
        self._loop.call_soon_threadsafe(self._admit, work)

    def cancel(self, handle: int) -> None:
        self._loop.call_soon_threadsafe(self._cancel, handle)

    # --- on the loop ---

    async def _start(self) -> None:
        self._session = sessions()
        s = self.settings
        key = key_of(s.api_key_env)
        self.endpoints = [
            Endpoint(self._session, url, key, first_s=s.first_token_s, between_s=s.between_tokens_s) for url in s.urls
        ]
        found = await asyncio.gather(*map(self._ask, self.endpoints))
        self._priorities = all(server.priorities for server in found)
        self.scores = frozenset.intersection(*(server.scores for server in found))
        self.confidences = frozenset({"top20"} if all(server.top20 for server in found) else ())
        self.writes, self._labels = all(server.writes for server in found), min(server.labels for server in found)
        self._unknown = frozenset[str]().union(*(server.unknown for server in found))
        for endpoint, server in zip(self.endpoints, found, strict=True):
            endpoint.counts = server.counts
        self._watches = {
            endpoint: Watch(endpoint, s.model_id, server.served) for endpoint, server in zip(self.endpoints, found, strict=True)
        }

    async def _ask(self, endpoint: Endpoint) -> Abilities:
        """Probe a server, patiently."""

        async def patiently(question: Callable[[], Awaitable[Any]]) -> Any:
            for failures in count(1):
                try:
                    return await question()
                except Broken as error:
                    retries = self.settings.retries
                    if failures > (min(_NOBODY, retries) if isinstance(error, Unreachable) else retries):
                        kind = Absent if isinstance(error, Unreachable) else EngineError
                        raise kind(
                            f"engine.urls={endpoint.url}: the server cannot be used ({error}, {failures} tries); is it up?"
                        ) from None
                    await asyncio.sleep(self._seconds(failures, error.after))

        s = self.settings
        return await probe(endpoint, s.model_id, s.model, s.context_length, patiently)

    async def _stop(self) -> None:
        self._waiting.clear()  # what ends would start the next
        await super()._stop()

    def _admit(self, work: list[Chain | Asked]) -> None:
        fields = plain(self.settings.model_id, self._unknown)
        for new in work:
            if (error := self._impossible(new)) is not None:
                self.arrived.put(error)
                return
            for place, one in enumerate([new] if isinstance(new, Chain) else new.parts(fields, self._labels)):
                heapq.heappush(self._waiting, (new.request.priority, new.handle, place, one))
        self._fill()

    def _impossible(self, work: Chain | Asked) -> EngineError | None:
        """What is said of work that not all of the servers can do."""
        if isinstance(work, Chain):
            able, what = self.writes, "tokens are to be written, and there is a server that reads out a value head"
        else:
            of = work.request.of
            kind = of if isinstance(of, str) else "labels"
            able, what = kind in self.scores, f"{_SAID[kind]} are needed, which not every server says"
        return None if able else EngineError(f"engine.urls={', '.join(self.settings.urls)}: {what}; use another server.")

    def _fill(self) -> None:
        """Start waiting streams, by priority, while requests may be added: answers overtake thinking that waits here."""
        while self._waiting and len(self._tasks) < self.settings.in_flight:
            _, handle, place, work = heapq.heappop(self._waiting)
            serve = self._read(work) if isinstance(work, Part) else self._serve(work)
            task = self._tasks[handle, place] = self._loop.create_task(serve)
            task.add_done_callback(lambda task, mine=(handle, place): self._ended(mine, task))

    def _ended(self, mine: tuple[int, int], task: asyncio.Task) -> None:
        del self._tasks[mine]
        if not task.cancelled() and task.exception() is not None:
            self.arrived.put(task.exception())
        else:
            self._fill()

    def _cancel(self, handle: int) -> None:
        for task in [task for (mine, _), task in self._tasks.items() if mine == handle]:
            task.cancel()
        self._waiting = [entry for entry in self._waiting if entry[1] != handle]
        heapq.heapify(self._waiting)

    async def _serve(self, chain: Chain) -> None:
        """All parts of one stream, over whatever fails. Raises EngineError when nothing helps."""
        if chain.done:
            self.arrived.put(no_room(chain.request, chain.handle))
        failures = 0
        while not chain.done:
            endpoint = await self._choose(chain)
            before, redrawing = len(chain.ids), chain.redraw
            try:
                await self._watches[endpoint].check()
                await self._complete(chain, endpoint)
                if len(chain.ids) == before and (redrawing or not chain.redraw):
                    raise Broken("a stream without tokens")
                failures = 0
            except Refused as error:
                raise _refused(endpoint, error) from None
            except Broken as error:
                if chain.done:
                    return  # what the server had to say after the last token is lost
                failures = 1 if len(chain.ids) > before else failures + 1
                self._watches[endpoint].shaken = True
                log.debug("%s: %s; stream %d goes on from token %d", endpoint.url, error, chain.handle, len(chain.ids))
                await self._again(endpoint, failures, error)

    async def _read(self, part: Part) -> None:
        """A request of a scoring, over whatever fails. Raises EngineError when nothing helps."""
        priority = self._priority(part)
        request = part.body if priority is None else part.body | {"priority": priority}
        for failures in count(1):
            endpoint = await self._choose(part)
            try:
                await self._watches[endpoint].check()
                got = await endpoint.whole(part.path, request, part.read)
            except Refused as error:
                raise _refused(endpoint, error) from None
            except Broken as error:
                self._watches[endpoint].shaken = True
                await self._again(endpoint, failures, error)
            else:
                self.counters.scored += part.tokens
                self.counters.scored_cached += got.cached or 0
                if rows := part.scoring.take(part.place, got.value):
                    self.arrived.put(rows)
                return

    async def _complete(self, chain: Chain, endpoint: Endpoint) -> None:
        """One request: everything it yields goes out at once."""
        part, counters, first = chain.part(self.settings.positional_seeds), self.counters, True
        request = chain.request
        if endpoint.counts == "end":
            part = replace(part, limit=min(part.limit, PART))
        asked = body(
            self.settings.model_id,
            part,
            request.sampling,
            logprobs=request.logprobs,
            priority=self._priority(chain),
            interval=1 if request.watched else self.settings.stream_interval,
            top="top20" in request.confidences and "top20" in self.confidences,
            unknown=self._unknown,
        )
        async with aclosing(endpoint.complete(asked)) as events:
            async for event in events:
                if first and event.ids:
                    counters.prefill += len(part.prefix)
                    first = False
                counters.prefill_cached += event.cached or 0
                if not event.ids:
                    continue
                ids = chain.take(event.ids)
                counters.decoded += len(ids)
                logprobs = None if event.logprobs is None else event.logprobs[: len(ids)]
                sure = None if event.top20 is None else {"top20": event.top20[: len(ids)]}
                self.arrived.put(Chunk(chain.handle, ids, logprobs, chain.done, sure))
                if chain.redraw or chain.done and not event.finished:  # more than was asked for is of no use
                    return

    def _priority(self, work: Chain | Part) -> int | None:
        return pack(work.request.priority) if self._priorities else None

    async def _choose(self, work: Chain | Part) -> Endpoint:
        """The endpoint that holds the stream's prefix, or the least busy one; waits while all are out of order."""
        while True:
            now = self._loop.time()
            load = [float("inf") if now < e.down_until else e.open for e in self.endpoints]
            if min(load) < float("inf"):
                return self.endpoints[self._place(work, load)]
            await asyncio.sleep(min(e.down_until for e in self.endpoints) - now)

    def _place(self, work: Chain | Part, load: list[float]) -> int:
        """All requests of a scoring go to one server, while it is in order."""
        if isinstance(work, Chain):
            return self.router.route(work.request, load)
        if work.scoring.server is None or load[work.scoring.server] == float("inf"):
            work.scoring.server = self.router.route(work.request, load)
        return work.scoring.server

    async def _again(self, endpoint: Endpoint, failures: int, error: Broken) -> None:
        """Back off. What fails again and again goes elsewhere, if there is another server, and so do new streams.

        Raises EngineError when it has failed too often.
        """
        if failures > self.settings.retries:
            raise EngineError(
                f"engine.urls={endpoint.url}: {failures} tries in a row failed, the last with: {error}; "
                "what was generated is kept, and the same command goes on from there."
            ) from None
        seconds = self._seconds(failures, error.after)
        if len(self.endpoints) > 1 and failures > 1:
            endpoint.down_until = max(endpoint.down_until, self._loop.time() + seconds)
        else:
            await asyncio.sleep(seconds)

    def _seconds(self, failures: int, after: float) -> float:
        return min(_SLOWEST_S, max(after, self.settings.pause_s * 2 ** (failures - 1) * random.uniform(0.7, 1.3)))


class Watch:
    """Whether a server still serves what it did when this run began: asked before each request, once for all that begin at the
    same time. `shaken`: a request has failed since, so that it may have been started anew, with another version, too."""

    def __init__(self, endpoint: Endpoint, model_id: str, before: Served) -> None:
        self.endpoint, self.model_id, self.before, self.shaken = endpoint, model_id, before, False
        self._lock, self._asked, self._time = asyncio.Lock(), -1.0, asyncio.get_running_loop().time

    async def check(self) -> None:
        """Raises EngineError where it serves something else; Broken or Refused."""
        now = self._time()
        self.endpoint.open += 1  # a request is on its way to it
        try:
            async with self._lock:
                if self._asked <= now:  # else another request asked while this one waited
                    await self._ask()
        finally:
            self.endpoint.open -= 1

    async def _ask(self) -> None:
        asked, shaken, self.shaken = self._time(), self.shaken, False
        try:
            found = await self.endpoint.served(self.model_id)
            if isinstance(found, list):
                raise self._changed("the model", self.model_id, ", ".join(found) or "nothing")
            version = await self.endpoint.version() if shaken else self.before.version
        except Broken:
            self.shaken = True
            raise
        for what, old, new in zip(Served._fields, self.before, found._replace(version=version), strict=True):
            if old != new:
                raise self._changed(what, old, new)
        self._asked = asked

    def _changed(self, what: str, old: Any, new: Any) -> EngineError:
        return EngineError(
            f"engine.urls={self.endpoint.url}: the server serves something else than when this run began ({what} was {old} and "
            f"is {new}). What came before is kept, and nothing of the new; the same command goes on once it serves {old} again."
        )


def _refused(endpoint: Endpoint, error: Refused) -> EngineError:
    return EngineError(f"engine.urls={endpoint.url}: the server refused a request ({error}).")
