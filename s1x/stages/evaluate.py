"""Evaluate cells: every question of every cell as one method in one scheduler, graded and written cell by cell.

    evaluate(cells, sweep, on_done)      all cells of a sweep; cells of one model share an engine and its streams
    run(cfg)                             the one cell of an ordinary Hydra job

All methods of an engine group run at the same time, admitted question by question; a cell is graded and written as soon as
its last trace is there. Whatever is in the store is not generated again, and an engine loads at the first missing token.
(evaluation/cells.py is what happens to a cell.)
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import tracking
from ..cell import Cell
from ..errors import CellFailed, sentences
from ..evaluation import plan
from ..evaluation.cells import Grader, OnDone, Opened, chat_of, jobs, open_cells
from ..evaluation.naming import method_of
from ..evaluation.pace import left_running
from ..evaluation.progress import Meter
from ..evaluation.provenance import about
from ..evaluation.scorers import beside, open_scorer
from ..evaluation.share import Filler, share_out
from ..files import read_json, write_text
from ..methods.facts import facts
from ..models.tokenizer import load_tokenizer
from ..streams.scheduler import Scheduler

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Evaluate the Hydra job that is running now; returns its accuracy."""
    cell, outcomes = Cell.of_job(cfg), []
    evaluate([cell], cell.sweep, lambda _, outcome: outcomes.append(outcome))
    return accuracy(outcomes[0])


def accuracy(outcome: Any) -> float | None:
    """What the record of a cell that ran alone says.

    Raises CellFailed for a cell that failed, whose traceback stands in the log; what an operating system refused as it is.
    """
    if isinstance(outcome, OSError):
        raise outcome
    if isinstance(outcome, Exception):
        raise CellFailed(f"the cell ended with {type(outcome).__name__}: {outcome}") from outcome
    return outcome["accuracy"]


def evaluate(cells: list[Cell], sweep: Path, on_done: OnDone) -> None:
    """Evaluate `cells`; `on_done(cell, record)` is called as each is complete, with the exception instead when it failed.

    Writes cell.json, samples and results into each cell's directory, run.json and progress.json into `sweep`. With
    `submit.shard` the cells are only asked that shard's questions, and none is written.
    """
    if cells[0].cfg.plan:
        plan.show(cells)
        for cell in cells:
            on_done(cell, {"accuracy": None})
        return
    began, totals = time.monotonic(), defaultdict(int)
    tracking.start_sweep(cells[0].cfg, sweep)
    if killed := left_running(sweep):
        _write_run(sweep, cells, killed)
    with Meter(cells, sweep) as meter:
        meter.tick()
        try:
            for members in engine_groups(cells):
                _evaluate_group(members, on_done, meter, totals)
        except BaseException:
            with suppress(OSError):  # what is raised says more
                _write_run(sweep, cells, totals | {"wall_s": time.monotonic() - began})
            raise
    for remark in meter.remarks():
        log.warning(remark)
    _write_run(sweep, cells, totals | {"wall_s": time.monotonic() - began})


def engine_groups(cells: list[Cell]) -> list[list[Cell]]:
    """Cells that one engine serves (same model and engine settings, same store), in order of first appearance."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        parts = {key: OmegaConf.to_container(cell.cfg[key], resolve=True) for key in ("model", "engine", "scorer", "store")}
        groups.setdefault(json.dumps(parts, sort_keys=True), []).append(cell)
    return list(groups.values())


def _evaluate_group(cells: list[Cell], on_done: OnDone, meter: Meter, totals: dict[str, int]) -> None:
    from ..engines.build import build, check_confidences
    from ..streams.accept import open_store
    from ..streams.claims import claims_on
    from ..streams.memory import MemoryStore
    from ..streams.store import Store

    cfg = cells[0].cfg
    tokenizer = load_tokenizer(cfg.model)
    settings, model, plain_scorer = (
        OmegaConf.to_container(cfg[key], resolve=True) if cfg[key] else None for key in ("engine", "model", "scorer")
    )
    with sentences():
        chat = chat_of(cfg, tokenizer, 0)
        engine = build(beside(settings, plain_scorer), model, tuple(sorted((chat.thinking_stops | chat.answer_stops).ids)))
        check_confidences(settings, frozenset().union(*(facts(method_of(cell.cfg)).confidences for cell in cells)), engine)
        directory = Path(cfg.store.dir).expanduser() if cfg.store.dir else None
        store = open_store(directory, engine.fingerprint, cfg.store.accept, cfg.store.fsync) if directory else MemoryStore()
        writable, path = isinstance(store, Store), model["path"]
        scorer = open_scorer(settings, plain_scorer, directory, policy=path, writable=writable, fsync=cfg.store.fsync)
    opened: list[Opened] = []
    try:
        with sentences():
            opened = open_cells(cells, tokenizer, engine.context_length, scorer and scorer[0])
        submit = cfg.submit
        if submit.shard is not None:
            share_out(opened, submit.shard, submit.shards)
        meter.begin(opened)

        def progress(made):
            meter.update(made)
            grader.advance()

        others = {scorer[0].role: scorer[1]} if scorer else None
        claims = claims_on(store)
        scheduler = Scheduler(engine, store, decode=chat.decode, others=others, claims=claims, on_progress=progress)
        grader = (Grader if submit.shard is None else Filler)(scheduler, on_done, meter)
        scheduler.run(jobs(opened, grader))
        grader.finish()
        if isinstance(grader, Filler):
            grader.end(opened)
        totals["stored_tokens"] += scheduler.progress.reused
    finally:
        for counters in [engine.counters, *([scorer[1].engine.counters] if scorer else [])]:
            totals["decode_tokens"] += counters.decoded
            totals["prefill_tokens"] += counters.prefill
            totals["prefill_tokens_cached"] += counters.prefill_cached
            totals["scored_tokens"] += counters.scored
            totals["scored_tokens_cached"] += counters.scored_cached
            totals["engine_starts"] += counters.starts
        store.close()
        engine.close()
        if scorer:
            scorer[1].scores.close()
            scorer[1].engine.close()
        for task in {id(o.task): o.task for o in opened}.values():
            task.close()


def _write_run(sweep: Path, cells: list[Cell], totals: Mapping[str, float]) -> None:
    """run.json: what this very run did, added to what earlier launches into the same directory did, stopped ones, too."""
    path = sweep / "run.json"
    before = read_json(path)
    before = {key: n for key, n in before.items() if type(n) in (int, float)} if isinstance(before, dict) else {}
    run = before | about(cells[0].cfg) | {key: value + before.get(key, 0) for key, value in totals.items()}
    run["wall_s"] = round(run.get("wall_s", 0), 2)
    write_text(path, json.dumps(run, indent=1) + "\n")
