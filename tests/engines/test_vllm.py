"""The vLLM engine on the tiny model: `pytest -m vllm` in an environment that has vLLM (the CPU build will do)."""

from __future__ import annotations

import gc
import weakref

import pytest

from s1x.streams.engine import EngineError, Open
from s1x.streams.types import Forbid, Sampling

from . import tiny
from .sweep import write

pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = pytest.mark.vllm

PREFIX = (1, 30, 31, 32)


@pytest.fixture(scope="module")
def engine():
    from s1x.engines.vllm import VllmEngine

    engine = VllmEngine(tiny.MODEL, max_num_seqs=32, enforce_eager=True, kv_cache_gib=0.5)
    yield engine
    engine.close()


def test_it_loads_at_the_first_poll_and_writes_what_is_asked_for(engine):
    assert engine.counters.starts == 0 and engine.poll() == []
    (ids,) = write(engine, [Open(PREFIX, 50)])
    assert len(ids) == 50 and engine.counters.starts == 1
    assert (engine.counters.decoded, engine.counters.prefill) == (50, len(PREFIX))


def test_tokens_come_some_at_a_time_unless_a_stream_is_watched(engine):
    def sizes(**request) -> list[int]:
        engine.open(Open(PREFIX, 50, **request))
        return [len(chunk.ids) for chunks in iter(engine.poll, []) for chunk in chunks if chunk.ids]

    assert sum(sizes()) == 50 and max(sizes()) == 8
    assert sizes(watched=True) == [1] * 50
    assert sizes(logprobs=True) == sizes()
    (ids,) = write(engine, [Open(PREFIX, 50)])
    end = next(i for i in range(10, 50) if ids[i] not in ids[:i])  # in mid-interval or not: nothing comes after a stop
    assert write(engine, [Open(PREFIX, 50, stop_ids=frozenset({ids[end]}))]) == [ids[: end + 1]]


@pytest.mark.parametrize(("streams", "length"), [(32, 120), (3, 1500), (40, 52)])
def test_more_sampled_prompts_than_a_step_reads(engine, streams, length):
    """vLLM's CPU build failed as soon as one of them was read in two steps (seen with a real model's prompts)."""
    prompts = [tuple(30 + (7 * i + j * j) % 300 for j in range(length)) for i in range(streams)]
    out = write(engine, [Open(p, 9, sampling=Sampling(temperature=1.0, noise=100 + i)) for i, p in enumerate(prompts)])
    assert [len(ids) for ids in out] == [9] * streams


def overtaken(engine) -> int:
    """An answer comes while 32 streams of thinking run and 32 more are queued: how many of those begin after it is done."""
    thinking = [engine.open(Open((*PREFIX, i), 20 + 3 * i, priority=(1, i))) for i in range(64)]
    for _ in range(5):
        engine.poll()
    answer = engine.open(Open((*PREFIX, 99), 4, priority=(0, 63)))
    begun, late = set(), None
    while chunks := engine.poll():
        begun |= {chunk.handle for chunk in chunks if chunk.ids}
        if any(chunk.handle == answer and chunk.done for chunk in chunks):
            late = len(set(thinking[32:]) - begun)
    assert begun == {*thinking, answer}
    return late


def test_an_answer_overtakes_queued_thinking(engine):
    assert overtaken(engine) >= 29  # places become free every third step


