"""Exact and near duplicates: the first of each group stays, in the order of the pool.

Near duplicates share at least `threshold` of their word trigrams (Jaccard). Candidates come from MinHash bands, and every
candidate is checked exactly, so nothing below the threshold is dropped; a pair at 0.8 is missed once in about 5,000.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import SettingError
from .ngrams import Grams

BANDS, ROWS = 16, 4
CHUNK = 1 << 21  # grams permuted at a time


def exact(texts: Sequence[str | None]) -> np.ndarray:
    """Which texts repeat an earlier one [bool], after lowering and collapsing white space; null and blank texts never do."""
    seen: set[str] = set()
    repeats = np.zeros(len(texts), bool)
    for i, text in enumerate(texts):
        key = " ".join((text or "").lower().split())
        if key:
            repeats[i] = key in seen
            seen.add(key)
    return repeats


def near(texts: Sequence[str | None], threshold: float = 0.8, n: int = 3) -> np.ndarray:
    """Which texts are near duplicates of an earlier kept one [bool]."""
    if not 0 < threshold <= 1:
        raise SettingError(f"data.duplicates.near={threshold}: must be a share above 0 and at most 1, or null")
    grams, counts = Grams(n)(texts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    bands = _bands(grams, counts)
    drop = np.zeros(len(texts), bool)
    buckets: list[dict[int, list[int]]] = [{} for _ in range(BANDS)]
    for i in np.flatnonzero(counts):
        mine = np.unique(grams[starts[i] : starts[i + 1]])
        found = {j for band, bucket in zip(bands[i].tolist(), buckets) for j in bucket.get(band, ())}
        if any(_jaccard(mine, np.unique(grams[starts[j] : starts[j + 1]])) >= threshold for j in found):
            drop[i] = True
            continue
        for band, bucket in zip(bands[i].tolist(), buckets):
            bucket.setdefault(band, []).append(int(i))
    return drop


def across(texts: Sequence[str | None], groups: Sequence[str], n: int = 8) -> np.ndarray:
    """Which texts share an n-gram with a kept text of an earlier group [bool]: s1's pool is de-duplicated source by source."""
    hashes, counts = Grams(n)(texts)
    number = np.unique(hashes, return_inverse=True)[1]
    group_of = np.unique(np.array(groups, str), return_inverse=True)[1]
    owner = np.repeat(np.arange(len(texts)), counts)
    seen, drop = np.zeros(len(hashes), bool), np.zeros(len(texts), bool)
    for group in dict.fromkeys(group_of.tolist()):
        mine = group_of[owner] == group
        drop[owner[mine][seen[number[mine]]]] = True
        seen[number[mine & ~drop[owner]]] = True
    return drop


def _bands(grams: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Band hashes of MinHash signatures [texts, BANDS] (uint64); rows of empty texts mean nothing."""
    rng = np.random.Generator(np.random.PCG64(1))
    a = rng.integers(0, 2**63, size=BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    b = rng.integers(0, 2**63, size=BANDS * ROWS, dtype=np.uint64)
    full = np.flatnonzero(counts)
    bands = np.zeros((len(counts), BANDS), np.uint64)
    sizes = counts[full]
    ends = np.cumsum(sizes)
    at = 0
    while at < len(full):
        begin = ends[at] - sizes[at]
        stop = max(at + 1, int(np.searchsorted(ends, begin + CHUNK)))
        part = grams[begin : ends[stop - 1]]
        offsets = ends[at:stop] - sizes[at:stop] - begin
        for band in range(BANDS):
            mixed = np.zeros(stop - at, np.uint64)
            for k in range(band * ROWS, (band + 1) * ROWS):
                lowest = np.minimum.reduceat((part * a[k] + b[k]) >> np.uint64(1), offsets)
                mixed = (mixed ^ lowest) * np.uint64(0x9E3779B97F4A7C15)
                mixed ^= mixed >> np.uint64(29)
            bands[full[at:stop], band] = mixed
        at = stop
    return bands


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)
