"""What is logged of a cell and of a sweep, and in which order. Whatever fails of it, the run comes to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ..cell import Cell
from ..files import read_json
from . import content, names, runs
from .thread import warn


def cell_run(cell: Cell, record: dict[str, Any]) -> None:
    """Log a finished cell, from its files, to a run of its own (job_type eval)."""
    config, most = runs.plain(cell.cfg) | {"overrides": cell.overrides}, cell.cfg.tracking.samples
    model = Path(cell.cfg.model.path).expanduser()
    if (model / "training.json").is_file():  # of ours: the folder is named as the training's run, whose id that is
        config["training"] = names.run_id(model.name)
    sweep = cell.sweep.absolute()
    alone = cell.directory == cell.sweep
    run = runs.start(
        cell.cfg, sweep, job_type="eval", name=str(record["cell_id"]), config=config, key=cell.directory.name, alone=alone
    )
    try:
        run.define_metric("*", step_metric="thinking_tokens")
        run.log(content.measures(record))
        run.summary.update(content.told(record))
        if rows := content.samples(cell.directory, most):
            run.log({"samples": content.table(rows, content.SAMPLE)})
        if made := content.model_artifact(model):
            content.use(run, made)
        run.log_artifact(content.cell_artifact(cell.directory, record, with_samples=most > 0))
    except Exception as error:
        warn(error)
    finally:
        runs.finish(run, sweep, "cell" if alone else "part")


def sweep_run(run: Any, cfg: DictConfig, summary: dict[str, Any], directory: Path) -> None:
    """Log a sweep to its open run, and end that."""
    try:
        _log_sweep(run, summary, directory, with_samples=cfg.tracking.samples > 0)
    except Exception as error:
        warn(error)
    finally:
        runs.finish(run, directory, "run")


def _log_sweep(run: Any, summary: dict[str, Any], directory: Path, *, with_samples: bool) -> None:
    about = {key: summary.get(key) for key in ("experiment", "command", "git", "versions")}
    run.config.update(about | nested(summary.get("settings") or {}), allow_val_change=True)
    rows = content.points(summary["cells"])
    for label in dict.fromkeys(row["label"] for row in rows):
        key = names.metric(label)  # its points, by themselves: W&B's own line plots need no table
        run.define_metric(f"{key}/thinking_tokens", summary="none", hidden=True)
        run.define_metric(f"{key}/*", step_metric=f"{key}/thinking_tokens", summary="none")
        for row in (row for row in rows if row["label"] == label):
            run.log({f"{key}/{name}": row[name] for name in content.measures(summary["cells"][0]) if row[name] is not None})
    tables = {"points": content.table(rows, content.COLUMNS)}
    tables |= {key: content.table(found, content.VOTES) for key, found in content.votes(summary).items()}
    if found := content.metrics(summary):
        tables["metrics"] = content.table(found, tuple(found[0]))
    run.log(tables)
    for figure in sorted(directory.glob("*.png")):  # those of the report: a sweep's directory holds no others
        run.log({figure.stem: runs.wandb().Image(str(figure))})
    run.summary.update(_summary(summary))
    cells = {record["cell_id"]: (path.parent, record) for path in directory.rglob("cell.json") if (record := read_json(path))}
    for place, record in list(cells.values())[: content.USED]:
        content.use(run, content.cell_artifact(place, record, with_samples=with_samples))
    run.log_artifact(content.sweep_artifact(directory, run.group, with_samples=with_samples))


def _summary(summary: dict[str, Any]) -> dict[str, Any]:
    """What a sweep comes to: its best cell, what each series measures, what it cost."""
    best = max(summary["cells"], key=lambda cell: cell["accuracy"])
    own = {"best": {"cell": best["cell_id"]} | content.measures(best), "cells": len(summary["cells"]), "cost": summary["cost"]}
    own |= {f"{m['model']}/{m['task']}/{m['series']}": m for m in summary["metrics"]}
    return content.flat(own)


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`, which is how a job's configuration has it."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        *above, last = key.split(".")
        node = found
        for part in above:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                break
        else:
            node[last] = value
    return found
