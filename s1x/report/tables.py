"""Every table of s1x, described once: its columns, its rows as values, its notes. render.py writes them out.

    tables = {table.name: table for table in of_summary(summary)}

A column that says the same in every row is not shown but said once, in a note.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..metrics.significance import ALPHA, DIFFERING, FEW, POWER
from ..metrics.variance import HELPS
from .labels import (
    COMPARED,
    cell_labels,
    cell_names,
    comparison_namer,
    figure_text,
    group,
    ignored_ends,
    in_words,
    pool_names,
    series_names,
)

NOTHING = "-"
POOL = {
    "maj": "maj@k", "pass": "pass@k", "best": "best of k", "weighted": "weighted", "shortest": "shortest",
    "reward_best": "best by reward", "reward_weighted": "weighted by reward", "mgpass": "mG-Pass@k", "gpass_all": "G-Pass@k(1)",
    "gpass_half": "G-Pass@k(0.5)", "bayes": "Bayes@N",
}  # fmt: skip
READERS = {  # of answers, where it was not the rules
    "judge": "judged", "judge_changed": "judged right", "judge_failed": "no verdict", "not_graded": "not graded",
}  # fmt: skip
OBEDIENCE = {"error": "length error %", "within_20": "length within 20%, %"}  # where the prompt names a number of tokens
WRITTEN: dict[str, Callable[[Any], str]] = {  # how a column's values are written; a value that is not there is a dash
    "text": str,
    "value": str,
    "count": lambda v: f"{v:,}",
    "tokens": lambda v: f"{v:,.0f}",
    "mean": lambda v: f"{v:,.4g}",
    "millions": lambda v: f"{v / 1e6:.2f}M",
    "gigabytes": lambda v: f"{v:,.1f}",
    "share": lambda v: f"{100 * v:.1f}",
    "p": lambda v: "<0.001" if v < 0.001 else f"{v:.3f}",
    "hours": lambda v: f"{v:.2f}",
    "percent": lambda v: figure_text(v, 100),
    "whole percent": lambda v: figure_text(v, 100, 0),
    "points": figure_text,
    "difference": lambda v: figure_text(v, 100, sign="+"),
}


@dataclass(frozen=True)
class Column:
    """`kind` is one of WRITTEN. `always`: shown even where it does not vary. `key`: says which row it is. On a terminal that is
    too narrow the columns of the highest `rank` are the first to stand in a part of their own, beside the keys again."""

    title: str
    kind: str = "text"
    always: bool = False
    rank: int = 0
    key: bool = False

    @property
    def left(self) -> bool:
        return self.kind == "text"

    def write(self, value: Any) -> str:
        return NOTHING if value is None or value == "" else WRITTEN[self.kind](value)

    def tone(self, value: Any) -> str:
        """ "up" or "down" for a difference whose interval lies wholly on one side of zero."""
        if self.kind != "difference" or not value or not value["ci95"]:
            return ""
        low, high = value["ci95"]
        return "up" if low > 0 else "down" if high < 0 else ""


@dataclass(frozen=True)
class Table:
    """Rows hold a value for every column: text, a number, a figure {value, ci95}, or None."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = field(default_factory=tuple)

    @cached_property
    def shown(self) -> list[int]:
        """Places of the columns that say something of their own."""
        return [at for at, column in enumerate(self.columns) if column.always or self._varies(at)]

    def remarks(self) -> list[str]:
        """What stands below: what every row has alike, and the notes."""
        hidden = [(column, column.write(self.rows[0][at])) for at, column in enumerate(self.columns) if at not in self.shown]
        said = ", ".join(f"{column.title} {text}" for column, text in hidden if text != NOTHING)
        return ([f"In every row: {said}."] if said else []) + list(self.notes)

    def _varies(self, at: int) -> bool:
        texts = {self.columns[at].write(row[at]) for row in self.rows}
        return len(texts) > 1 or len(self.rows) == 1 and texts != {NOTHING}  # a row alone has nothing to vary from


