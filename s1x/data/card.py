"""The card of a built data set: what is in it and how it came about, from the rows alone (no dates, so it is reproducible)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import pyarrow as pa
from omegaconf import DictConfig, OmegaConf

from . import funnel
from .selection import shares

SHOWN = 25  # domains listed; the others are added up


def render(data: DictConfig, key: str, table: pa.Table, rows: list[funnel.Row]) -> str:
    """Markdown with the front matter that the hub reads."""
    settings = {k: v for k, v in OmegaConf.to_container(data, resolve=True).items() if k not in ("dir",) and v is not None}
    parts = [
        f"---\npretty_name: {data.name}\nconfigs:\n- config_name: default\n  data_files: train.parquet\n---",
        f"# {data.name}",
        f"{len(table):,} records, made by s1x: `python run.py stage=data data={data.name}` (key `{key}`).",
        "## How it was made",
        funnel.as_markdown(rows),
        "## What is in it",
        _counts("source", table["source"].to_pylist()),
    ]
    if table["domain"].null_count < len(table):
        parts.append(_counts("domain", [d or "(none)" for d in table["domain"].to_pylist()]))
    parts.append(_lengths(table))
    parts += ["## Settings", f"```yaml\n{OmegaConf.to_yaml(OmegaConf.create(settings))}```"]
    return "\n\n".join(parts) + "\n"


def _counts(title: str, values: Sequence[str]) -> str:
    counts = shares(values)
    lines = [f"| {title} | records |", "|---|---:|"]
    lines += [f"| {name} | {count:,} |" for name, count in list(counts.items())[:SHOWN]]
    if len(counts) > SHOWN:
        lines.append(f"| {len(counts) - SHOWN} others | {sum(list(counts.values())[SHOWN:]):,} |")
    return "\n".join(lines)


def _lengths(table: pa.Table) -> str:
    """Trace lengths: the `length` column where a step made one, else characters."""
    known = "length" in table.column_names
    values = table["length"].to_pylist() if known else [len(t or "") for t in table["thinking"].to_pylist()]
    if not values:
        return "No records."
    median, mean = statistics.median(values), statistics.fmean(values)
    unit = "as ranked" if known else "characters"
    return f"Trace length ({unit}): {min(values):,} to {max(values):,}, median {median:,.0f}, mean {mean:,.1f}."
