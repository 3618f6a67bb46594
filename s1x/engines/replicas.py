"""Data parallel without a server: one engine process per device group, behind one engine.

A stream, its answers and its "Wait" rounds go to the process that holds their prefix (routing.py). A process that dies is
reported and started again once; its streams go on from their last received token.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as ready

from ..streams.engine import Chunk, Counters, Engine, EngineError, Open, Rows, Scoring
from .common import alive
from .parts import rest
from .routing import Router

log = logging.getLogger(__name__)

_END_S = 20.0  # how long a process may take to free its device


@dataclass
class _Stream:
    """An open stream or scoring, where it runs, and what has arrived."""

    request: Open | Scoring
    place: int
    ids: list[int] = field(default_factory=list)
    rows: int = 0

    def rest(self) -> Open | Scoring:
        """What is left of the request."""
        if isinstance(self.request, Scoring):
            return replace(self.request, at=self.request.at[self.rows :])
        return rest(self.request, self.ids)


class Replicas:
    """Engine protocol (streams/engine.py) over `n` processes, each with an engine of its own.

    make: builds one of the engines; must be picklable (a partial of a class). n: how many, at least 2 to be of use.
    devices: for each process, what CUDA_VISIBLE_DEVICES says there (None: as here).
    """

    def __init__(self, make: Callable[[], Engine], n: int, devices: Sequence[str] | None = None) -> None:
        if n < 1:
            raise ValueError(f"engine.replicas={n} is too small; it must be at least 1.")
        model = make()  # no weights are loaded here: an engine loads at its first poll
        self.fingerprint, self.context_length = model.fingerprint, model.context_length
        self.capacity, self.scores, self.confidences = n * model.capacity, model.scores, model.confidences
        self._make, self._devices = make, list(devices) if devices else [None] * n
        self._processes: list[_Process | None] = [None] * n
        self._restarts = [0] * n
        self._lost = Counters()  # of processes that are gone
        self._router = Router()
        self._handles = count()
        self._streams: dict[int, _Stream] = {}
        atexit.register(self.close)  # else the end of this process would wait for its children, and they for it

    @property
    def counters(self) -> Counters:
        """The sum over all processes, as far as they have reported."""
        total = Counters()
        for counters in (self._lost, *(p.counters for p in self._processes if p)):
            _add(total, counters)
        return total

    def open(self, request: Open) -> int:
        """Send a stream to the process that holds its prefix, or to the least busy one; returns its handle."""
        return self._begin("open", request)

    def score(self, request: Scoring) -> int:
        """Send a scoring to the least busy process; returns its handle."""
        return self._begin("score", request)

    def _begin(self, what: str, request: Open | Scoring) -> int:
        handle = next(self._handles)
        load = [0.0] * len(self._processes)
        for stream in self._streams.values():
            load[stream.place] += 1
        stream = self._streams[handle] = _Stream(request, self._router.route(request, load))
        self._send(stream.place, (what, handle, request))
        return handle

    def poll(self, wait: float = 1.0) -> list[Chunk | Rows]:
        """What the processes have sent since the last poll; waits for something, a second at most, so that the caller can save
        and show progress."""
        if not self._streams:
            return []
        chunks = []
        places = {p.pipe: place for place, p in enumerate(self._processes) if p}
        for pipe in ready(list(places), timeout=wait):
            chunks += self._receive(places[pipe])
        return chunks or alive((handle, stream.request) for handle, stream in self._streams.items())

    def cancel(self, handle: int) -> None:
        """Forget a stream. Unknown handles are ignored."""
        stream = self._streams.pop(handle, None)
        if stream is not None:
            self._send(stream.place, ("cancel", handle))

    def close(self) -> None:
        """End all processes; their devices are free then. A later `open` would start them anew."""
        self._streams.clear()
        for place in range(len(self._processes)):
            self._send(place, ("close",))
        for process in filter(None, self._processes):
            process.join()
            _add(self._lost, process.counters)
        self._processes = [None] * len(self._processes)
        atexit.unregister(self.close)

    def pids(self) -> dict[int, int | None]:
        """The process ids of what runs, by place."""
        return {place: process.pid for place, process in enumerate(self._processes) if process}

    # --- inside ---

    def _send(self, place: int, message: tuple) -> None:
        """To a process, which is started if need be; one that is dead is noticed by the next poll."""
        if self._processes[place] is None:
            if message[0] not in ("open", "score"):
                return
            self._processes[place] = _Process(self._make, self._devices[place])
        try:
            self._processes[place].pipe.send(message)
        except OSError:
            pass

    def _receive(self, place: int) -> list[Chunk | Rows]:
        """Everything that has arrived from one process."""
        process, chunks = self._processes[place], []
        try:
            while process.pipe.poll():
                message = process.pipe.recv()
                if isinstance(message, Exception):
                    raise message
                new, process.counters = message
                for chunk in new:
                    stream = self._streams.get(chunk.handle)
                    if stream is None or stream.place != place:
                        continue  # cancelled meanwhile
                    if isinstance(chunk, Rows):
                        stream.rows += len(chunk.rows)
                    else:
                        stream.ids += chunk.ids
                    chunks.append(chunk)
                    if chunk.done:
                        del self._streams[chunk.handle]
        except (EOFError, OSError):
            self._restart(place)
        return chunks

    def _restart(self, place: int) -> None:
        """A process is gone: start another in its place, once, and let its streams go on."""
        process = self._processes[place]
        code = process.join()
        _add(self._lost, process.counters)
        self._processes[place] = None
        if self._restarts[place]:
            raise EngineError(
                f"engine.replicas: process {place} ended twice (exit status {code}); what was generated is kept, and the same "
                "command goes on from there."
            )
        self._restarts[place] += 1
        mine = {handle: stream for handle, stream in self._streams.items() if stream.place == place}
        log.warning("engine.replicas: process %d ended (exit status %s); it is started again, and its %d streams go on.",
                    place, code, len(mine))  # fmt: skip
        for handle, stream in mine.items():
            stream.request, stream.ids, stream.rows = stream.rest(), [], 0
            self._send(place, ("score" if isinstance(stream.request, Scoring) else "open", handle, stream.request))


class _Process:
    """One engine in a child process, and the pipe to it."""

    def __init__(self, make: Callable[[], Engine], device: str | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.counters = Counters()
        self._process = context.Process(target=_serve, args=(make, device, theirs), name="s1x-replica")
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def join(self) -> int | None:
        """Read until the other end closes, and wait for the process; force its end if need be. Returns the exit status."""
        until = time.monotonic() + _END_S
        try:
            while self.pipe.poll(max(0.0, until - time.monotonic())):
                message = self.pipe.recv()
                if not isinstance(message, Exception):
                    self.counters = message[1]
        except (EOFError, OSError):
            pass
        self._process.join(max(1.0, until - time.monotonic()))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.pipe.close()
        return self._process.exitcode


def _serve(make: Callable[[], Engine], device: str | None, pipe: Connection) -> None:
    """A child process: obey, poll, report; end when told to or when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    engine = make()
    theirs: dict[int, int] = {}  # our handle -> the parent's
    ours: dict[int, int] = {}
    try:
        while True:
            while not theirs or pipe.poll():
                what, *arguments = pipe.recv()
                if what == "close":
                    return
                if what in ("open", "score"):
                    handle, request = arguments
                    ours[handle] = engine.open(request) if what == "open" else engine.score(request)
                    theirs[ours[handle]] = handle
                elif arguments[0] in ours:
                    mine = ours.pop(arguments[0])
                    del theirs[mine]
                    engine.cancel(mine)
            chunks = [chunk._replace(handle=theirs[chunk.handle]) for chunk in engine.poll() if chunk.handle in theirs]
            for chunk in chunks:
                if chunk.done:
                    del theirs[ours.pop(chunk.handle)]
            pipe.send((chunks, engine.counters))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone
    except Exception as error:
        pipe.send(EngineError(f"{type(error).__name__}: {error}"))
    finally:
        engine.close()


def _add(total: Counters, more: Counters) -> None:
    for counter in fields(Counters):
        if counter.name != "extra":
            setattr(total, counter.name, getattr(total, counter.name) + getattr(more, counter.name))


def device_groups(visible: Sequence[str], replicas: int, size: int) -> list[str] | None:
    """Which devices each replica sees: groups of `size` out of the `visible` ones (None where there are none: CPUs)."""
    if not visible:
        return None
    if replicas * size > len(visible):
        raise ValueError(
            f"engine.replicas={replicas} with {size} device{'s' * (size > 1)} each needs {replicas * size} devices; "
            f"there are {len(visible)}."
        )
    return [",".join(visible[i * size : (i + 1) * size]) for i in range(replicas)]
