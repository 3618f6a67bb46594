"""Methods under way: a run is a generator that waits for its step, a group the members of an `All` or a `First`.

Each has an owner (`reading.Owner`) to which it delivers its value, or the error that ended it: another run, a group, or the
job's root. An error in a method ends what belongs to its job and nothing else.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .reading import Owner, Reader, Reads
from .shared import Streams
from .types import All, First, Ids, Read, Score, Trace, Until


@dataclass
class Job:
    """One method to run. `order` (question first) says what is admitted, and served, first.

    `on_error` gets the exception that ended the method; without it the exception ends the scheduler. `root` is the prompt that
    several runs on one store claim (claims.py); without it what the method reads is generated whoever else is at it.
    """

    order: tuple[int, ...]
    method: Generator
    on_done: Callable[[Any], None]
    on_error: Callable[[Exception], None] | None = None
    root: Ids | None = None


class Runs:
    """Methods under way over the same streams, and those of them that can go on."""

    def __init__(self, streams: Streams, models: Mapping[str, Streams]):
        self.streams, self.models = streams, models  # of the policy, and of every model by its role
        self._open: Counter[bytes] = Counter()  # jobs under way, by root
        self.ready: deque[tuple[Run, Any]] = deque()
        self.finished = 0
        self._roots: dict[int, Root] = {}

    def add(self, job: Job) -> None:
        claims = self.streams.claims
        root = Root(self, job, claims.key(job.root) if claims and job.root is not None else b"")
        self._roots[id(root)] = root
        self._open[root.root] += 1
        self.ready.append((root.run, None))

    def advance(self) -> None:
        while self.ready:
            run, value = self.ready.popleft()
            run.advance(value)

    def end(self, root: Root) -> None:
        self._forget(root)
        self.finished += 1

    def drop(self, unwanted: Callable[[Job], bool]) -> None:
        """Cancel the jobs that are not wanted any more."""
        for root in [root for root in self._roots.values() if unwanted(root.job)]:
            self._forget(root)
            root.run.cancel()

    def clear(self) -> None:
        self.ready.clear()
        self._roots.clear()
        self._open.clear()

    def _forget(self, root: Root) -> None:
        if self._roots.pop(id(root), None) is None:
            return
        self._open[root.root] -= 1
        if not self._open[root.root]:
            del self._open[root.root]
            if self.streams.claims and root.root:
                self.streams.claims.ended(root.root)


class Run:
    """A running generator. Its reads are collected for its trace and handed on to whoever it belongs to."""

    def __init__(
        self,
        runs: Runs,
        generator: Generator,
        owner: Owner,
        order: tuple[int, ...],
        root: bytes,
        index: int = 0,
        begun: bool = False,
    ):
        self.runs, self.generator, self.owner, self.order, self.index = runs, generator, owner, order, index
        self.root = root
        self.begun = begun  # past its first read: what it asks for now overtakes new questions
        self.reads: Reads = {}
        self.child: Any = None
        self.cancelled = False

    @property
    def priority(self) -> tuple[int, ...]:
        return (0 if self.begun else 1, *self.order)

    def advance(self, value: Any) -> None:
        if self.cancelled:
            return
        try:
            step = checked(self.generator.send(value))
        except StopIteration as stop:
            if isinstance(stop.value, Trace):
                stop.value.reads = {key: n for key, n in self.reads.items() if isinstance(key, bytes)}
                stop.value.scored = {key: n for key, n in self.reads.items() if not isinstance(key, bytes)}
            self.owner.deliver(self.index, stop.value, self.reads)
        except Exception as error:
            self.fail(0, error)
        else:
            self.child = start(self.runs, step, self, 0, self)

    def deliver(self, index: int, value: Any, reads: Reads) -> None:
        merge(self.reads, reads)
        self.begun, self.child = True, None
        self.runs.ready.append((self, value))

    def fail(self, index: int, error: Exception) -> None:
        self.child = None
        self.cancel()
        self.owner.fail(self.index, error)

    def cancel(self) -> None:
        self.cancelled = True
        cancel(self.runs, self.child)
        self.generator.close()


class Root:
    """The owner of a job's method."""

    def __init__(self, runs: Runs, job: Job, root: bytes):
        self.runs, self.job, self.root = runs, job, root
        self.run = Run(runs, job.method, self, job.order, root)

    def deliver(self, index: int, value: Any, reads: Reads) -> None:
        self.runs.end(self)
        self.job.on_done(value)

    def fail(self, index: int, error: Exception) -> None:
        self.runs.end(self)
        if self.job.on_error is None:
            raise error
        self.job.on_error(error)