def test_answers_reuse_the_prefix_of_their_thinking(engine):
    (ids,) = write(engine, [Open((*PREFIX, 7), 200)])
    before = engine.counters.prefill_cached
    prefix = (*PREFIX, 7, *ids, 1, 2, 3)
    write(engine, [Open(prefix, 5)])
    assert engine.counters.prefill_cached - before >= 32 * ((len(prefix) - 4) // 32)


def test_forbidden_ids_come_only_behind_the_mask(engine):
    (free,) = write(engine, [Open(PREFIX, 40)])
    banned = frozenset(free[:3])
    (masked,) = write(engine, [Open(PREFIX, 40, forbid=Forbid(banned, 7))])
    assert len(masked) == 40 and banned.isdisjoint(masked[:7])
    (rest,) = write(engine, [Open(PREFIX + tuple(masked[:7]), 33)])
    assert masked[7:] == rest


def test_ids_of_the_padded_vocabulary_are_never_drawn(engine):
    everything = frozenset(range(tiny.VOCABULARY)) - {5}  # what is left for a plain sampler: 5 and the padding
    requests = [Open((*PREFIX, i), 12, Sampling(2.0, noise=i), Forbid(everything, 12)) for i in range(8)]
    decoded = engine.counters.decoded
    assert write(engine, requests) == [[5] * 12] * 8
    assert engine.counters.decoded - decoded == 96
    streams = write(engine, [Open((*PREFIX, i), 100, Sampling(2.0, noise=i)) for i in range(32)])
    assert max(map(max, streams)) < tiny.VOCABULARY and {len(s) for s in streams} == {100}


def test_streams_end_at_stops_limits_and_the_context(engine):
    (free,) = write(engine, [Open(PREFIX, 60)])
    stop = free[20]
    at = free.index(stop)
    long = tuple(free * 40)[: tiny.CONTEXT - 5]
    stopped, to_the_end, full = write(
        engine, [Open(PREFIX, 60, stop_ids=frozenset({stop})), Open(long, 100), Open(long + (9,) * 5, 10)]
    )
    assert stopped == free[: at + 1] and len(to_the_end) == 5 and full == []


def test_cancelled_streams_say_no_more_and_leave_room(engine):
    handles = [engine.open(Open((*PREFIX, i), 400)) for i in range(40)]
    engine.poll()
    engine.poll()
    for handle in handles[1:]:
        engine.cancel(handle)
    engine.cancel(10**9)
    seen = {}
    while chunks := engine.poll():
        for chunk in chunks:
            seen[chunk.handle] = seen.get(chunk.handle, 0) + len(chunk.ids)
    assert set(seen) == {handles[0]} and 395 <= seen[handles[0]] <= 400


def test_noise_is_a_streams_own(engine):
    def sampled(noise, prefix=PREFIX):
        return Open(prefix, 30, Sampling(1.0, noise=noise))

    one, two, again = write(engine, [sampled(1), sampled(2), sampled(1)])
    assert one == again != two
    (other,) = write(engine, [sampled(1, (*PREFIX, *one[:10]))])
    assert len(other) == 30


def test_logprobs_are_untempered(engine):
    from s1x.engines.transformers import TransformersEngine

    request = Open(PREFIX, 20, Sampling(2.0, noise=3), logprobs=True)
    handle, ids, logprobs = engine.open(request), [], []
    while chunks := engine.poll():
        for chunk in chunks:
            assert chunk.handle == handle
            ids += chunk.ids
            logprobs += chunk.logprobs
    assert len(logprobs) == len(ids) == 20
    reference = TransformersEngine(tiny.MODEL, device="cpu", slots=1)
    for i, (token, logprob) in enumerate(zip(ids, logprobs)):
        only = Forbid(frozenset(range(tiny.VOCABULARY)) - {token}, 1)
        reference.open(Open(PREFIX + tuple(ids[:i]), 1, forbid=only, logprobs=True))
        (chunk,) = [chunk for chunks in iter(reference.poll, []) for chunk in chunks if chunk.ids]
        assert chunk.ids == [token] and chunk.logprobs[0] == pytest.approx(logprob, abs=0.05)


def test_wrong_settings_are_sentences_before_anything_loads():
    from s1x.engines.vllm import VllmEngine

    for settings in ({"stream_interval": 0}, {"max_num_seqs": 0}, {"max_model_len": 4096}, {"tensor_parallel_size": 0}):
        with pytest.raises(ValueError, match=f"engine.{next(iter(settings))}="):
            VllmEngine(tiny.MODEL, **settings)
    with pytest.raises(ValueError, match="sampling.temperature=3: vLLM takes at most 2"):
        VllmEngine(tiny.MODEL).open(Open(PREFIX, 5, Sampling(3.0, noise=1)))


def test_a_start_that_fails_is_a_sentence():
    from s1x.engines.vllm import VllmEngine

    engine = VllmEngine(tiny.MODEL, kv_cache_gib=1e-6)
    engine.open(Open(PREFIX, 5))
    with pytest.raises(EngineError, match="^engine=vllm: vLLM could not start .*[Mm]emory.*$"):
        engine.poll()
    engine.close()


def test_close_drops_the_model_and_another_one_can_follow(engine):
    """Near the end of this file: the shared engine is closed, and comes back with vLLM's default policy."""
    runner = engine.llm.engine_core.engine_core.model_executor.driver_worker.worker.model_runner
    model = weakref.ref(runner.model)
    del runner
    (ids,) = write(engine, [Open(PREFIX, 20)])
    engine.close()
    gc.collect()
    assert model() is None
    engine.arguments["scheduling_policy"] = "fcfs"
    assert write(engine, [Open(PREFIX, 20)]) == [ids]
    assert engine.counters.starts == 2


def test_the_default_policy_takes_priorities_and_ignores_them(engine):
    assert engine.arguments["scheduling_policy"] == "fcfs"
    assert overtaken(engine) == 0