def of_summary(summary: dict[str, Any]) -> list[Table]:
    """The tables of a sweep's summary.json that have rows, in their order."""
    records = summary["cells"]
    found = [
        cells(records),
        metrics(summary["metrics"], records),
        pools(summary["pools"], records),
        variance(summary["variance"], records),
        comparisons(summary["comparisons"], records),
        *([equal_cost(at_equal, records), budgets(at_equal, records)] if (at_equal := summary["equal_cost"]) else []),
        ablation(summary["ablation"]),
    ]
    if summary.get("target"):
        from .target import table  # which is made of what is here

        found.append(table(summary["target"], records))
    return [table for table in found if table.rows]


def cells(records: list[dict[str, Any]]) -> Table:
    columns = [
        *WHICH, Column("accuracy % [95%]", "percent", always=True), Column("thinking", "tokens", always=True),
        Column("answer", "tokens", rank=5), Column("forced %", "share", rank=2), Column("no answer %", "share", rank=1),
        *(Column(title, "share", rank=3) for title in OBEDIENCE.values()),
        *(Column(title, "count", rank=3) for title in READERS.values()), Column("decoded alone", "count", rank=6),
        Column("scored alone", "count", rank=6), Column("questions", "count", rank=4), Column("samples each", "count", rank=4),
    ]  # fmt: skip
    counted = list(dict.fromkeys(key for r in records for key in r.get("info") or {}))  # by methods, as means
    columns += [Column(key.replace("_", " "), "mean", rank=4) for key in counted]
    rows = [
        [
            *which, {"value": r["accuracy"], "ci95": r["accuracy_ci95"]}, r["thinking_tokens"]["mean"],
            r["answer_tokens"]["mean"], r["forced_end_rate"], r["no_answer_rate"],
            *((r.get("obedience") or {}).get(key) for key in OBEDIENCE),
            *((r.get("graded_by") or {}).get(key) or None for key in READERS), r["path_tokens"],
            r.get("scored_tokens") or None, r.get("n_questions"),
            each if (each := r.get("samples_per_question") or 1) > 1 else None,
            *((r.get("info") or {}).get(key) for key in counted),
        ]
        for r, which in zip(records, which_cell(records), strict=True)
    ]  # fmt: skip
    return Table("cells", columns, rows)


WHICH = (
    Column("task", key=True), Column("cell", always=True, key=True), Column("settings", key=True),
    Column("budget", "count", key=True), Column("Wait", "count", key=True),
)  # fmt: skip


def which_cell(records: list[dict[str, Any]]) -> list[list[Any]]:
    """The values of WHICH: what tells a cell from the others."""
    names, labels = series_names(records), cell_labels(records)
    return [
        [r["task"], names[group(r)], label, r.get("budget"), ignored_ends(r) or None]
        for r, label in zip(records, labels, strict=True)
    ]


