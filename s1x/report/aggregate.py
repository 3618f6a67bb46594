"""A sweep's results from its files alone: `summary.json`, `summary.md`, `cells.csv`, figure and report page.

    aggregate(Path("outputs/budget_sweep"))

reads every job's `cell.json` and `samples_<task>.jsonl` (a single job's own directory works too) and the sweep's
`run.json`: the counters of this very run and, beside them, `experiment`, `command`, `git` and `versions`. The same files
give the same bytes. `report.json` says what the report was made with (made.py), so that it can be made again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_text
from ..metrics.crossfit import against_best, halves
from ..metrics.obedience import obedience
from ..metrics.scaling import Series, measure
from ..metrics.significance import corrected
from . import made
from .ablation import ablation
from .compare import comparisons, scores_on, shared_questions
from .equal_cost import equal_cost
from .figures import draw
from .html import write_report
from .labels import varying
from .load import Cell, load_cells, part_series
from .load import points as points_of
from .pools import pools, variances
from .render import page
from .runs import load_runs
from .target import cheapest

ABOUT = ("experiment", "command", "git", "versions")
RUN = ("decode_tokens", "prefill_tokens", "prefill_tokens_cached", "engine_starts", "wall_s")


def aggregate(
    directory: Path,
    *,
    of: Sequence[Path] = (),
    paper: dict[str, Any] | None = None,
    x: str = made.X[0],
    compat: str | None = None,
    baseline: str | None = None,
    target: float | None = None,
    compare: bool = False,
) -> dict[str, Any]:
    """Write everything a sweep directory holds and return its summary.

    of: the directories whose cells these are, where they are not `directory`'s own; compare: they are two runs, compared
    question by question. paper: published numbers to draw beside (paper.py). x: the figure's axis; "path_tokens" counts all
    tokens decoded for a question, for comparing sequential with parallel methods; "flops" operations, those of the model that
    scores included. compat: "s1" keeps close pairs in Scaling, and votes are those of a pool's first k samples; None and
    "paper" do neither. baseline: the series, as tables call it, that the others are compared with at equal cost. target: an
    accuracy in (0, 1), to find the cheapest cell that reaches it. Jobs that are missing or cut short are named under
    `problems`, not raised; ValueError only when nothing was measured or a setting is wrong (UnknownSeries: there is no such
    baseline).
    """
    if x not in made.X:
        raise ValueError(f"report: x={x!r} is not known; valid are {', '.join(made.X)}")
    compat = None if compat == "paper" else compat
    directory = Path(directory)
    pairs = None
    if compare:
        cells, pairs, problems = load_runs(*of)
    else:
        cells, problems = load_cells(*(of or [directory]))
    part_series(cells)
    _limit_classes(cells)
    if not cells:
        found = f": {'; '.join(problems)}" if problems else ""
        places = ", ".join(map(str, of or [directory]))
        raise ValueError(f"report: {places} holds no measured cell (cell.json){found}; run the evaluation first")
    run = made.run(of or [directory], problems)
    shared, records = _settings([cell.record for cell in cells])
    summary = _rounded({
        **{key: run.get(key) for key in ABOUT},
        "settings": shared,
        "cells": records,
        "metrics": _metrics(cells, compat),
        "pools": pools(cells, compat),
        "variance": variances(cells),
        "comparisons": comparisons([c for c in cells if c.questions], pairs=pairs),
        "equal_cost": equal_cost(cells, baseline, x) if baseline else None,
        "ablation": ablation(cells),
        "cost": _cost(cells) | {"run": {key: run.get(key) for key in RUN}},
        "problems": problems,
        **({"target": cheapest(cells, target, x)} if target else {}),
    })  # fmt: skip
    made.write(directory, of=of, paper=paper, x=x, compat=compat, baseline=baseline, target=target, compare=compare)
    write_text(directory / "summary.json", json.dumps(summary, indent=1, sort_keys=True) + "\n")
    write_text(directory / "cells.csv", _csv(summary["cells"]))
    write_text(directory / "summary.md", page(summary, paper))
    figures = draw(directory, summary, paper, x)
    write_report(directory / "report.html", summary, cells, figures, paper)
    return summary


def _settings(records: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the settings that all cells share, the records with those that they do not): a sweep says its settings once."""
    own = varying(records)
    shared = {key: value for r in records for key, value in r["settings"].items() if key not in own}
    return shared, [r | {"settings": {key: r["settings"][key] for key in own if key in r["settings"]}} for r in records]


