"""Short names for cells in tables, the figure and the page."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .load import ignored_ends

HIDDEN = ("ignore_end", "max_thinking_tokens", "model", "task", "method")  # in columns of their own


def series_names(records: list[dict[str, Any]]) -> dict[tuple[str, str, str], str]:
    """A name per (task, model, series): the series for the model of most cells, the model for another one's only series.

    Of a model with several series the model is named, too, where another model has the same.
    """
    main = Counter(r["model"] for r in records).most_common(1)[0][0]
    of_model = {model: {r["series"] for r in records if r["model"] == model} for model in {r["model"] for r in records}}
    models = Counter(series for of in of_model.values() for series in of)
    names = {}
    for r in records:
        model, series = r["model"], r["series"]
        if model == main:
            name = series
        elif len(of_model[model]) == 1:
            name = model
        else:
            name = series if models[series] == 1 else f"{series} ({model})"
        names[(r["task"], model, series)] = name
    return names


def cell_labels(records: list[dict[str, Any]]) -> list[str]:
    """What tells a cell from the others beside series, budget and ignored ends: overrides that not all cells share."""
    sets = [set(r.get("overrides") or []) for r in records]
    common = set.intersection(*sets) if len(sets) > 1 else set()
    labels = []
    for record in records:
        own = [_short(o) for o in record.get("overrides") or [] if o not in common]
        labels.append(", ".join(o for o in own if o.split("=")[0] not in HIDDEN and not _in_series(o, record["series"])))
    return labels


def notes(record: dict[str, Any]) -> str:
    """What the method itself counted, as means: `tries 11.4, exhausted 0.16`."""
    return ", ".join(f"{key.replace('_', ' ')} {value:,.4g}" for key, value in (record.get("info") or {}).items())


def cell_table(records: list[dict[str, Any]]) -> tuple[list[str], list[list[str]], int]:
    """(head, rows, how many of the first columns are names) of the table of cells, for the terminal and for Markdown."""
    names, labels = series_names(records), cell_labels(records)
    tasks, settings, noted = len({r["task"] for r in records}) > 1, any(labels), any(map(notes, records))
    head = ["task"] * tasks + ["cell"] + ["settings"] * settings
    left = len(head)
    head += ["budget", "Wait", "accuracy % [95%]", "thinking", "forced %", "no answer", *["means"] * noted]
    rows = []
    for r, label in zip(records, labels, strict=True):
        accuracy = figure_text({"value": r["accuracy"], "ci95": r["accuracy_ci95"]}, 100)
        rows.append([
            *[r["task"]] * tasks, names[r["task"], r["model"], r["series"]], *[label] * settings, budget_label(r),
            str(ignored_ends(r) or "-"), accuracy, f"{r['thinking_tokens']['mean']:,.0f}",
            f"{100 * r['forced_end_rate']:.1f}", f"{100 * r['no_answer_rate']:.1f}%", *[notes(r)] * noted,
        ])  # fmt: skip
    return head, rows, left


def pool_names(records: list[dict[str, Any]]) -> dict[str, str]:
    """What a cell of votes is called, by cell id: series, settings, and the budget of each vote."""
    names, found = series_names(records), {}
    for r, label in zip(records, cell_labels(records), strict=True):
        budget = "" if r.get("budget") is None else f"budget {budget_label(r)} each"
        found[r["cell_id"]] = ", ".join(filter(None, (names[r["task"], r["model"], r["series"]], label, budget)))
    return found


def budget_label(record: dict[str, Any]) -> str:
    return "-" if record.get("budget") is None else f"{record['budget']:,}"


def point_label(record: dict[str, Any]) -> str:
    """What stands beside a point: how often the end was ignored, else the budget."""
    ignored = ignored_ends(record)
    return f"{ignored}x" if ignored else ("" if record.get("budget") is None else budget_label(record))


def figure_text(figure: dict[str, Any], scale: float = 1, digits: int = 1, unit: str = "") -> str:
    """`12.3 [10.1, 14.0]` of a {value, ci95}; a dash when it is not defined."""
    if figure["value"] is None:
        return "-"
    text = f"{scale * figure['value']:.{digits}f}{unit}"
    if figure.get("ci95"):
        text += " [{:.{d}f}, {:.{d}f}]".format(*(scale * v for v in figure["ci95"]), d=digits)
    return text


def _short(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{key.lstrip('+').split('.')[-1]}={value}"


def _in_series(override: str, series: str) -> bool:
    """Words and switches that are not the default are part of the series' name already."""
    value = override.partition("=")[2]
    return override in series or (not value.isdigit() and value in series)
