"""plan=true prices parallel methods: what is cut is counted up to there, and pools are shared."""

import copy
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from s1x.cell import Cell
from s1x.composition import BASE
from s1x.evaluation import plan
from s1x.evaluation.forecast import forecast

from ..conftest import NO_LOCAL

OTHERS = {
    "adaptive_consistency": {},
    "esc": {"window": 2},
    "deepconf": {},
    "deepconf_online": {"warmup": 2},
    "self_certainty": {},
}

CONF = Path(__file__).parents[2] / "conf"


@cache
def composed(name):
    with initialize_config_dir(str(CONF), **BASE):
        more = ["sampling.temperature=1", "task.limit=4", "store.dir=null", *NO_LOCAL]
        return compose("config", [f"method={name}", *more])


def planned(name, **settings):
    cfg = copy.deepcopy(composed(name))
    cfg.method.update(settings)
    return Cell(cfg, Path(), Path(), 0, [])


@pytest.mark.parametrize("name", OTHERS)
def test_whose_votes_never_agree_draws_the_whole_pool_and_shares_it(name):
    pool, other = plan.estimate([planned("majority_voting", n=4), planned(name, n=4, **OTHERS[name])])
    assert other.tokens == pool.tokens and other.new_tokens == 0


@pytest.mark.parametrize("which", ["first", "last"])
def test_chains_are_counted_up_to_where_they_are_cut(which):
    pool = forecast(planned("majority_voting", n=4))
    short = forecast(planned("short_m_of_k", k=4, m=1, every=16, which=which))
    heads = short.keys() & pool.keys()
    assert len(heads) >= 4 * 4  # its chains, and the answers of those that vote
    assert all(short[key] <= pool[key] for key in heads)
    saved = sum(pool.values()) - sum(short.values())  # a quarter or so: lengths are drawn by ids of words, in order of their
    # first appearance in the process (forecast.Words), so they depend on what was planned before
    assert saved > sum(pool.values()) / 6 if which == "first" else 0 < saved < 4 * 4 * 20  # answers alone


def test_rounds_are_priced():
    tokens = [sum(forecast(planned("rsa", n=4, k=2, rounds=t)).values()) for t in (1, 2, 3)]
    pool = sum(forecast(planned("majority_voting", n=4)).values())
    assert tokens[0] == pool
    assert tokens[1] - tokens[0] == pytest.approx(pool, rel=0.25) and tokens[2] - tokens[1] == pytest.approx(pool, rel=0.25)
    for cell, streams in ((planned("gen_select", n=4), 5), (planned("pdr", n=4, rounds=2), 4 + 1 + 4 + 1 + 1)):
        (row,) = plan.estimate([cell])
        assert row.streams == 4 * 2 * streams  # questions; thinking and answer