def metrics(rows: list[dict[str, Any]], records: list[dict[str, Any]]) -> Table:
    """Control, Scaling and Performance of the series that have several points; of one point they say nothing new. Beside them
    the errors of an instructed length, where there is one."""
    columns = [
        Column("series", always=True, key=True), Column("task", key=True), Column("points", "count", rank=3),
        Column("Control %", "whole percent", always=True), Column("Scaling", "points", always=True),
        Column("least squares", "points", rank=2), Column("Theil-Sen", "points", rank=3),
        Column("pairs left out", "count", rank=4),
        Column("Performance %", "percent", always=True), Column("held out %", "percent", rank=1),
        Column("longest against best", "difference", rank=2), Column("its p (Holm)", "p", rank=3),
        *(Column(title, "percent", rank=1) for title in OBEDIENCE.values()),
    ]  # fmt: skip
    names = series_names(records)
    values = [
        [
            names[group(row)], row["task"], row["n_points"], row["control"], row["scaling"], row["scaling"]["least_squares"],
            row["scaling"]["theil_sen"], row["scaling"]["n_pairs_left_out"] or None, row["performance"],
            row["performance"]["split_half"], *_longest(row), *((row.get("obedience") or {}).get(key) for key in OBEDIENCE),
        ]
        for row in rows
        if row["n_points"] > 1
    ]  # fmt: skip
    units = ", ".join(dict.fromkeys(row["scaling"]["unit"] for row in rows))
    notes = [f"Scaling, least squares and Theil-Sen: {units}."]
    if any(row.get("longest") for row in rows):
        notes.append("Longest against best: the point that thinks longest less the best, chosen on other questions.")
    tokens = {r["cell_id"]: r["thinking_tokens"]["mean"] for r in records}
    for row in (row for row in rows if row["scaling"]["close_pair"]):
        pair = row["scaling"]["close_pair"]
        a, b = (f"{tokens[cell]:,.0f}" for cell in pair["cells"])
        notes.append(
            f"Scaling of {names[group(row)]} hangs on one pair: the cells of {a} and {b} thinking tokens, "
            f"{pair['doublings']:.2f} doublings apart, move it by up to {pair['moves']:.1f}, more than half the width of the "
            f"interval without this pair ({pair['rest']:.1f}). Rather read least squares and Theil-Sen."
        )
    return Table("metrics", columns, values, notes)


def _longest(row: dict[str, Any]) -> list[Any]:
    """The point that thinks longest against the best one, and whether that holds."""
    found = row.get("longest")
    return [_difference(found), found["p_holm"]] if found else [None, None]


def pools(rows: list[dict[str, Any]], records: list[dict[str, Any]]) -> Table:
    names = pool_names(records)
    columns = [Column("pool", key=True), Column("k", "count", always=True, key=True)]
    columns += [Column(f"{title} %", "percent", always=rank < 2, rank=rank) for rank, title in enumerate(POOL.values())]
    columns.append(Column("wrong longer by, tokens", "points", rank=len(POOL)))
    told = [[names[row["cell_id"]], row["k"], *(row[name] for name in POOL), row.get("wrong_longer")] for row in rows]
    return Table("pools", columns, told)


def variance(rows: list[dict[str, Any]], records: list[dict[str, Any]]) -> Table:
    """Where the variance of accuracies comes from, and whether more samples would help."""
    columns = [
        Column("accuracy of", always=True), Column("samples", "mean"), Column("between questions %", "share", always=True),
        Column("twice the samples: narrower by %", "share", rank=1), Column("endlessly many: by %", "share", rank=1),
    ]  # fmt: skip
    names, notes = cell_names(records), []
    for helps, sentence in ((False, "More samples will not help"), (True, "More samples would help")):
        if of := [row for row in rows if (row["narrowest"] > HELPS) == helps]:
            listed, shares = "; ".join(names[row["cell_id"]] for row in of), _range([row["share_between"] for row in of])
            notes.append(f"{sentence} {listed}: {shares}% of the variance is between questions.")
    keys = ("samples", "share_between", "narrower", "narrowest")
    return Table("variance", columns, [[names[row["cell_id"]], *(row[key] for key in keys)] for row in rows], notes)


TESTED = (
    Column("p", "p", rank=2), Column("p (Holm)", "p", rank=1), Column("holds", "value"),
    Column("detectable", "share", rank=3),
)  # fmt: skip


def comparisons(rows: list[dict[str, Any]], records: list[dict[str, Any]], steps: bool = False) -> Table:
    """Paired differences; those between neighbouring budgets (`steps`) are a table of their own, for those who ask."""
    name, order = comparison_namer(records), list(COMPARED)
    kept = sorted((row for row in rows if (row["kind"] == "step") == steps), key=lambda row: order.index(row["kind"]))
    columns = [
        Column("paired difference", always=True), Column("questions", "count", rank=1),
        Column("points [95%]", "difference", always=True), *TESTED,
    ]  # fmt: skip
    values = [[name(r), r["n_questions"], _difference(r), *_tested(r)] for r in kept]
    return Table("steps" if steps else "comparisons", columns, values, _verdicts(kept))


