"""Time and memory of decontamination and de-duplication at the size of s1's pool (README.md).

The questions are made up: 59,029 of them with lengths like the real ones (70 words on average) from a vocabulary with Zipf's
frequencies, against 3,000 benchmark questions, of which 100 are hidden in the pool.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np

from s1x.data.duplicates import across, exact, near
from s1x.data.ngrams import contaminated

N, BENCHMARK, HIDDEN = 59029, 3000, 100


def questions(n: int, rng: np.random.Generator) -> list[str]:
    words = np.array([f"word{i}" for i in range(60000)])
    lengths = np.clip(rng.lognormal(4.0, 0.7, n).astype(int), 8, 2000)
    return [" ".join(words[np.minimum(rng.zipf(1.3, length), 60000) - 1]) for length in lengths]


def timed(name: str, run: Callable) -> None:
    began = time.perf_counter()
    flags = run()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:34} {time.perf_counter() - began:6.1f} s   {int(flags.sum()):6,} found   {memory:.2f} GiB at most so far")


def main() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    benchmark = questions(BENCHMARK, rng)
    pool = questions(N - HIDDEN, rng) + benchmark[:HIDDEN]
    sources = [str(i * 16 // N) for i in range(N)]
    print(f"{N:,} questions of {sum(len(q.split()) for q in pool) / N:.0f} words on average")
    timed("8-grams against the benchmarks", lambda: contaminated(pool, benchmark, 8))
    timed("exact duplicates", lambda: exact(pool))
    timed("near duplicates (Jaccard 0.8)", lambda: near(pool, 0.8))
    timed("8-grams across 16 sources", lambda: across(pool, sources, 8))


if __name__ == "__main__":
    main()