def _metrics(cells: list[Cell], compat: str | None) -> list[dict[str, Any]]:
    rows = []
    for group in dict.fromkeys(cell.group for cell in cells):
        members = [cell for cell in cells if cell.group == group and cell.questions]
        questions = shared_questions(members) if members else ()
        if not questions:
            continue
        points = points_of(members)
        firsts = [point[0] for point in points]

        def means(values: str) -> np.ndarray:
            return np.stack([np.mean([scores_on(c, questions, values) for c in point], 0) for point in points], 1)

        tokens = means("tokens")
        known = np.isfinite(tokens).all(0)  # a point of unknown tokens has a Performance, and neither slope nor limit
        series = Series(
            tuple(c.record["cell_id"] for c in firsts),
            means("scores"),
            np.where(known, tokens, 0),
            tuple(  # a pool's limit is that of each sample
                c.record.get("limit_tokens") if there and not c.votes else None for c, there in zip(firsts, known, strict=True)
            ),
        )
        task, model, name = group
        row = {"model": model, "task": task, "series": name, "n_questions": len(questions)} | measure(series, compat=compat)
        row["longest"] = _longest(series, questions) if known.all() else None
        told = all(c.obedience is not None for c in members)
        row["obedience"] = obedience(means("obedience").mean(1)) if told else None
        rows.append(row)
    told = [row["longest"] for row in rows if row["longest"]]
    for one, whole in zip(told, corrected(told), strict=True):
        one |= whole
    return rows


def _longest(series: Series, questions: tuple) -> dict[str, Any] | None:
    """The point that thinks longest against the best one: below zero where thinking longer no longer helps. None where there is
    one point, and where several think longest and are not equally right."""
    tokens, right = series.tokens.mean(0), series.scores.mean(0)
    longest = int(tokens.argmax())
    if len(tokens) < 2 or len(set(right[tokens == tokens[longest]])) > 1:
        return None
    return against_best(series.scores, halves(questions), longest)


def _limit_classes(cells: list[Cell]) -> None:
    """Limits of cells that promise less or more thinking than the same model left free on the same task (paper, appendix
    E.1)."""
    for cell in cells:
        than = cell.record["declared"]["relative"]
        free = [c for c in cells if c.group[:2] == cell.group[:2] and c.record["declared"]["free"]]
        if than and free:
            tokens = free[0].record["thinking_tokens"]["mean"]
            cell.record["limit_tokens"] = [None, tokens] if than == "less" else [tokens, None]


def _cost(cells: list[Cell]) -> dict[str, Any]:
    """Tokens of the cells run one by one, and of the union of their streams (each stream once, to its longest read)."""
    union: dict[str, int] = {}
    for cell in cells:
        for key, read in cell.reads.items():
            union[key] = max(read, union.get(key, 0))
    if all(c.record.get("path_tokens") is None for c in cells):  # all from elsewhere
        return dict.fromkeys(("path_tokens_independent", "path_tokens_union", "sharing_ratio"))
    independent = sum(c.record.get("path_tokens") or 0 for c in cells)
    together = sum(union.values()) + sum(c.record.get("path_tokens") or 0 for c in cells if not c.reads)
    return {
        "path_tokens_independent": independent,
        "path_tokens_union": together,
        "sharing_ratio": independent / together if union and together else None,
    }


def _csv(records: list[dict[str, Any]]) -> str:
    """One row per cell; nested figures become columns such as thinking_tokens.mean, intervals ..._lo and ..._hi."""
    rows = [dict(_flat(record)) for record in records]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(record: dict[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in record.items():
        if isinstance(value, dict):
            pairs += [
                (f"{key}.{inner}", v) for inner, v in value.items() if inner not in ("limits", "words")
            ]  # limit_tokens has them
        elif key in ("accuracy_ci95", "limit_tokens"):
            low, high = ("lo", "hi") if key == "accuracy_ci95" else ("min", "max")
            pairs += zip((f"{key}_{low}", f"{key}_{high}"), value or (None, None), strict=True)
        else:
            pairs.append((key, " ".join(value) if key == "overrides" and value else value))
    return pairs


def _rounded(value: Any) -> Any:
    """Floats to 6 decimals, so that files are readable and do not depend on the last bit of a sum."""
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(v) for v in value]
    return round(float(value), 6) if isinstance(value, float) else value