HALVES = "Chosen on one half of the questions and measured on the other, both ways; what the halves choose stands there."
COSTS = {"thinking_tokens": "thinking tokens", "path_tokens": "decoded tokens", "flops": "FLOPs"}


def equal_cost(found: dict[str, Any], records: list[dict[str, Any]]) -> Table:
    """Cells against the best of the baseline's that cost at most as much."""
    columns = [
        *WHICH, Column(COSTS[found["x"]], cost_kind(found), always=True, rank=1),
        Column(f"best of {found['baseline']}", rank=2), Column("its %", "share", rank=3),
        Column("points [95%]", "difference", always=True), *TESTED,
    ]  # fmt: skip
    which = {r["cell_id"]: values for r, values in zip(records, which_cell(records), strict=True)}
    names = cell_names(records, series=False)
    values = [
        [
            *which[row["cell_id"]], row["cost"], both(row["chosen"], names), row["baseline_accuracy"], _difference(row),
            *_tested(row),
        ]
        for row in found["cells"]
    ]  # fmt: skip
    note = f"Against the best cell of {found['baseline']} that takes at most as many {COSTS[found['x']]}, where there is one."
    return Table("equal cost", columns, values, [f"{note} {HALVES}", *_verdicts(found["cells"])])


def budgets(found: dict[str, Any], records: list[dict[str, Any]]) -> Table:
    """The best series at at most a cost."""
    columns = [
        Column("task", key=True), Column(f"{COSTS[found['x']]}, at most", cost_kind(found), always=True, key=True),
        Column("best series", always=True), Column("cells", rank=3), Column("accuracy % [95%]", "percent", always=True),
        Column("next", rank=2), Column("lead, points [95%]", "difference", always=True), *TESTED,
    ]  # fmt: skip
    series, names = series_names(records), cell_names(records, series=False)
    of = {r["cell_id"]: series[group(r)] for r in records}
    values = [
        [
            row["task"], row["budget"], both(row["cells"], of), both(row["cells"], names), row["accuracy"],
            both(row["others"], of), _difference(row), *_tested(row),
        ]
        for row in found["budgets"]
    ]  # fmt: skip
    return Table("budgets", columns, values, [HALVES, *_verdicts(found["budgets"])])


def _tested(row: dict[str, Any]) -> list[Any]:
    """The values of TESTED."""
    holds = None if row["p_holm"] is None else "yes" if row["p_holm"] < ALPHA else "no"
    return [row["p"], row["p_holm"], holds, row["smallest_difference"]]


