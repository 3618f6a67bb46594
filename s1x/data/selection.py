"""Which records make the subset: pure functions from domains and lengths to positions, the same on every machine.

All randomness is `random.Random(seed)` (its `random()` is fixed across platforms and Python versions), and records are
brought into a fixed order by id first, so neither the machine nor the order of the pool changes the choice.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from ..errors import SettingError


def uniform(ids: Sequence[str], n: int, seed: int) -> list[int]:
    """`n` records at random (the paper's 1K-random)."""
    _enough(len(ids), n)
    return random.Random(seed).sample(_order(ids), n)


def longest(ids: Sequence[str], lengths: Sequence[float], n: int) -> list[int]:
    """The `n` longest traces (the paper's 1K-longest); ties by id."""
    _enough(len(ids), n)
    return sorted(_order(ids), key=lambda i: -lengths[i])[:n]


def domains_uniform(ids: Sequence[str], domains: Sequence[str], n: int, seed: int) -> list[int]:
    """`n` records, each from a domain drawn uniformly and then at random within it (the paper's 1K-diverse)."""
    _enough(len(ids), n)
    rng = random.Random(seed)
    left = _by_domain(_order(ids), domains)
    for members in left.values():
        rng.shuffle(members)
    chosen = []
    while len(chosen) < n:
        domain = rng.choice(list(left))
        chosen.append(left[domain].pop())
        if not left[domain]:
            del left[domain]
    return chosen


def ranked(
    ids: Sequence[str],
    domains: Sequence[str],
    lengths: Sequence[float],
    n: int,
    seed: int,
    start: Sequence[int] = (),
    halving: float = 1,
    tail: int = 0,
    weights: dict[str, float] | None = None,
) -> list[int]:
    """Algorithm 1 of the paper: the `start` records, then a uniform domain and in it a trace by length rank, up to `n`.

    In a domain, records are ranked from the longest trace (rank 0; ties by id); the chance of a rank is proportional to
    2^-(rank/halving). `halving` below 1 is a share of the domain's records. A domain without records left is dropped. `start`
    records stay in their domains: one that is drawn again adds nothing, and is gone from then on.
    The last `tail` records are drawn from domains with chance proportional to `weights` instead (s1's notebook: the last
    300 of 1000, by the domains of GPQA and AIME); where none of the weighted domains has records left, uniformly.

    Raises SettingError when there are fewer than `n` records, or more than `n` start records.
    """
    _enough(len(ids), n)
    if len(start) > n:
        raise SettingError(f"data.select.n={n}: the seed rules alone choose {len(start)} records; ask for at least that many")
    rng, chosen, taken = random.Random(seed), list(start), set(start)
    left = _by_domain(sorted(_order(ids), key=lambda i: -lengths[i]), domains)
    go_on = {d: 2 ** (-1 / (halving if halving >= 1 else max(halving * len(m), 1))) for d, m in left.items()}
    while len(chosen) < n:
        names = list(left)
        odds = [weights.get(d, 0) for d in names] if weights and len(chosen) >= n - tail else []
        domain = rng.choices(names, odds)[0] if any(odds) else rng.choice(names)
        # Walk down the ranking, stopping at each rank with the same chance, and begin again at the end: exactly the
        # geometric weights on the records that are left, without sums that could round differently elsewhere.
        rank = 0
        while rng.random() < go_on[domain]:
            rank = (rank + 1) % len(left[domain])
        drawn = left[domain].pop(rank)
        if drawn not in taken:
            chosen.append(drawn)
        if not left[domain]:
            del left[domain]
    return chosen


def benchmark_weights(domains: Sequence[str], sources: Sequence[str], benchmarks: Sequence[str]) -> dict[str, float]:
    """Domain weights of s1's notebook: counts of the first benchmark source's records, plus half as many in all of each other.

    With `benchmarks=(aime, gpqa)`: AIME counts + int(GPQA counts * 0.5 * |AIME| / |GPQA|) per domain.
    """
    counts = [Counter(d for d, s in zip(domains, sources) if s == benchmark) for benchmark in benchmarks]
    if not counts or not counts[0]:
        raise SettingError(f"data.select.benchmark_sources={list(benchmarks)}: the first must be a source with records left")
    weights: dict[str, float] = dict(counts[0])
    for other in counts[1:]:
        for domain, count in other.items():
            weights[domain] = weights.get(domain, 0) + int(count * 0.5 * counts[0].total() / other.total())
    return weights


def shares(domains: Sequence[str]) -> dict[str, int]:
    """Records per domain, largest first, ties by name."""
    return dict(sorted(Counter(domains).items(), key=lambda kv: (-kv[1], kv[0])))


def _order(ids: Sequence[str]) -> list[int]:
    return sorted(range(len(ids)), key=lambda i: ids[i])


def _by_domain(order: Sequence[int], domains: Sequence[str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {d: [] for d in sorted({domains[i] for i in order})}
    for i in order:
        groups[domains[i]].append(i)
    return groups


def _enough(have: int, n: int) -> None:
    if have < n:
        raise SettingError(f"data.select.n={n}: only {have} records are left to choose from; ask for at most {have}")
