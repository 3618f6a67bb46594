"""The terminal's view of a summary: cells, the three metrics with their intervals, comparisons, cost."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .compare import KINDS
from .labels import budget_label, cell_table, figure_text, pool_names, series_names
from .load import ignored_ends

POOL = {"maj": "maj@k", "pass": "pass@k", "best": "best of k", "weighted": "weighted", "shortest": "shortest"}


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print what `aggregate` returned. Accuracies are percent here, fractions in files."""
    console = console or Console()
    console.print(_cells(summary["cells"]))
    for row in (row for row in summary["metrics"] if row["n_points"] > 1):  # of one cell they say nothing new
        console.print(_metrics_line(row, summary), highlight=False)
    if summary["pools"]:
        console.print(_pools(summary["pools"], summary["cells"]))
    extended = [c for c in summary["comparisons"] if c["kind"] in ("ends", "extended", "reference")]
    if extended:
        console.print(_comparisons(extended, summary["cells"]))
    console.print(cost_line(summary["cost"]), highlight=False)
    for problem in summary["problems"]:
        console.print(f"[yellow]not whole:[/] {escape(problem)}", highlight=False)


def print_published(paper: dict[str, Any], summary: dict[str, Any], console: Console | None = None) -> None:
    """Print the table of a paper.yaml; a row that names one of our series gets its Control, Scaling and Performance beside."""
    if not paper["table"]:
        return
    console = console or Console()
    ours = {row["series"]: row for row in summary["metrics"] if row["n_points"] > 1}
    beside = any(row.get("series") in ours for row in paper["table"])
    titles = [key for key in dict.fromkeys(key for row in paper["table"] for key in row) if key != "series"]
    console.print(f"Published: {paper['source']}", style="italic", highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for title in ("Control here", "Scaling here", "Performance here") if beside else ():
        table.add_column(title, justify="right", no_wrap=True)
    for row in paper["table"]:
        texts = [str(row.get(title, "")) for title in titles] + list(_figures(ours.get(row.get("series"))))
        table.add_row(*map(escape, texts))
    console.print(table)


def _figures(row: dict[str, Any] | None) -> tuple[str, ...]:
    if row is None:
        return ()
    scaling, best = figure_text(row["scaling"]), figure_text(row["performance"], 100, 1, "%")
    return figure_text(row["control"], 100, 0, "%"), scaling, best


def cost_line(cost: dict[str, Any]) -> str:
    """One sentence: what the cells cost alone, what their union costs, what this run decoded."""
    alone, together, ratio, run = (cost[k] for k in ("path_tokens_independent", "path_tokens_union", "sharing_ratio", "run"))
    text = f"Tokens: {alone:,} alone, {together:,} shared"
    text += f" ({ratio:.1f}x fewer)" if ratio else ""
    if run["decode_tokens"] is not None:
        text += f"; decoded now: {run['decode_tokens']:,}"
    return text + (f" in {run['wall_s']:.1f} s" if run["wall_s"] is not None else "")


def comparison_name(row: dict[str, Any], cells: list[dict[str, Any]]) -> str:
    """`b against a` in words that fit the kind of comparison, and the task where there are several."""
    a, b = (next(c for c in cells if c["cell_id"] == row[side]) for side in ("a", "b"))
    if row["kind"] == "reference":
        names = series_names(cells)
        text = f"{names[_group(b)]} against {names[_group(a)]}"
    elif row["kind"] == "extended":
        text = f"{b['series']}: end ignored {ignored_ends(b)}x against natural end"
    else:
        text = f"{a['series']}: budget {budget_label(b)} against {budget_label(a)}"
    return text + (f" ({row['task']})" if len({c["task"] for c in cells}) > 1 else "")


def _cells(records: list[dict[str, Any]]) -> Table:
    head, rows, left = cell_table(records)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for at, title in enumerate(head):
        if at < left or title == "means":
            table.add_column(title, overflow="fold")
        else:
            table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _pools(rows: list[dict[str, Any]], cells: list[dict[str, Any]]) -> Table:
    names = pool_names(cells)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("pool", overflow="fold")
    for title in ("k", *(POOL[name] + " % [95%]" for name in POOL)):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        figures = ("" if row[name] is None else figure_text(row[name], 100) for name in POOL)
        table.add_row(escape(names[row["cell_id"]]), str(row["k"]), *map(escape, figures))
    return table


def _metrics_line(row: dict[str, Any], summary: dict[str, Any]) -> str:
    name = series_names(summary["cells"])[_group(row)]
    scaling, best = row["scaling"], row["performance"]
    left_out = f", {scaling['n_pairs_left_out']} close pairs left out" if scaling["n_pairs_left_out"] else ""
    unit = {"percentage points per doubling": "points per doubling"}.get(scaling["unit"], scaling["unit"])
    return escape(
        f"{name} on {row['task']}:\n  Control      {figure_text(row['control'], 100, 0, '%')}\n"
        f"  Scaling      {figure_text(scaling)} {unit}{left_out}\n"
        f"  Fitted line  {figure_text(scaling['least_squares'])}\n"
        f"  Performance  {figure_text(best, 100, 1, '%')} (held out {figure_text(best['split_half'], 100, 1, '%')})"
    )


def _comparisons(rows: list[dict[str, Any]], cells: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("paired difference", overflow="fold")
    table.add_column("points [95%]", justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: list(KINDS).index(row["kind"])):
        difference = figure_text({"value": row["difference"], "ci95": row["ci95"]}, 100)
        table.add_row(escape(comparison_name(row, cells)), escape(difference))
    return table


def _group(record: dict[str, Any]) -> tuple[str, str, str]:
    return (record["task"], record["model"], record["series"])
