"""Algorithm 1 and its variants on synthetic pools with known answers."""

import random
from collections import Counter

import pytest

from s1x.data import selection
from s1x.data.selection import benchmark_weights, domains_uniform, longest, ranked, shares, uniform
from s1x.errors import SettingError


def pool(sizes, seed=0):
    rng = random.Random(seed)
    ids, domains, lengths = [], [], []
    for domain, size in sizes.items():
        for i in range(size):
            ids.append(f"{domain}{i:05d}")
            domains.append(domain)
            lengths.append(rng.randrange(10**6))
    return ids, domains, lengths


def test_each_domain_gets_its_uniform_share_whatever_its_size():
    ids, domains, lengths = pool({"big": 20000, "middle": 2000, "small": 700})
    counts = Counter(domains[i] for i in ranked(ids, domains, lengths, 1500, seed=1))
    assert counts.total() == 1500
    assert all(420 < counts[d] < 580 for d in counts)  # 500 each, standard deviation 18


def test_exhausted_domains_are_left_out_and_the_others_fill_up():
    ids, domains, lengths = pool({"a": 5, "b": 400, "c": 400})
    counts = shares([domains[i] for i in ranked(ids, domains, lengths, 600, seed=0)])
    assert counts["a"] == 5
    assert counts["b"] + counts["c"] == 595 and abs(counts["b"] - counts["c"]) < 80


def test_ranks_have_weight_two_to_the_minus_rank():
    ids, domains, lengths = pool({"a": 12})
    best = sorted(range(12), key=lambda i: -lengths[i])
    first = Counter(best.index(ranked(ids, domains, lengths, 1, seed)[0]) for seed in range(4000))
    for rank, expected in enumerate((0.5, 0.25, 0.125, 0.0625)):
        assert abs(first[rank] / 4000 - expected) < 0.03


def test_few_records_have_the_same_weights_among_each_other():
    ids, domains, lengths = pool({"a": 2})
    best = max(range(2), key=lambda i: lengths[i])
    first = Counter(ranked(ids, domains, lengths, 1, seed)[0] == best for seed in range(3000))
    assert abs(first[True] / 3000 - 2 / 3) < 0.03  # weights 1 and 1/2


def test_halving_spreads_the_choice():
    ids, domains, lengths = pool({"a": 800})

    def mean_rank(halving):
        order = {i: r for r, i in enumerate(sorted(range(800), key=lambda i: -lengths[i]))}
        return sum(order[i] for i in ranked(ids, domains, lengths, 100, 0, halving=halving)) / 100

    assert mean_rank(1) < 60 < mean_rank(100) < 400
    assert ranked(ids, domains, lengths, 100, 0, halving=1 / 8) == ranked(ids, domains, lengths, 100, 0, halving=100)


def test_ties_are_broken_by_id_and_the_order_of_the_pool_does_not_matter():
    ids, domains, _ = pool({"a": 50, "b": 50, "c": 3})
    lengths = [1] * len(ids)
    order = list(range(len(ids)))
    random.Random(5).shuffle(order)
    shuffled = [[column[i] for i in order] for column in (ids, domains, lengths)]
    for choose in (
        lambda i, d, x: ranked(i, d, x, 40, seed=7),
        lambda i, d, x: longest(i, x, 40),
        lambda i, d, x: uniform(i, 40, 7),
        lambda i, d, x: domains_uniform(i, d, 40, 7),
    ):
        chosen = [ids[i] for i in choose(ids, domains, lengths)]
        assert len(set(chosen)) == 40
        assert chosen == [shuffled[0][i] for i in choose(*shuffled)]


def test_the_same_seed_gives_the_same_subset_on_any_machine():
    """Fixed by the algorithm and Python's own generator: these ids must never change."""
    ids, domains, lengths = pool({"a": 30, "b": 30})
    assert [ids[i] for i in ranked(ids, domains, lengths, 5, seed=0)] == GOLDEN["ranked"]
    assert [ids[i] for i in uniform(ids, 5, seed=0)] == GOLDEN["uniform"]
    assert [ids[i] for i in domains_uniform(ids, domains, 5, seed=0)] == GOLDEN["domains_uniform"]
    assert ranked(ids, domains, lengths, 20, seed=0) != ranked(ids, domains, lengths, 20, seed=1)


GOLDEN = {
    "ranked": ["b00022", "b00010", "b00027", "b00004", "b00011"],
    "uniform": ["b00024", "a00024", "b00018", "b00026", "a00026"],
    "domains_uniform": ["a00027", "a00012", "b00011", "a00024", "a00013"],
}


def test_one_domain_and_everything():
    ids, domains, lengths = pool({"a": 20})
    assert sorted(ranked(ids, domains, lengths, 20, seed=0)) == list(range(20))
    assert sorted(domains_uniform(ids, domains, 20, seed=0)) == list(range(20))
    assert longest(ids, lengths, 20) == sorted(range(20), key=lambda i: -lengths[i])


@pytest.mark.parametrize(
    "choose",
    [
        lambda i, d, x: ranked(i, d, x, 11, 0),
        lambda i, d, x: uniform(i, 11, 0),
        lambda i, d, x: domains_uniform(i, d, 11, 0),
        lambda i, d, x: longest(i, x, 11),
    ],
)
def test_fewer_records_than_asked_for_is_a_sentence(choose):
    with pytest.raises(SettingError, match=r"data.select.n=11: only 10 records are left .* at most 10"):
        choose(*pool({"a": 10}))


