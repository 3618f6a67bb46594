"""The tiny benchmarks: problem seeds, and the keys that no training stream may contain.

`design` was looked at while the world was made; `test` is what the shipped tasks contain; `confirm` was first evaluated
when everything else was fixed.
"""

from __future__ import annotations

from . import problems

SEEDS = {"design": 101, "test": 202, "confirm": 303}
SIZE = 400


def load(split: str, choices: bool = False) -> list[problems.Problem]:
    return problems.benchmark(SEEDS[split], SIZE, choices=choices)


def held_out() -> frozenset:
    """Keys of every benchmark problem, for exclusion from pretraining documents and from the pool."""
    return frozenset(p.key for split in SEEDS for choices in (False, True) for p in load(split, choices))
