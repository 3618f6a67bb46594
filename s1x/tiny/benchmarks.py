"""The tiny benchmarks: problem seeds, and the keys that no training stream may contain.

`design` was looked at while the world was made; `test` is what the shipped tasks contain; `confirm` was first evaluated
when everything else was fixed.

    python -m s1x.tiny.benchmarks   # writes the shipped task files again
"""

from __future__ import annotations

import json
from pathlib import Path

from . import problems

SEEDS = {"design": 101, "test": 202, "confirm": 303}
SIZE = 320
HARD = 5  # steps of a problem of tiny_hard at least


def load(split: str, choices: bool = False) -> list[problems.Problem]:
    return problems.benchmark(SEEDS[split], SIZE, choices=choices)


def held_out() -> frozenset:
    """Keys of every benchmark problem, for exclusion from pretraining documents and from the pool."""
    return frozenset(p.key for split in SEEDS for choices in (False, True) for p in load(split, choices))


def rows(task: str, split: str) -> list[dict]:
    """The questions of `task` (tiny_math, tiny_mc, or tiny_hard: the long half of tiny_math) as rows of a task file."""
    return [
        {"id": f"{split}-{i}", "question": p.question, "answer": p.answer, "steps": len(p.steps), "domain": p.domain}
        for i, p in enumerate(load(split, choices=task == "tiny_mc"))
        if task != "tiny_hard" or len(p.steps) >= HARD
    ]


def write(directory: Path) -> None:
    """Write the test split of tiny_math and tiny_mc as JSON lines (the files that ship in s1x/tasks/data)."""
    for task in ("tiny_math", "tiny_mc"):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows(task, "test")]
        (directory / f"{task}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parents[1] / "tasks" / "data")