def new_from_a(members, start, seeds=3000):
    """How often the first new record is one of domain a's, over seeds."""
    ids, domains, lengths = pool(members)
    drawn = [ranked(ids, domains, lengths, len(start(lengths)) + 1, seed, start=start(lengths))[-1] for seed in range(seeds)]
    return sum(domains[i] == "a" for i in drawn) / seeds


def test_seeds_stay_in_their_domains_and_use_up_draws():
    """Paper, Algorithm 1, and its notebook: what was taken outright is still in its domain's pool, and adds nothing there."""

    def longest_of_a(lengths):
        return [max((0, 1), key=lambda i: lengths[i])]

    def all_of_a(lengths):
        return [0, 1]

    # a (1/2): the seed (2/3) adds nothing and leaves a at its other record, else that record; then anew. 1/6 + 1/3 * 1/2
    assert abs(new_from_a({"a": 2, "b": 50}, longest_of_a) - 1 / 3) < 0.03
    assert new_from_a({"a": 2, "b": 50}, all_of_a, seeds=50) == 0
    assert abs(new_from_a({"a": 2, "b": 50}, lambda lengths: []) - 1 / 2) < 0.03


def test_seeds_take_draws_from_their_domains_in_a_pool_of_the_papers_kind():
    """With the longest traces of one domain as seeds, that domain gets fewer new records than the others."""
    ids, domains, lengths = pool(dict.fromkeys("abcde", 2000))
    start = sorted(range(2000), key=lambda i: -lengths[i])[:80]
    added = Counter(domains[i] for seed in range(5) for i in ranked(ids, domains, lengths, 580, seed, start=start)[80:])
    others = sum(added[d] for d in "bcde") / 4
    assert added.total() == 2500 and added["a"] < 0.6 * others
    assert sorted(ranked(ids, domains, lengths, len(ids), 0, start=start)) == list(range(len(ids)))


def test_seeds_come_first_and_are_not_drawn_again():
    ids, domains, lengths = pool({"a": 30, "b": 30})
    chosen = ranked(ids, domains, lengths, 40, seed=3, start=[4, 50])
    assert chosen[:2] == [4, 50] and len(set(chosen)) == 40
    with pytest.raises(SettingError, match="choose 41 records"):
        ranked(ids, domains, lengths, 40, seed=3, start=range(41))


def test_the_notebook_draws_its_tail_from_the_benchmarks_domains():
    ids, domains, lengths = pool({"a": 1000, "b": 1000, "c": 1000, "d": 1000})
    chosen = ranked(ids, domains, lengths, 1000, seed=0, tail=300, weights={"a": 3, "b": 1})
    head, tail = (Counter(domains[i] for i in part) for part in (chosen[:700], chosen[700:]))
    assert all(120 < head[d] < 230 for d in "abcd")
    assert tail["c"] == tail["d"] == 0 and 190 < tail["a"] < 255


def test_the_tail_goes_on_uniformly_when_its_domains_are_used_up():
    ids, domains, lengths = pool({"a": 10, "b": 100})
    chosen = ranked(ids, domains, lengths, 60, seed=0, tail=50, weights={"a": 1})
    assert Counter(domains[i] for i in chosen)["a"] == 10


def test_benchmark_weights_are_the_notebooks():
    domains = ["x"] * 6 + ["y"] * 2 + ["x"] * 1 + ["z"] * 3
    sources = ["aime"] * 8 + ["gpqa"] * 4
    # AIME: x 6, y 2; GPQA: x int(1 * .5 * 8 / 4) = 1, z int(3 * .5 * 8 / 4) = 3
    assert benchmark_weights(domains, sources, ["aime", "gpqa"]) == {"x": 7, "y": 2, "z": 3}
    with pytest.raises(SettingError, match="benchmark_sources"):
        benchmark_weights(domains, sources, ["math"])


TABLE_7 = {
    "numina_math": 30660,
    "math": 11999,
    "olympic_arena": 4250,
    "omni_math": 4238,
    "agieval": 2385,
    "xword": 999,
    "olympiad_bench": 896,
    "aime": 890,
    "theoremqa": 747,
    "usaco": 519,
    "jeebench": 515,
    "gpqa": 348,
    "scieval": 227,
    "s1_prob": 182,
    "livecodebench": 151,
    "s1_teasers": 23,
}


def test_a_pool_of_the_papers_size_behaves_as_algorithm_1_says():
    """59,029 questions with the paper's counts per source, half of them hard, 50 domains of very different sizes."""
    assert sum(TABLE_7.values()) == 59029
    rng = random.Random(0)
    sources = [s for s, n in TABLE_7.items() for _ in range(n)]
    hard = sorted(rng.sample(range(len(sources)), 24496))
    names = [f"domain{k:02d}" for k in range(50)]
    domains = rng.choices(names, [1 / (k + 1) for k in range(50)], k=len(hard))
    lengths = [int(rng.lognormvariate(8, 0.6)) for _ in hard]
    ids = [f"{i:06d}" for i in hard]
    start = [i for i, at in enumerate(hard) if sources[at] in ("aime", "gpqa")][:384]
    chosen = ranked(ids, domains, lengths, 1000, seed=0, start=start)
    assert chosen[:384] == start and len(set(chosen)) == 1000
    added = Counter(domains[i] for i in chosen[384:])
    assert len(added) == 50  # every domain is covered
    assert max(added.values()) <= 3 * 616 / 50  # although the largest holds 22% of the pool
    mean = sum(lengths) / len(lengths)
    assert sum(lengths[i] for i in chosen[384:]) / 616 > 2 * mean  # long traces are favoured
    assert selection.shares([domains[i] for i in chosen])[domains[chosen[0]]] >= 1
