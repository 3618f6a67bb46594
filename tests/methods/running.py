"""Two ways to run methods on the hash-function model: the naive driver, and the scheduler (all of them at once, shared)."""

from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Model, Scheduler

from ..streams import driver


def naive(method, engine, chat):
    return driver.run(method, engine.next_token, engine.context_length, chat.decode)


def scheduled(methods, engine, chat, scorer=None):
    """The traces of all methods, in order."""
    traces = {}
    others = {"scorer": Model(scorer, MemoryStore())} if scorer else None
    scheduler = Scheduler(engine, MemoryStore(), decode=chat.decode, others=others)
    scheduler.run(Job((0, i), m, lambda t, i=i: traces.update({i: t})) for i, m in enumerate(methods))
    return [traces[i] for i in range(len(traces))]