@dataclass
class Group:
    """Members of an `All` or a `First` that run at the same time."""

    runs: Runs
    owner: Owner
    index: int
    run: Run  # whose priority and order the members inherit
    members: Iterator[Any]
    ahead: int
    accept: Callable[[list[Any]], bool] | None
    children: dict[int, Any] = field(default_factory=dict)
    results: dict[int, tuple[Any, Reads]] = field(default_factory=dict)
    accepted: int = 0  # leading results that `accept` has seen (always 0 for an All)
    started: int = 0
    exhausted: bool = False
    filling: bool = False
    finished: bool = False

    def fill(self) -> None:
        """Start members while there is room; those that resolve at once are looked at before the next one starts."""
        self.filling = True
        while not self.finished and not self.exhausted and self.started - self.accepted < self.ahead:
            try:
                member = next(self.members, _END)
                if member is not _END:
                    checked(member)
            except Exception as error:
                return self.fail(0, error)
            if member is _END:
                self.exhausted = True
            else:
                at = self.started
                self.started += 1
                child = start(self.runs, member, self, at, self.run)
                if child is not None and at not in self.results:
                    self.children[at] = child
            self._settle()
        self.filling = False

    def deliver(self, index: int, value: Any, reads: Reads) -> None:
        if self.finished:
            return
        self.results[index] = (value, reads)
        self.children.pop(index, None)
        if not self.filling:
            self._settle()
            self.fill()

    def fail(self, index: int, error: Exception) -> None:
        if not self.finished:
            self.cancel()
            self.owner.fail(self.index, error)

    def _settle(self) -> None:
        """Look at newly complete leading results; finish when one is accepted or nothing is left to come."""
        if self.finished:
            return
        while self.accept is not None and self.accepted in self.results:
            self.accepted += 1
            try:
                accepted = self.accept([self.results[i][0] for i in range(self.accepted)])
            except Exception as error:
                return self.fail(0, error)
            if accepted:
                return self._finish(self.accepted)
        if self.exhausted and len(self.results) == self.started:
            self._finish(self.started)

    def _finish(self, n: int) -> None:
        self.cancel()
        reads: Reads = {}
        for i in range(n):
            merge(reads, self.results[i][1])
        self.owner.deliver(self.index, [self.results[i][0] for i in range(n)], reads)

    def cancel(self) -> None:
        self.finished = True
        for child in self.children.values():
            cancel(self.runs, child)


_END = object()


def checked(step: Any) -> Any:
    """The step, if a method may yield it."""
    if isinstance(step, First) and step.ahead < 1:
        raise ValueError(f"First(ahead={step.ahead}): at least 1 member must run")
    if isinstance(step, Until) and step.every < 1:
        raise ValueError(f"Until(every={step.every}): must be a whole number of 1 or more")
    if not isinstance(step, Read | All | First | Until | Score | Generator):
        raise TypeError(f"a method may yield Read, Until, Score, All, First or another method, not {type(step).__name__}")
    return step


def start(runs: Runs, step: Any, owner: Owner, index: int, run: Run) -> Any:
    """Begin one step for `owner`; returns what can be cancelled, or None when it has already delivered."""
    if isinstance(step, Read):
        return runs.streams.subscribe(step, owner, index, run.priority, run.root)
    if isinstance(step, Score):
        return _scores(runs, step, owner, index, run)
    if isinstance(step, Until):
        return runs.streams.subscribe(step.read, owner, index, run.priority, run.root, step)
    if isinstance(step, Generator):
        child = Run(runs, step, owner, run.order, run.root, index, run.begun)
        runs.ready.append((child, None))
        return child
    if isinstance(step, First):
        group = Group(runs, owner, index, run, iter(step.members), step.ahead, step.accept)
    else:
        group = Group(runs, owner, index, run, iter(step.members), 1 << 60, None)
    group.fill()
    return None if group.finished else group


def _scores(runs: Runs, score: Score, owner: Owner, index: int, run: Run) -> Any:
    if (model := runs.models.get(score.model)) is None:
        owner.fail(index, ValueError(f'Score.model="{score.model}": there is no model in that role; choose scorer=...'))
        return None
    return model.scores.ask(score, owner, index, run.priority, run.root)


def cancel(runs: Runs, child: Any) -> None:
    if isinstance(child, Reader):
        if not child.done:
            runs.streams.unsubscribe(child)
    elif child is not None:
        child.cancel()


def merge(into: Reads, reads: Reads) -> None:
    for key, end in reads.items():
        if end > into.get(key, -1):
            into[key] = end
