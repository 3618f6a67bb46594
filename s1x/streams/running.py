"""Methods under way: a run is a generator that waits for its step, a group the members of an `All` or a `First`.

Each has an owner to which it delivers (index, value, reads): another run, a group, or the job's root.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .reading import Reader
from .types import All, First, Read, Trace

if TYPE_CHECKING:
    from .scheduler import Job, Scheduler


class Run:
    """A running generator. Its reads are collected for its trace and handed on to whoever it belongs to."""

    def __init__(
        self, scheduler: Scheduler, generator: Generator, owner, order: tuple[int, ...], index: int = 0, begun: bool = False
    ):
        self.scheduler, self.generator, self.owner, self.order, self.index = scheduler, generator, owner, order, index
        self.begun = begun  # past its first read: what it asks for now overtakes new questions
        self.reads: dict[bytes, int] = {}
        self.child, self.cancelled = None, False

    @property
    def priority(self) -> tuple[int, ...]:
        return (0 if self.begun else 1, *self.order)

    def advance(self, value: Any) -> None:
        if self.cancelled:
            return
        try:
            step = self.generator.send(value)
        except StopIteration as stop:
            if isinstance(stop.value, Trace):
                stop.value.reads = dict(self.reads)
            self.owner.deliver(self.index, stop.value, self.reads)
            return
        self.child = start(self.scheduler, step, self, 0, self)

    def deliver(self, index: int, value: Any, reads: dict[bytes, int]) -> None:
        merge(self.reads, reads)
        self.begun, self.child = True, None
        self.scheduler.ready.append((self, value))

    def cancel(self) -> None:
        self.cancelled = True
        cancel(self.scheduler, self.child)
        self.generator.close()


class Root:
    """The owner of a job's method."""

    def __init__(self, scheduler: Scheduler, job: Job):
        self.scheduler, self.job = scheduler, job

    def deliver(self, index: int, value: Any, reads: dict[bytes, int]) -> None:
        self.scheduler.progress.finished += 1
        self.job.on_done(value)


@dataclass
class Group:
    """Members of an `All` or a `First` that run at the same time."""

    scheduler: Scheduler
    owner: Any
    index: int
    run: Run  # whose priority and order the members inherit
    members: Iterator[Any]
    ahead: int
    accept: Callable[[list[Any]], bool] | None
    children: dict[int, Any] = field(default_factory=dict)
    results: dict[int, tuple[Any, dict[bytes, int]]] = field(default_factory=dict)
    accepted: int = 0  # leading results that `accept` has seen (always 0 for an All)
    started: int = 0
    exhausted: bool = False
    filling: bool = False
    finished: bool = False

    def fill(self) -> None:
        """Start members while there is room; those that resolve at once are looked at before the next one starts."""
        self.filling = True
        while not self.finished and not self.exhausted and self.started - self.accepted < self.ahead:
            member = next(self.members, _END)
            if member is _END:
                self.exhausted = True
            else:
                at = self.started
                self.started += 1
                child = start(self.scheduler, member, self, at, self.run)
                if child is not None and at not in self.results:
                    self.children[at] = child
            self._settle()
        self.filling = False

    def deliver(self, index: int, value: Any, reads: dict[bytes, int]) -> None:
        if self.finished:
            return
        self.results[index] = (value, reads)
        self.children.pop(index, None)
        if not self.filling:
            self._settle()
            self.fill()

    def _settle(self) -> None:
        """Look at newly complete leading results; finish when one is accepted or nothing is left to come."""
        if self.finished:
            return
        while self.accept is not None and self.accepted in self.results:
            self.accepted += 1
            if self.accept([self.results[i][0] for i in range(self.accepted)]):
                return self._finish(self.accepted)
        if self.exhausted and len(self.results) == self.started:
            self._finish(self.started)

    def _finish(self, n: int) -> None:
        self.finished = True
        for child in self.children.values():
            cancel(self.scheduler, child)
        reads: dict[bytes, int] = {}
        for i in range(n):
            merge(reads, self.results[i][1])
        self.owner.deliver(self.index, [self.results[i][0] for i in range(n)], reads)

    def cancel(self) -> None:
        self.finished = True
        for child in self.children.values():
            cancel(self.scheduler, child)


_END = object()


def start(scheduler: Scheduler, step: Any, owner, index: int, run: Run):
    """Begin one step for `owner`; returns what can be cancelled, or None when it has already delivered."""
    if isinstance(step, Read):
        return scheduler.subscribe(step, owner, index, run.priority)
    if isinstance(step, All):
        group = Group(scheduler, owner, index, run, iter(step.members), 1 << 60, None)
    elif isinstance(step, First):
        if step.ahead < 1:
            raise ValueError(f"First(ahead={step.ahead}): at least 1 member must run")
        group = Group(scheduler, owner, index, run, iter(step.members), step.ahead, step.accept)
    elif isinstance(step, Generator):
        child = Run(scheduler, step, owner, run.order, index, run.begun)
        scheduler.ready.append((child, None))
        return child
    else:
        raise TypeError(f"a method may yield Read, All, First or another method, not {type(step).__name__}")
    group.fill()
    return None if group.finished else group


def cancel(scheduler: Scheduler, child) -> None:
    if isinstance(child, Reader):
        if not child.done:
            scheduler.unsubscribe(child)
    elif child is not None:
        child.cancel()


def merge(into: dict[bytes, int], reads: dict[bytes, int]) -> None:
    for key, end in reads.items():
        if end > into.get(key, -1):
            into[key] = end
