"""Word n-grams as 64-bit hashes: contamination by benchmarks and duplicates, in seconds for 59K questions.

Texts are lowered, stripped and split at white space (s1's `decontaminate_util.py`); a text of fewer than n words is one
gram by itself, so short questions are compared whole (the reference never matches them).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..errors import SettingError

BATCH = 4096  # texts hashed at a time


class Grams:
    """Turns texts into arrays of n-gram hashes. One object per comparison: word numbers are its own."""

    def __init__(self, n: int):
        if n < 1:
            raise SettingError(f"ngram={n}: an n-gram has at least one word (s1 uses 8)")
        self.n, self._vocabulary = n, {}
        rng = np.random.Generator(np.random.PCG64(0))
        self._factors = rng.integers(0, 2**63, size=n, dtype=np.uint64) * np.uint64(2) + np.uint64(1)

    def __call__(self, texts: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
        """(hashes of all grams one after the other [uint64], grams per text [int64]); null or blank texts have none."""
        hashes, counts = [], []
        for at in range(0, len(texts), BATCH):
            part = [self._words(text) for text in texts[at : at + BATCH]]
            lengths = np.array([len(words) for words in part], np.int64)
            counts.append(np.where(lengths > 0, np.maximum(lengths - self.n + 1, 1), 0))
            # A text shorter than n is padded with word 0, which no text contains.
            padded = [w + [0] * (self.n - len(w)) if 0 < len(w) < self.n else w for w in part]
            ids = _mix(np.array([i for words in padded for i in words], np.uint64))
            owner = np.repeat(np.arange(len(padded)), [len(words) for words in padded])
            size = max(len(ids) - self.n + 1, 0)
            grams = np.zeros(size, np.uint64)
            for k, factor in enumerate(self._factors):
                grams += ids[k : k + size] * factor
            inside = owner[:size] == owner[self.n - 1 :] if size else np.zeros(0, bool)
            hashes.append(grams[inside])
        return np.concatenate(hashes or [np.zeros(0, np.uint64)]), np.concatenate(counts or [np.zeros(0, np.int64)])

    def _words(self, text: str | None) -> list[int]:
        vocabulary = self._vocabulary
        return [vocabulary.setdefault(word, len(vocabulary) + 1) for word in (text or "").lower().split()]


def contaminated(
    questions: Sequence[str | None],
    benchmarks: Iterable[str | None],
    n: int = 8,
    allowed: float = 0.0,
) -> np.ndarray:
    """Which questions share n-grams with the benchmarks [bool]: any (`allowed=0`, s1's rule), or more than that share."""
    grams = Grams(n)
    known = np.unique(grams(list(benchmarks))[0])
    shared, counts = shared_counts(grams, questions, known)
    return shared > allowed * counts


def shared_counts(grams: Grams, texts: Sequence[str | None], known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per text: how many of its grams are in `known` (sorted), and how many it has."""
    shared, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for at in range(0, len(texts), BATCH):
        hashes, size = grams(texts[at : at + BATCH])
        shared.append(segment_sums(member(hashes, known), size))
        counts.append(size)
    return np.concatenate(shared), np.concatenate(counts)


def member(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which values are in the sorted array `known` [bool]."""
    if not len(known):
        return np.zeros(len(values), bool)
    return known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values


def segment_sums(flags: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Sums over consecutive segments of the given sizes (empty ones sum to 0)."""
    ends = np.cumsum(sizes)
    total = np.concatenate([[0], np.cumsum(flags)])
    return total[ends] - total[ends - sizes]


def _mix(ids: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: spreads small word numbers over 64 bits."""
    z = ids * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
