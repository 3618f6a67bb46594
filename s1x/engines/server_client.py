"""The side of the server engine that lives on an event loop: which request goes where and when, and what to do if it fails."""

from __future__ import annotations

import asyncio
import heapq
import logging
import os
import random
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import count
from queue import SimpleQueue
from typing import Any

import aiohttp

from ..streams.engine import Chunk, EngineError
from .completions import Broken, Endpoint, Refused, Unreachable, body, probe
from .parts import Chain, pack
from .routing import Router

log = logging.getLogger(__name__)

_READ_BYTES = 1 << 22  # a line of the answer repeats the prompt's ids
_SLOWEST_S = 60.0  # longest pause between two tries
_NOBODY = 2  # further tries at the start, where nobody answers: probably the address is wrong


class Client:
    """The side that lives on the event loop's thread. Chunks and errors leave through `arrived`."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.arrived: SimpleQueue[Any] = SimpleQueue()
        self.router = Router()
        self._waiting: list[tuple] = []  # heap of (priority, handle, chain)
        self._tasks: dict[int, asyncio.Task] = {}
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="s1x-server", daemon=True).start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        except BaseException:
            self.close()
            raise

    # --- called from the engine's thread ---

    def submit(self, chains: list[Chain]) -> None:
        self._loop.call_soon_threadsafe(self._admit, chains)

    def cancel(self, handle: int) -> None:
        self._loop.call_soon_threadsafe(self._cancel, handle)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)

    # --- on the loop ---

    async def _start(self) -> None:
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            read_bufsize=_READ_BYTES,
        )
        variable = self.engine._key_variable
        key = os.environ.get(variable) if variable else None
        self.endpoints = [Endpoint(self.session, url, key, **self.engine._patience) for url in self.engine._urls]
        found = await asyncio.gather(*map(self._ask, self.endpoints))
        self._priorities = all(found)

    async def _ask(self, endpoint: Endpoint) -> bool:
        """Probe a server, patiently; whether it takes priorities."""

        async def patiently(question: Callable[[], Awaitable[Any]]) -> Any:
            for failures in count(1):
                try:
                    return await question()
                except Broken as error:
                    retries = self.engine._retries
                    if failures > (min(_NOBODY, retries) if isinstance(error, Unreachable) else retries):
                        raise EngineError(
                            f"engine.urls={endpoint.url}: the server cannot be used ({error}, {failures} tries); is it up?"
                        ) from None
                    await asyncio.sleep(self._seconds(failures, error.after))

        return await probe(endpoint, self.engine.model_id, self.engine.model, self.engine.context_length, patiently)

    async def _stop(self) -> None:
        self._waiting.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if hasattr(self, "session"):
            await self.session.close()

    def _admit(self, chains: list[Chain]) -> None:
        for chain in chains:
            heapq.heappush(self._waiting, (chain.request.priority, chain.handle, chain))
        self._fill()

    def _fill(self) -> None:
        """Start waiting streams, by priority, while requests may be added: answers overtake thinking that waits here."""
        while self._waiting and len(self._tasks) < self.engine.capacity:
            _, handle, chain = heapq.heappop(self._waiting)
            task = self._tasks[handle] = self._loop.create_task(self._serve(chain))
            task.add_done_callback(lambda task, handle=handle: self._ended(handle, task))

    def _ended(self, handle: int, task: asyncio.Task) -> None:
        del self._tasks[handle]
        if not task.cancelled() and task.exception() is not None:
            self.arrived.put(task.exception())
        else:
            self._fill()

    def _cancel(self, handle: int) -> None:
        if handle in self._tasks:
            self._tasks[handle].cancel()
        else:
            self._waiting = [entry for entry in self._waiting if entry[1] != handle]
            heapq.heapify(self._waiting)

    async def _serve(self, chain: Chain) -> None:
        """All parts of one stream, over whatever fails. Raises EngineError when nothing helps."""
        if chain.done:
            self.arrived.put(Chunk(chain.handle, [], [] if chain.request.logprobs else None, True))
        failures = 0
        while not chain.done:
            endpoint = await self._choose(chain)
            before, redrawing = len(chain.ids), chain.redraw
            try:
                await self._complete(chain, endpoint)
                if len(chain.ids) == before and (redrawing or not chain.redraw):
                    raise Broken("a stream without tokens")
                failures = 0
            except Refused as error:
                raise EngineError(f"engine.urls={endpoint.url}: the server refused a request ({error}).") from None
            except Broken as error:
                if chain.done:
                    return  # what the server had to say after the last token is lost
                failures = 1 if len(chain.ids) > before else failures + 1
                if failures > self.engine._retries:
                    raise EngineError(
                        f"engine.urls={endpoint.url}: {failures} tries in a row failed, the last with: {error}; "
                        "what was generated is kept, and the same command goes on from there."
                    ) from None
                log.debug("%s: %s; stream %d goes on from token %d", endpoint.url, error, chain.handle, len(chain.ids))
                await self._pause(endpoint, failures, error.after)

    async def _complete(self, chain: Chain, endpoint: Endpoint) -> None:
        """One request: everything it yields goes out at once."""
        part, counters, first = chain.part(), self.engine.counters, True
        request = chain.request
        asked = body(
            self.engine.model_id,
            part,
            request.sampling,
            logprobs=request.logprobs,
            priority=self._priority(chain),
            interval=1 if request.watched else self.engine._interval,
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
                self.arrived.put(Chunk(chain.handle, ids, logprobs, chain.done))
                if chain.redraw:  # after a stop, the server still says how much of the prompt was cached
                    return

    def _priority(self, chain: Chain) -> int | None:
        return pack(chain.request.priority) if self._priorities else None

    async def _choose(self, chain: Chain) -> Endpoint:
        """The endpoint that holds the stream's prefix, or the least busy one; waits while all are out of order."""
        while True:
            now = self._loop.time()
            load = [float("inf") if now < e.down_until else e.open for e in self.endpoints]
            if min(load) < float("inf"):
                return self.endpoints[self.router.route(chain.request, load)]
            await asyncio.sleep(min(e.down_until for e in self.endpoints) - now)

    async def _pause(self, endpoint: Endpoint, failures: int, after: float) -> None:
        """Back off. What fails again and again goes elsewhere, if there is another server, and so do new streams."""
        seconds = self._seconds(failures, after)
        if len(self.endpoints) > 1 and failures > 1:
            endpoint.down_until = max(endpoint.down_until, self._loop.time() + seconds)
        else:
            await asyncio.sleep(seconds)

    def _seconds(self, failures: int, after: float) -> float:
        return min(_SLOWEST_S, max(after, self.engine._pause_s * 2 ** (failures - 1) * random.uniform(0.7, 1.3)))
