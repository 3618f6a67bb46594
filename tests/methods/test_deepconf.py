"""DeepConf and self-certainty against naive ones (confident.py), token for token, however tokens come."""

from functools import partial

import pytest

from s1x.methods.alpha_one import alpha_one
from s1x.methods.deepconf import deepconf
from s1x.methods.deepconf_online import deepconf_online
from s1x.methods.facts import check, facts
from s1x.methods.majority_voting import majority_voting
from s1x.methods.none import none
from s1x.methods.self_certainty import self_certainty
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Scheduler

from . import confident
from .conftest import END, START
from .running import scheduled
from .test_parallel import CHAT, CONTEXT, ask, engine, everywhere, plain, scheduled_on, short, written


def sure(seed, measure="top20"):
    """The model's confidence at each token that is written behind a prefix."""
    model = engine(seed)
    return lambda prefix, ids: [model.confidence(measure, (*prefix, *ids[:n])) for n in range(len(ids))]


@pytest.mark.parametrize("by", ["bottom", "lowest", "tail", "mean"])
@pytest.mark.parametrize(("keep", "window"), [(0.4, 6), (1.0, 1), (0.1, 500)])
def test_the_surest_samples_vote(tmp_path, by, keep, window):
    for seed in range(3):
        samples, worth, weights = confident.offline(plain(seed, most=60), sure(seed), f"x={seed}", 6, keep, by, window)
        trace = everywhere(tmp_path, partial(deepconf, n=6, keep=keep, by=by, window=window, inner=short(60)), seed)
        assert written(trace) == samples
        assert [s.info["confidence"] for s in trace.samples] == pytest.approx(worth, rel=1e-6)
        assert trace.weights == pytest.approx(weights, rel=1e-6) and trace.info == {"kept": sum(w > 0 for w in weights)}
        if keep == 1.0:
            assert trace.info["kept"] == 6


@pytest.mark.parametrize(("keep", "consensus"), [(0.5, 0.95), (0.9, 1.0), (0.6, 0.8)])
def test_unsure_chains_are_cut_and_sampling_ends_when_votes_agree(tmp_path, keep, consensus):
    cuts, ends = 0, set()
    for seed in range(10):
        how = {"n": 9, "warmup": 4, "keep": keep, "consensus": consensus, "window": 8}
        finished, weights, cut, agreed = confident.online(plain(seed, most=60), sure(seed), f"x={seed}", **how)
        trace = everywhere(tmp_path, partial(deepconf_online, **how, max_thinking_tokens=60), seed)
        assert written(trace) == finished and trace.weights == pytest.approx(weights, rel=1e-6)
        said = {key: trace.info[key] for key in ("chains", "cut", "cut_tokens", "agreed")}
        assert said == {"chains": len(finished) + len(cut), "cut": len(cut), "cut_tokens": sum(cut), "agreed": agreed}
        heads = {ask(seed).sample(i).think().key(engine(seed).fingerprint) for i in range(9)}
        thought = sum(n for key, n in trace.reads.items() if key in heads)
        assert thought == sum(cut) + sum(
            len(t) + (s.end == "natural") for (t, _), s in zip(finished, trace.samples, strict=True)
        )
        cuts += len(cut)
        ends.add(agreed)
    assert cuts > 1 and ends == {True, False}


@pytest.mark.parametrize("power", [0, 0.5, 1.2])
def test_the_most_certain_samples_have_most_votes(tmp_path, power):
    for seed in range(3):
        samples, certain, votes = confident.borda(plain(seed, most=60), sure(seed, "kl"), f"x={seed}", 5, power)
        trace = everywhere(tmp_path, partial(self_certainty, n=5, power=power, inner=short(60)), seed)
        assert written(trace) == samples and trace.weights == pytest.approx(votes)
        assert [s.info["certainty"] for s in trace.samples] == pytest.approx(certain, rel=1e-6)
        assert sorted(trace.weights) == pytest.approx([r**power for r in range(1, 6)])


def test_a_pool_that_was_stored_without_is_read_once_more_and_not_written_again(tmp_path):
    """Of majority voting, then of DeepConf, then of self-certainty: each time what is missing is scored, once."""
    store, made = MemoryStore(), []
    for method in (majority_voting, deepconf, self_certainty, deepconf):
        model = engine(3)
        (trace,) = scheduled_on(store, model, method(ask(3), n=4, inner=short(60)))
        made.append((model.counters.decoded > 0, model.counters.scored > 0))
        assert written(trace) == [plain(3, most=60).sample("x=3", i) for i in range(4)]
    assert made == [(True, False), (False, True), (False, True), (False, False)]


def test_the_first_chains_are_the_pools():
    pool, chosen = scheduled(
        [
            majority_voting(ask(3), n=5, inner=short(60)),
            deepconf_online(ask(3), n=5, warmup=5, window=8, max_thinking_tokens=60),
        ],
        engine(3), CHAT,
    )  # fmt: skip
    assert written(chosen) == written(pool) and chosen.reads == pool.reads
    assert all(s.confidence is None for sample in pool.samples for s in sample.segments)  # nobody asked for it there


def test_any_inner_method_whose_words_are_known():
    for inner in (partial(none, max_tokens=40), partial(none, thinking=False, max_tokens=30)):
        for make in (deepconf, self_certainty):
            (trace,) = scheduled([make(ask(4), n=3, inner=inner)], engine(4), CHAT)
            assert len(trace.weights) == 3 and any(trace.weights)
    errors = []
    jobs = [Job((0,), deepconf(ask(1), n=2, inner=partial(alpha_one, average=40)), print, errors.append)]
    Scheduler(engine(1), MemoryStore(), decode=CHAT.decode).run(jobs)
    assert "the inner method does not keep it" in str(errors[0])


def test_what_they_declare():
    for make, measure in (
        (partial(deepconf, n=4, inner=short(9)), "top20"),
        (partial(deepconf_online, n=4, max_thinking_tokens=9), "top20"),
        (partial(self_certainty, n=4, inner=short(9)), "kl"),
    ):
        found = facts(make)
        assert found.limits == (0, 9) and found.needs_sampling and not found.free and found.confidences == {measure}
    both = partial(majority_voting, n=2, inner=partial(deepconf, n=2, inner=partial(self_certainty, n=2, inner=short(9))))
    assert facts(both).confidences == {"top20", "kl"} and facts(short(9)).confidences == frozenset()
    for make, says in (
        (partial(deepconf, n=4, inner=short(9), keep=1.5), r"method\.keep=1\.5: must be a number from 0 to 1"),
        (partial(deepconf, n=4, inner=short(9), by="top"), r"method\.by='top': must be one of 'bottom'"),
        (partial(deepconf_online, n=4, warmup=0), r"method\.warmup=0"),
        (partial(deepconf_online, n=4, consensus="all"), r"method\.consensus='all'"),
        (partial(self_certainty, n=4, inner=short(9), power=-1), r"method\.power=-1: must be a number of 0 or more"),
    ):
        with pytest.raises(ValueError, match=says):
            check(make, context_length=CONTEXT, temperature=1.0, chat=CHAT)
    assert (START, END) == (0, 1)
