"""A condition on the tokens so far ends a read at the same position however the tokens come; and log-probabilities are there
for whoever asks, whatever was stored."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.confidence_stop import confidence_stop
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.store import Store
from s1x.streams.types import GREEDY, Read, Sampling, Stops, Until

from .conftest import make_chat, make_engine

CHAT = make_chat()
WARM = Sampling(1.0, noise=77)


def run(engine, store, *methods):
    traces = {}
    scheduler = Scheduler(engine, store, decode=CHAT.decode)
    scheduler.run(Job((0, i), m, lambda t, i=i: traces.update({i: t})) for i, m in enumerate(methods))
    return [traces[i] for i in range(len(methods))], scheduler


def ask(sampling=GREEDY, question="x"):
    return Ask(CHAT.prompt(question), CHAT, sampling, max_answer_tokens=9)


@pytest.mark.parametrize("sampling", [GREEDY, WARM])
@pytest.mark.parametrize("threshold", [-1.5, -0.7, -0.5])
def test_the_same_end_however_tokens_come(tmp_path, sampling, threshold):
    method = partial(confidence_stop, threshold=threshold, window=6)
    found = []
    for seed in range(12):
        traces = []
        for per_poll in (1, 3, 8):
            (trace,), _ = run(make_engine(seed, start=80, tokens_per_poll=per_poll), MemoryStore(), method(ask(sampling)))
            traces.append(trace)
        engine = make_engine(seed, start=80, tokens_per_poll=8)
        with Store(tmp_path / f"{seed}", engine.fingerprint) as store:  # stored without log-probabilities, then asked with
            run(engine, store, budget_forcing(ask(sampling), max_thinking_tokens=200))
        decoded = engine.counters.decoded
        with Store(tmp_path / f"{seed}", engine.fingerprint) as store:
            (trace,), scheduler = run(engine, store, method(ask(sampling)))
            traces.append(trace)
        assert all(t.segments == traces[0].segments and t.end == traces[0].end for t in traces), seed
        thinking = sum(len(s.ids) for s in traces[0].segments if s.kind == "thinking")
        if thinking < 200 and sampling is GREEDY:
            assert scheduler.progress.scored > 0  # scored once, not decoded again
            assert engine.counters.decoded - decoded <= traces[0].answer_tokens + 8
        found.append(traces[0].end)
    assert "forced" in found


def test_log_probabilities_that_were_stored_stay(tmp_path):
    engine = make_engine(3, start=80)
    method = partial(confidence_stop, threshold=-0.5, window=6)
    with Store(tmp_path, engine.fingerprint) as store:
        run(engine, store, budget_forcing(ask()))
        _, first = run(engine, store, method(ask()))
    with Store(tmp_path, engine.fingerprint) as store:
        _, again = run(engine, store, method(ask()))
    assert first.progress.scored > 0 and again.progress.scored == again.progress.generated == 0


def reads(read):
    value = yield read
    return value


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_stream_asked_with_and_without(order):
    """A reader that asks gets them whoever opened the stream; one that does not ask waits for nothing and gets none."""
    asked = [reads(Read((5, 6), limit=20, logprobs=wanted)) for wanted in (False, True)]
    spans, scheduler = run(make_engine(1, start=0, end=0), MemoryStore(), *(asked[i] for i in order))
    plain, wanted = (spans[order.index(i)] for i in (0, 1))
    assert plain.ids == wanted.ids and plain.logprobs is None
    assert wanted.logprobs == tuple(-float(i % 7) / 4 for i in wanted.ids)
    assert scheduler.progress.generated == 20


def test_a_stream_under_way_goes_on_with_log_probabilities():
    """What came before the second reader is scored, what comes after is reported, and nothing is decoded twice."""

    def late():
        yield Read((5, 6), limit=30)
        return (yield Read((5, 6), limit=60, logprobs=True))

    (long, wanted), scheduler = run(make_engine(1, start=0, end=0), MemoryStore(), reads(Read((5, 6), limit=200)), late())
    assert wanted.logprobs == tuple(-float(i % 7) / 4 for i in wanted.ids) and len(wanted.ids) == 60
    assert long.ids[:60] == wanted.ids and scheduler.progress.generated == 200
    assert 0 < scheduler.progress.scored < 60


def test_an_engine_that_cannot_score_says_so():
    engine = make_engine(1, start=0, end=0)
    engine.scores = frozenset()
    store, failed = MemoryStore(), []
    run(engine, store, reads(Read((5, 6), limit=20)))
    Scheduler(engine, store).run([Job((0,), reads(Read((5, 6), limit=20, logprobs=True)), print, failed.append)])
    assert "another engine" in str(failed[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 20), st.integers(1, 8), st.integers(1, 5), st.integers(2, 60), st.booleans())
def test_a_condition_is_called_once_for_each_position(seed, per_poll, every, limit, strings):
    """Against the definition: positions in order, the stop at a position wins, the verdict is looked at every so often."""
    stop = Stops(ids=CHAT.thinking_stops.ids, strings=("77", "+=") if strings else ())
    seen = []

    def fold(total, token, logprob):
        assert logprob == -float(token % 7) / 4
        seen.append(token)
        total = (total or 0) + token
        return total, total % 5 == 0

    engine = make_engine(seed, start=400, tokens_per_poll=per_poll)
    (span,), _ = run(engine, MemoryStore(), reads(Until(Read((5, 6), GREEDY, stop, limit), fold, every)))
    (plain,), _ = run(make_engine(seed, start=400), MemoryStore(), reads(Read((5, 6), GREEDY, stop, limit)))
    tokens, total, end = (plain.ids + plain.stop), 0, None
    for i, token in enumerate(tokens[: plain.end - 1]):
        total += token
        if total % 5 == 0 and (i + 1) % every == 0:
            end = i + 1
            break
    assert seen == list(tokens[: plain.end - 1 if end is None else end])
    if end is None:
        assert (span.ids, span.reason) == (plain.ids, plain.reason)
    else:
        assert (span.ids, span.reason, span.end) == (tokens[:end], "until", end)


def test_an_error_ends_its_own_job_only():
    def broken(at):
        yield Read((1, 2), limit=5)
        if at == "method":
            raise RuntimeError("bug")
        if at == "yield":
            yield 7
        yield Until(Read((1, 2), limit=50), lambda state, token, logprob: 1 / 0)

    ends, errors = [], []
    jobs = [Job((i,), broken(at), ends.append, errors.append) for i, at in enumerate(("method", "yield", "condition"))]
    jobs.append(Job((9,), reads(Read((1, 2), limit=80)), ends.append))
    scheduler = Scheduler(make_engine(0, start=0, end=0), MemoryStore())
    scheduler.run(jobs)
    assert sorted(type(e).__name__ for e in errors) == ["RuntimeError", "TypeError", "ZeroDivisionError"]
    assert [len(span.ids) for span in ends] == [80]
    with pytest.raises(RuntimeError, match="bug"):  # nobody listens
        Scheduler(make_engine(0), MemoryStore()).run([Job((0,), broken("method"), print)])
