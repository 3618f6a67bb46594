"""Short names for cells in tables, the figure and the page, from what was set and what the method declared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

Record = dict[str, Any]
COMPARED = {  # kinds of comparisons, in the order of their table
    "runs": "second run - first run",
    "step": "next budget - budget",
    "ends": "largest budget - smallest",
    "extended": "ignored end - natural end",
    "reference": "other model or method - reference",
}
ROOMS = ("method", "sampling", "seed", "train", "data", "task", "chat", "engine", "distributed")  # told apart by first


def complete(record: Record) -> Record:
    """The record with `settings` and `declared`; for one that does not say them, what its measurements say."""
    limits = record.get("limit_tokens") or [None, None]
    measured = {"limits": limits, "ignored_ends": round(record.get("waits_mean") or 0), "relative": None, "free": False}
    measured["instructed"] = None
    return record | {"settings": record.get("settings") or {}, "declared": record.get("declared") or measured}


def group(record: Record) -> tuple[str, str, str]:
    """The series a cell belongs to: (task, model, series)."""
    return record["task"], record["model"], record["series"]


def ignored_ends(record: Record) -> int:
    """How often the cell ignores the end of thinking ("Wait")."""
    return record["declared"]["ignored_ends"]


def series_title(record: Record) -> str:
    """A series in people's words: "majority voting (budget forcing)"; with its method's, where they are declared."""
    return in_words((record.get("declared") or {}).get("title") or record["series"])


def in_words(name: str) -> str:
    """A name of code as people write it, which can be parted between lines."""
    return re.sub(r"\s*\(", " (", name.replace("_", " "))


def series_names(records: list[Record], title: Callable[[Record], str] = series_title) -> dict[tuple[str, str, str], str]:
    """A name per (task, model, series): the series for the model of most cells, the model for another one's only series.

    Of a model with several series the model is named, too, where another model has the same; and no model is passed over where
    several have the same series and equally many cells. title: what a series is called.
    """
    (main, most), *others = Counter(r["model"] for r in records).most_common()
    first = not others or others[0][1] < most
    of_model = {model: {r["series"] for r in records if r["model"] == model} for model in {r["model"] for r in records}}
    models = Counter(series for of in of_model.values() for series in of)
    names = {}
    for r in records:
        model, series = r["model"], r["series"]
        if model == main and (first or models[series] == 1):
            name = title(r)
        elif len(of_model[model]) == 1:
            name = model
        else:
            name = title(r) if models[series] == 1 else f"{title(r)} ({model})"
        names[group(r)] = name
    called: dict[str, set[tuple[str, str]]] = {}
    for (_, model, series), name in names.items():
        called.setdefault(name, set()).add((model, series))
    alike = {name for name, of in called.items() if len(of) > 1}  # in words: they keep their own names
    return {own: f"{own[2]} ({own[1]})" if name in alike else name for own, name in names.items()}


def named_series(records: list[Record], wanted: str) -> str | None:
    """What tables call the series that somebody asks for, by that name or by its own; None where there is none."""
    names = series_names(records)
    whole = {r["parted"]: names[group(r)] for r in reversed(records) if "parted" in r}  # by what was one: the first of them
    whole |= {in_words(name): called for name, called in whole.items()}
    called = whole | {typed: names[key] for key, typed in _typed(records).items()} | {name: name for name in names.values()}
    return called.get(wanted) or called.get(in_words(wanted))


def known_series(records: list[Record]) -> str:
    """The names by which a command may ask for a series, listed."""
    return ", ".join(sorted(set(_typed(records).values())))


def _typed(records: list[Record]) -> dict[tuple[str, str, str], str]:
    return series_names(records, lambda record: record["series"])


def cell_labels(records: list[Record]) -> list[str]:
    """What tells a cell from the others where series, budget and ignored ends do not: as few settings as will do."""
    said = [r for r in records if r["settings"]]
    told = [(*group(r), r.get("budget"), ignored_ends(r)) for r in said]
    picked: list[str] = []
    for key in sorted(varying(records), key=_room):
        finer = [(*t, _text(r["settings"].get(key))) for t, r in zip(told, said, strict=True)]
        if len(set(finer)) > len(set(told)):
            told = finer
            picked.append(key)
    leaves = Counter(key.rpartition(".")[2] for key in picked)
    short = {key: leaf if leaves[leaf := key.rpartition(".")[2]] == 1 else key for key in picked}
    return [", ".join(_said(r, k, short[k]) for k in picked if k in r["settings"]) for r in records]


def varying(records: Iterable[Record]) -> list[str]:
    """Keys of `settings` that are not the same in all records that say theirs, in the order of their first appearance."""
    every = [r["settings"] for r in records if r["settings"]]
    return [key for key in dict.fromkeys(key for s in every for key in s) if any(_differs(s, every[0], key) for s in every)]


def parted(record: Record, keys: list[str]) -> Record:
    """The record in a series of its own, by what these settings say."""
    own = ", ".join(_said(record, key, key.rpartition(".")[2]) for key in keys if key in record["settings"])
    title = f"{series_title(record)} ({own})"
    declared = record["declared"] | {"title": title}
    return record | {"series": f"{record['series']} ({own})", "parted": record["series"], "declared": declared}


def pool_names(records: list[Record]) -> dict[str, str]:
    """What a cell of votes is called, by cell id: series, settings, and the budget of each vote."""
    names, found = series_names(records), {}
    for r, label in zip(records, cell_labels(records), strict=True):
        budget = "" if r.get("budget") is None else f"budget {budget_label(r)} each"
        found[r["cell_id"]] = ", ".join(filter(None, (names[group(r)], label, budget)))
    return found


def cell_names(records: list[Record], series: bool = True) -> dict[str, str]:
    """What a cell is called, by cell id: its series (or not), budget, ignored ends and settings; never nothing."""
    names, found = series_names(records), {}
    for r, label in zip(records, cell_labels(records), strict=True):
        budget = "" if r.get("budget") is None else f"budget {budget_label(r)}"
        ends = f"end ignored {ignored_ends(r)}x" if ignored_ends(r) else ""
        own = ", ".join(filter(None, (budget, ends, label)))
        found[r["cell_id"]] = ", ".join(filter(None, (names[group(r)], own))) if series or not own else own
    return found


def comparison_namer(records: list[Record]) -> Callable[[dict[str, Any]], str]:
    """Names comparisons: `b against a` in words that fit their kind, and the task where there are several."""
    names, by_id, tasks = series_names(records), {r["cell_id"]: r for r in records}, {r["task"] for r in records}
    cells, labels = Counter(map(group, records)), dict(zip(by_id, cell_labels(records), strict=True))

    def one(r: Record) -> str:
        """A series, and which of its cells."""
        ends = f"end ignored {ignored_ends(r)}x" if ignored_ends(r) else ""
        point = f"budget {budget_label(r)}" if r.get("budget") is not None else ends or labels[r["cell_id"]]
        return f"{names[group(r)]}, {point}" if cells[group(r)] > 1 and point else names[group(r)]

    def name(row: dict[str, Any]) -> str:
        a, b = by_id[row["a"]], by_id[row["b"]]
        if row["kind"] == "runs":
            budget = "" if b.get("budget") is None else f"budget {budget_label(b)}"
            point = ", ".join(filter(None, (budget, ignored_ends(b) and f"end ignored {ignored_ends(b)}x")))
            text = f"{names[group(b)]} against {names[group(a)]}" + (f": {point}" if point else "")
        elif row["kind"] == "reference":
            text = f"{one(b)} against {one(a)}"
        elif row["kind"] == "extended":
            text = f"{names[group(b)]}: end ignored {ignored_ends(b)}x against natural end"
        else:
            budget = "no budget" if b.get("budget") is None else f"budget {budget_label(b)}"
            text = f"{names[group(a)]}: {budget} against {budget_label(a)}"
        return text + (f" ({row['task']})" if len(tasks) > 1 else "")

    return name


def budget_label(record: Record) -> str:
    return "-" if record.get("budget") is None else f"{record['budget']:,}"


def point_labels(records: list[Record]) -> dict[str, str]:
    """What stands beside a cell's point, by cell id: how often the end was ignored or the budget, and what else is its own; the
    only cell of a series has nothing to say beside its name."""
    found, alone = {}, Counter(map(group, records))
    for r, label in zip(records, cell_labels(records), strict=True):
        ignored = ignored_ends(r)
        point = f"{ignored}x" if ignored else "" if r.get("budget") is None else budget_label(r)
        free = "no budget" if (r.get("forced_end_rate") or 0) >= 0.5 else "natural end"
        own = ", ".join(filter(None, (point, label))) or free
        found[r["cell_id"]] = "" if alone[group(r)] == 1 and not ignored else own
    return found


def figure_text(figure: dict[str, Any], scale: float = 1, digits: int = 1, unit: str = "", sign: str = "") -> str:
    """`12.3 [10.1, 14.0]` of a {value, ci95}; a dash when it is not defined."""
    if figure["value"] is None:
        return "-"
    text = f"{scale * figure['value']:{sign}.{digits}f}{unit}"
    if figure.get("ci95"):
        text += " [{:{s}.{d}f}, {:{s}.{d}f}]".format(*(scale * v for v in figure["ci95"]), s=sign, d=digits)
    return text


def cost_line(cost: dict[str, Any]) -> str:
    """One sentence: what the cells cost alone, what their union costs, what this run decoded."""
    alone, together, ratio, run = (cost[k] for k in ("path_tokens_independent", "path_tokens_union", "sharing_ratio", "run"))
    if alone is None:
        return "Tokens: not known"
    text = f"Tokens: {alone:,} alone, {together:,} shared"
    text += f" ({ratio:.1f}x fewer)" if ratio else ""
    if run["decode_tokens"] is not None:
        text += f"; decoded here: {run['decode_tokens']:,}"
    return text + (f" in {run['wall_s']:.1f} s" if run["wall_s"] is not None else "")


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:,.1f} h"


def size_text(size: float) -> str:
    """Bytes as people say them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.{0 if size >= 10 or unit == 'bytes' else 1}f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _differs(settings: dict[str, Any], first: dict[str, Any], key: str) -> bool:
    return (key in settings) != (key in first) or settings.get(key) != first.get(key)


def _said(record: Record, key: str, short: str) -> str:
    """A setting in its method's words, else by its name; switches and what is not set in plain words."""
    value = record["settings"][key]
    if said := (record["declared"].get("words") or {}).get(key):
        return said
    name = short.replace("_", " ")
    return f"no {name}" if value is None or value is False else name if value is True else f"{name}={_text(value)}"


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _room(key: str) -> int:
    """Settings of a room without a place of its own (a model's path) tell cells apart last."""
    room = key.partition(".")[0]
    return ROOMS.index(room) if room in ROOMS else len(ROOMS)
