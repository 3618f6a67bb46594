"""DeepConf against a naive one: every group summed anew, percentiles by numpy, token for token, however tokens come."""

from functools import partial
from math import exp

import numpy as np
import pytest

from s1x.engines.scripted import logprob
from s1x.methods.deepconf import deepconf
from s1x.methods.deepconf_online import deepconf_online
from s1x.methods.facts import check, facts
from s1x.methods.majority_voting import majority_voting

from .conftest import END, START
from .running import scheduled
from .test_parallel import CHAT, CONTEXT, ask, engine, everywhere, plain, short, stated, written


def means(tokens, window):
    """Of each group of `window` tokens in a row, or of all."""
    values = [logprob(i) for i in tokens]
    rows = [values[i : i + window] for i in range(len(values) - window + 1)] or [values]
    return [float(np.mean(row)) if row else 0.0 for row in rows]


def confidence(sample, by, window):
    found, tokens = means([*sample[0], *sample[1]], window), [*sample[0], *sample[1]]
    if by == "bottom":
        return float(np.mean(np.sort(found)[: max(1, int(0.1 * len(found)))]))
    return {"lowest": min(found), "tail": found[-1], "mean": means(tokens, 10**6)[0]}[by]


@pytest.mark.parametrize("by", ["bottom", "lowest", "tail", "mean"])
@pytest.mark.parametrize(("keep", "window"), [(0.4, 6), (1.0, 1), (0.1, 500)])
def test_the_surest_samples_vote(tmp_path, by, keep, window):
    for seed in range(4):
        naive = plain(seed, most=60)
        samples = [naive.sample(f"x={seed}", i) for i in range(6)]
        worth = [confidence(sample, by, window) for sample in samples]
        bar = np.percentile(worth, 100 * (1 - keep))
        trace = everywhere(tmp_path, partial(deepconf, n=6, keep=keep, by=by, window=window, inner=short(60)), seed)
        assert written(trace) == samples
        assert [s.info["confidence"] for s in trace.samples] == pytest.approx(worth)
        expected = [exp(value) if value >= bar - 1e-12 else 0.0 for value in worth]
        assert trace.weights == pytest.approx(expected) and trace.info == {"kept": sum(w > 0 for w in expected)}
        if keep == 1.0:
            assert trace.info["kept"] == 6


def online(naive, text, n, warmup, keep, consensus, window):
    """Algorithm 2: (samples that were finished, their weights, how far each cut chain was read, agreed)."""
    finished, cut, bar = [], [], None

    def agreement():
        votes = {}
        for sample in finished:
            weight = exp(confidence(sample, "lowest", window)) if confidence(sample, "lowest", window) >= bar else 0.0
            if weight and (said := stated(sample[1])) is not None:
                votes[said] = votes.get(said, 0.0) + weight
        return max(votes.values()) / sum(votes.values()) if votes else 0.0

    for i in range(n):
        out, reason = naive.thought(text, i)
        if i == warmup:
            bar = np.percentile([confidence(sample, "lowest", window) for sample in finished], 100 * (1 - keep))
        if i >= warmup:
            if agreement() >= consensus:
                break
            thought = out[:-1] if reason == "stop" else out
            upto = [t for t in range(window, len(thought) + 1) if means(thought[t - window : t], window)[0] < bar]
            if upto and (reason == "stop" or upto[0] < len(out)):
                cut.append(upto[0])
                continue
        finished.append(naive.close(text, i, out, reason))
    worth = [confidence(sample, "lowest", window) for sample in finished]
    return finished, [exp(w) if w >= bar else 0.0 for w in worth], cut, agreement() >= consensus


@pytest.mark.parametrize(("keep", "consensus"), [(0.5, 0.95), (0.9, 1.0), (0.25, 0.6)])
def test_unsure_chains_are_cut_and_sampling_ends_when_votes_agree(tmp_path, keep, consensus):
    cuts, ends = 0, set()
    for seed in range(10):
        how = {"n": 9, "warmup": 4, "keep": keep, "consensus": consensus, "window": 8}
        finished, weights, cut, agreed = online(plain(seed, most=60), f"x={seed}", **how)
        trace = everywhere(tmp_path, partial(deepconf_online, **how, max_thinking_tokens=60), seed)
        assert written(trace) == finished and trace.weights == pytest.approx(weights)
        said = {key: trace.info[key] for key in ("chains", "cut", "cut_tokens", "agreed")}
        assert said == {"chains": len(finished) + len(cut), "cut": len(cut), "cut_tokens": sum(cut), "agreed": agreed}
        heads = {ask(seed).sample(i).think().key(engine(seed).fingerprint) for i in range(9)}
        thought = sum(n for key, n in trace.reads.items() if key in heads)
        assert thought == sum(cut) + sum(
            len(t) + (s.end == "natural") for (t, _), s in zip(finished, trace.samples, strict=True)
        )
        cuts += len(cut)
        ends.add(agreed)
    assert cuts > 3 and ends == {True, False}


def test_the_first_chains_are_the_pools():
    pool, chosen = scheduled(
        [
            majority_voting(ask(3), n=5, inner=short(60)),
            deepconf_online(ask(3), n=5, warmup=5, window=8, max_thinking_tokens=60),
        ],
        engine(3), CHAT,
    )  # fmt: skip
    assert [s.segments for s in chosen.samples] == [s.segments for s in pool.samples] and chosen.reads == pool.reads


def test_what_they_declare():
    for make in (partial(deepconf, n=4, inner=short(9)), partial(deepconf_online, n=4, max_thinking_tokens=9)):
        found = facts(make)
        assert found.limits == (0, 9) and found.needs_sampling and not found.free
    for make, says in (
        (partial(deepconf, n=4, inner=short(9), keep=1.5), r"method\.keep=1\.5: must be a number from 0 to 1"),
        (partial(deepconf, n=4, inner=short(9), by="top"), r"method\.by='top': must be one of 'bottom'"),
        (partial(deepconf_online, n=4, warmup=0), r"method\.warmup=0"),
        (partial(deepconf_online, n=4, consensus="all"), r"method\.consensus='all'"),
    ):
        with pytest.raises(ValueError, match=says):
            check(make, context_length=CONTEXT, temperature=1.0, chat=CHAT)
    assert (START, END) == (0, 1)
