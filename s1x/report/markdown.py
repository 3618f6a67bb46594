"""summary.md: the tables of a sweep in Markdown, to paste into notes, issues and the pages of experiments/."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .compare import KINDS
from .labels import cell_table, figure_text, pool_names, series_names
from .table import POOL, comparison_name, cost_line


def markdown(summary: dict[str, Any]) -> str:
    """The page: cells, the three metrics, votes, paired differences (steps between neighbours left out) and cost."""
    cells, names = summary["cells"], series_names(summary["cells"])
    parts = [table(*cell_table(cells))]
    if metrics := [row for row in summary["metrics"] if row["n_points"] > 1]:
        parts.append(_metrics(metrics, names))
    if summary["pools"]:
        parts.append(_pools(summary["pools"], cells))
    if compared := [row for row in summary["comparisons"] if row["kind"] != "step"]:
        parts.append(_comparisons(compared, cells))
    parts.append(cost_line(summary["cost"]) + ".")
    parts += [f"Not whole: {problem}" for problem in summary["problems"]]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first `left` columns are text, the others numbers."""
    lines = [head, ["---" if at < left else "---:" for at in range(len(head))], *rows]
    return "\n".join("| " + " | ".join(str(value).replace("|", "\\|") for value in line) + " |" for line in lines)


def _metrics(rows: list[dict[str, Any]], names: dict) -> str:
    return table(
        ["series", "task", "cells", "Control %", "Scaling (points per doubling)", "Performance %", "held out %"],
        ([names[_group(row)], row["task"], row["n_points"], figure_text(row["control"], 100, 0), figure_text(row["scaling"]),
          figure_text(row["performance"], 100), figure_text(row["performance"]["split_half"], 100)] for row in rows),
        left=2,
    )  # fmt: skip


def _pools(rows: list[dict[str, Any]], cells: list[dict[str, Any]]) -> str:
    names = pool_names(cells)

    def figures(row: dict[str, Any]) -> list[str]:
        return [figure_text(row[name], 100) if row[name] else "" for name in POOL]

    head = ["pool", "k", *(f"{title} %" for title in POOL.values())]
    return table(head, ([names[row["cell_id"]], row["k"], *figures(row)] for row in rows))


def _comparisons(rows: list[dict[str, Any]], cells: list[dict[str, Any]]) -> str:
    order = list(KINDS)
    ordered = sorted(rows, key=lambda row: order.index(row["kind"]))
    figures = (figure_text({"value": row["difference"], "ci95": row["ci95"]}, 100) for row in ordered)
    names = (comparison_name(row, cells) for row in ordered)
    return table(["paired difference", "points [95%]"], zip(names, figures, strict=True))


def _group(record: dict[str, Any]) -> tuple[str, str, str]:
    return (record["task"], record["model"], record["series"])
