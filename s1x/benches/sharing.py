"""What sharing saves: the cells of a sweep together, then each alone with an empty store, and whether both agree.

    python run.py +experiment=bench_sharing

Both ways run in one process, after one question that pays for the imports; loading models and tasks and grading count in
both. Writes `sharing.json`; cells, report and figure are those of the shared run.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..cell import Cell
from ..engines.build import needs_model
from ..evaluation.cells import OnDone
from ..stages import evaluate as stage


def run(cfg: DictConfig) -> None:
    """Both ways of the one cell of an ordinary Hydra job."""
    cell = Cell.of_job(cfg)
    evaluate([cell], cell.sweep, _raise)


def evaluate(cells: list[Cell], sweep: Path, on_done: OnDone) -> None:
    """Run `cells` both ways and compare tokens, wall time and traces (see the module)."""
    with tempfile.TemporaryDirectory() as scratch:
        warm = _with_store(cells[0], Path(scratch) / "warm", Path(scratch) / "warm")
        warm.cfg.task.limit = 1
        stage.evaluate([warm], warm.directory, _raise)
        shared = [_with_store(cell, Path(scratch) / "shared", cell.directory) for cell in cells]
        stage.evaluate(shared, sweep, on_done)
        together = _run(sweep)
        alone = []
        for number, cell in enumerate(cells):
            place = Path(scratch) / str(number)
            stage.evaluate([_with_store(cell, place / "store", place)], place, _raise)
            alone.append(_run(place) | _compare(cell.directory, place))
    figures = summarise(together, alone, sweep)
    figures["ties"] = [d for a in alone for d in a["differences"]]
    (sweep / "sharing.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    show(figures)


def _with_store(cell: Cell, store: Path, directory: Path) -> Cell:
    cfg: DictConfig = cell.cfg.copy()
    cfg.store.dir, cfg.tracking.mode = str(store), "disabled"
    return replace(cell, cfg=cfg, directory=directory)


def _raise(cell: Cell, outcome: Any) -> None:
    stage.accuracy(outcome)


def _run(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "run.json").read_text(encoding="utf-8"))


def _compare(one: Path, other: Path) -> dict[str, Any]:
    """Traces of a cell run in two ways: how many there are, and where they first differ."""
    config = OmegaConf.load(one / ".hydra" / "config.yaml")
    rows = zip(_rows(one), _rows(other), strict=True)
    differences, questions = [], 0
    for a, b in rows:
        questions += 1
        left, right = ([i for s in row["segments"] for i in s["ids"]] for row in (a, b))
        if left != right:
            at = next((i for i, (x, y) in enumerate(zip(left, right)) if x != y), min(len(left), len(right)))
            gap = _gap(config, a["arguments"]["gen_args_0"]["arg_0"], left, right, at)
            differences.append({"job": one.name, "doc_id": a["doc_id"], "at": at, "logit_gap": gap})
    return {"traces": questions, "differences": differences}


def _rows(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in next(directory.glob("samples_*.jsonl")).read_text(encoding="utf-8").splitlines()]


def _gap(config: DictConfig, question: str, left: list[int], right: list[int], at: int) -> float | None:
    """Difference of the two tokens' logits in float64 where two greedy traces part: next to nothing for a tie."""
    if not needs_model(config.engine) or at >= min(len(left), len(right)):
        return None
    import torch
    from transformers import AutoModelForCausalLM

    from ..evaluation.cells import chat_of
    from ..models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(config.model)
    model = AutoModelForCausalLM.from_pretrained(config.model.path, dtype=torch.float64)
    prefix = list(chat_of(config, tokenizer, 1 << 30).prompt(question).ids) + left[:at]
    with torch.no_grad():
        logits = model(torch.tensor([prefix])).logits[0, -1]
    return abs(float(logits[left[at]] - logits[right[at]]))


def summarise(together: dict[str, Any], alone: list[dict[str, Any]], sweep: Path) -> dict[str, Any]:
    """Tokens and seconds both ways, and their ratios."""
    union = _union(sweep)
    traces, different = sum(a["traces"] for a in alone), sum(len(a["differences"]) for a in alone)
    keys = ("decode_tokens", "prefill_tokens", "prefill_tokens_cached", "engine_starts", "wall_s")
    figures = {"shared": {k: together[k] for k in keys}, "alone": {k: round(sum(a[k] for a in alone), 2) for k in keys}}
    return figures | {
        "cells": len(alone),
        "union_tokens": union,
        "decoded_over_union": together["decode_tokens"] / union,
        "fewer_tokens": figures["alone"]["decode_tokens"] / together["decode_tokens"],
        "less_time": figures["alone"]["wall_s"] / together["wall_s"],
        "traces": traces,
        "identical": 1 - different / traces,
    }


def _union(sweep: Path) -> int:
    from ..report.load import load_cells

    reads: dict[str, int] = {}
    for cell in load_cells(sweep)[0]:
        for key, read in cell.reads.items():
            reads[key] = max(read, reads.get(key, 0))
    return sum(reads.values())


def show(figures: dict[str, Any]) -> None:
    from rich.console import Console

    from ..report import listings
    from ..report.render import say, terminal

    keys = ("decode_tokens", "prefill_tokens", "prefill_tokens_cached", "engine_starts")
    ways = {way: figures[way] for way in ("alone", "shared")}
    rows = [[way, *(f"{f[k]:,}" for k in keys), f"{f['wall_s']:.1f}"] for way, f in ways.items()]
    console = Console()
    terminal(listings.plain(("sharing", "decoded", "prefilled", "of it cached", "engine starts", "seconds"), rows), console)
    say(
        f"{figures['fewer_tokens']:.1f}x fewer tokens, {figures['less_time']:.1f}x less time; decoded "
        f"{figures['decoded_over_union']:.3f}x the union of the cells' token paths; "
        f"{100 * figures['identical']:.2f}% of {figures['traces']:,} traces identical",
        console,
    )
    for tie in figures["ties"]:
        say(
            f"job {tie['job']} question {tie['doc_id']}: differ from token {tie['at']} on, logits {tie['logit_gap']} apart",
            console,
        )