def _verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What stands below a table of paired differences."""
    compared = [row for row in rows if row["p"] is not None]
    if not compared:
        return []
    held, least = sum(row["p_holm"] < ALPHA for row in compared), _range([row["smallest_difference"] for row in compared], 1)
    exact = sum(row["p_mcnemar"] is not None for row in compared)
    test = "exact McNemar test" if exact else "bootstrap"
    if any(row["p"] > row["p_mcnemar"] for row in compared if row["p_mcnemar"] is not None):
        test = "the larger of bootstrap and exact McNemar test"  # where cells were chosen first (metrics/crossfit.py)
    elif 0 < exact < len(compared):
        test += f" below {FEW} questions or {DIFFERING} that differ, else bootstrap"
    return [
        f"p: {test}. After Holm's correction {held} of {len(compared)} differences hold at {ALPHA}.",
        f"Smallest true difference that would be found ({100 * POWER:.0f}% power, alpha {ALPHA}): {least} points.",
    ]


def _range(shares: Sequence[float], digits: int = 0) -> str:
    """From the least to the most, in percent."""
    return " to ".join(dict.fromkeys(f"{100 * share:.{digits}f}" for share in (min(shares), max(shares))))


def both(ids: Sequence[str] | None, names: dict[str, str]) -> str | None:
    """What was chosen on either half, once where it is the same."""
    return " / ".join(dict.fromkeys(names[cell] for cell in ids)) if ids else None


def cost_kind(found: dict[str, Any]) -> str:
    return "mean" if found["x"] == "flops" else "tokens"


def ablation(rows: list[dict[str, Any]]) -> Table:
    """One row per trained model; of every benchmark accuracy, difference to the first model, and thinking tokens."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    columns = [
        Column("trained model", always=True), Column("examples", "count", rank=2), Column("cut %", "share", rank=3),
        Column("seeds", "count", rank=4),
    ]  # fmt: skip
    for task in tasks:
        columns += [
            Column(f"{task} %", "share", always=True), Column("difference [95%]", "difference", always=True),
            Column("p (Holm)", "p", rank=2), Column("thinking", "tokens", rank=1),
        ]  # fmt: skip
    columns += [Column("trained on", "millions", rank=5), Column("device hours", "hours", rank=6)]
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = {row["task"]: row for row in rows if row["model"] == model}
        first = next(iter(own.values()))
        line = [model, first["examples"], first["cut_share"], first["seeds"]]
        for row in map(own.get, tasks):
            line += [row["accuracy"], _difference(row), row["p_holm"], row["thinking_tokens"]] if row else [None] * 4
        lines.append([*line, first["tokens"], first["device_hours"]])
    note = f"Differences are to {rows[0]['model']}, in points, over questions and training seeds." if rows else ""
    return Table("ablation", columns, lines, [note, *_verdicts(rows)])


def published(paper: dict[str, Any], metrics: list[dict[str, Any]] = ()) -> Table:
    """The table of a paper.yaml; a row that names a series of one task and model here gets its figures beside."""
    ours = [row for row in metrics if row["n_points"] > 1]
    keys = [key for key in dict.fromkeys(key for row in paper["table"] for key in row) if key != "series"]
    columns = [Column(key, _kind(row.get(key) for row in paper["table"]), always=True) for key in keys]
    columns += [
        Column("Control here", "whole percent"), Column("Scaling here", "points"), Column("Performance here", "percent"),
    ]  # fmt: skip
    rows = []
    for row in paper["table"]:
        named = [one for one in ours if one["series"] == row.get("series") and row.get("task") in (None, one["task"])]
        own = named[0] if len(named) == 1 else None
        told = (in_words(row[key]) if key == "series" and key in row else row.get(key) for key in keys)
        rows.append([*told, *(own[name] if own else None for name in METRICS)])
    note = f"Published: {'. '.join(filter(None, (paper['source'], paper['note'].rstrip('.'))))}."
    return Table("published", columns, rows, [note])


METRICS = ("control", "scaling", "performance")


def published_points(rows: list[dict[str, Any]]) -> Table:
    """Control, Scaling and Performance from the published points (paper.published_metrics)."""
    columns = [
        Column("task", key=True), Column("series", always=True, key=True), Column("points", "count"),
        Column("Control %", "whole percent", always=True), Column("Scaling", "points", always=True),
        Column("Performance %", "percent", always=True),
    ]  # fmt: skip
    values = [
        [row["task"], in_words(row["series"]), row["n_points"], *({"value": row[name]} for name in METRICS)] for row in rows
    ]
    return Table("published points", columns, values)


def _difference(row: dict[str, Any]) -> dict[str, Any] | None:
    return None if row["difference"] is None else {"value": row["difference"], "ci95": row["ci95"]}


def _kind(values: Any) -> str:
    """Published numbers stand to the right, words to the left."""
    return "value" if all(v is None or isinstance(v, int | float) or str(v)[:1].isdigit() for v in values) else "text"
