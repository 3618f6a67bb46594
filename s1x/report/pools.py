"""Pools of samples: what votes of k of them are worth, and whether more samples would tell more."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics import voting
from ..metrics.intervals import percentile_interval, resampled_means
from ..metrics.variance import of_right, variance_split
from .load import Cell


def pools(cells: list[Cell], compat: str | None) -> list[dict[str, Any]]:
    """What the votes of each cell of pools say, averaged over lines, one row per number of samples k.

    {cell_id, k, maj, pass, best, weighted, shortest, reward_best, reward_weighted, gpass_half, gpass_all, mgpass, bayes,
    wrong_longer}, each {value, ci95} (bootstrap over lines; Bayes@N's own) or None where it is not known: best needs
    log-probabilities (reward_best rewards); weighted, shortest, bayes and wrong_longer are of whole pools. maj and pass are
    expectations over all subsets of k samples; with compat="s1" those of the first k. gpass_half and gpass_all are G-Pass@k at
    the thresholds 1/2 and 1. wrong_longer: mean thinking tokens of a line's wrong samples less those of its right ones, over
    the lines that have both (arXiv 2502.12215). Pools whose samples are no draws alike are left out, and so are
    those whose sizes differ from question to question, as adaptive methods stop when they are sure; of imported ones, of which
    samples are missing, k ends where all questions have so many, and nothing is of whole pools.
    """
    first = "first_" if compat == "s1" else ""
    rows = []
    for cell, sizes in ((cell, sizes) for cell in cells if (sizes := _sizes(cell))):
        all_n, right = _drawn(cell), _right(cell)
        n = max(all_n) if min(all_n) == max(all_n) else None
        for k in sizes:
            picked = {
                name: [votes.get(f"{first}{name}" if name in ("maj", "pass") else name, {}).get(str(k)) for votes in cell.votes]
                for name in ("maj", "pass", "best", "reward_best")
            }
            picked |= {
                name: [votes.get(name) if k == n else None for votes in cell.votes]
                for name in ("weighted", "shortest", "reward_weighted")
            }
            picked |= {
                "gpass_half": [voting.expected_gpass_at_k(m, c, k, 0.5) for m, c in zip(all_n, right, strict=True)],
                "gpass_all": [voting.expected_gpass_at_k(m, c, k, 1) for m, c in zip(all_n, right, strict=True)],
                "mgpass": [voting.expected_mgpass_at_k(m, c, k) for m, c in zip(all_n, right, strict=True)],
            }
            bayes = voting.bayes_at_n(right, n) if k == n else None
            longer = _wrong_longer(cell) if k == n else None
            rows.append({"cell_id": cell.record["cell_id"], "k": k} | _means(picked) | {"bayes": bayes, "wrong_longer": longer})
    return rows


def variances(cells: list[Cell]) -> list[dict[str, Any]]:
    """`{cell_id, task}` and `variance.variance_split` of each cell that has several samples for a question: members of its
    pools, or repeats. Of a pool it is the accuracy of its single samples that is split, not that of its vote."""
    rows = []
    for cell in cells:
        if _sizes(cell):
            split = variance_split(*of_right(np.array(_right(cell)), np.array(_drawn(cell))))
        else:
            split = None if cell.votes else variance_split(cell.scores, cell.samples, cell.within)
        if split:
            rows.append({"cell_id": cell.record["cell_id"], "task": cell.record["task"]} | split)
    return rows


def _sizes(cell: Cell) -> list[int]:
    """Numbers of samples that were voted with for every question; none where those differ and the cell is our own."""
    sizes = {frozenset(votes.get("maj", ())) for votes in cell.votes}
    alike = len(sizes) == 1 or bool(sizes) and bool(cell.record.get("source"))
    return sorted(map(int, frozenset.intersection(*sizes))) if alike else []


def _drawn(cell: Cell) -> list[int]:
    """Of each line's pool how many samples there are."""
    return [max(map(int, votes["pass"])) for votes in cell.votes]


def _right(cell: Cell) -> list[int]:
    """Of each line's pool how many samples are right: pass@1 is their share."""
    return [round(votes["pass"]["1"] * n) for votes, n in zip(cell.votes, _drawn(cell), strict=True)]


def _wrong_longer(cell: Cell) -> dict[str, Any] | None:
    known = cell.longer[np.isfinite(cell.longer)][:, None]
    if len(known) < 2:
        return None
    return {"value": float(known.mean()), "ci95": percentile_interval(resampled_means(known)[:, 0])}


def _means(columns: dict[str, list[float | None]]) -> dict[str, dict[str, Any] | None]:
    known = {name: values for name, values in columns.items() if None not in values}
    values = np.array(list(known.values())).T
    figures = {
        name: {"value": float(mean), "ci95": percentile_interval(draws)}
        for name, mean, draws in zip(known, values.mean(0), resampled_means(values).T, strict=True)
    }
    return {name: figures.get(name) for name in columns}
