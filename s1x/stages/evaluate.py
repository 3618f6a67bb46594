"""Evaluate cells: every question of every cell as one method in one scheduler, graded and written cell by cell.

    evaluate(cells, sweep, on_done)      all cells of a sweep; cells of one model share an engine and its streams
    run(cfg)                             the one cell of an ordinary Hydra job

All methods of an engine group run at the same time, admitted question by question; a cell is graded and written as soon as
its last trace is there. Whatever is in the store is not generated again, and an engine loads at the first missing token.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import tracking
from ..cell import Cell
from ..chat import Chat, ChatFormat
from ..errors import sentences
from ..evaluation import naming, plan, samples
from ..evaluation.progress import Meter
from ..evaluation.provenance import about
from ..streams.scheduler import Job, Scheduler
from ..streams.types import Sampling, Trace

log = logging.getLogger(__name__)

OnDone = Callable[[Cell, Any], None]


def run(cfg: DictConfig) -> float | None:
    """Evaluate the Hydra job that is running now; returns its accuracy."""
    cell, outcomes = Cell.of_job(cfg), []
    evaluate([cell], cell.sweep, lambda _, outcome: outcomes.append(outcome))
    if isinstance(outcomes[0], Exception):
        raise outcomes[0]
    return outcomes[0]["accuracy"]


def evaluate(cells: list[Cell], sweep: Path, on_done: OnDone) -> None:
    """Evaluate `cells`; `on_done(cell, record)` is called as each is complete, with the exception instead when it failed.

    Writes cell.json, samples and results into each cell's directory and run.json into `sweep`.
    """
    if cells[0].cfg.plan:
        plan.show(cells)
        for cell in cells:
            on_done(cell, {"accuracy": None})
        return
    began, totals = time.monotonic(), defaultdict(int)
    tracking.start_sweep(cells[0].cfg, sweep)
    with Meter(cells) as meter:
        for members in engine_groups(cells):
            _evaluate_group(members, on_done, meter, totals)
    _write_run(sweep, cells, totals, time.monotonic() - began)


def engine_groups(cells: list[Cell]) -> list[list[Cell]]:
    """Cells that one engine serves (same model and engine settings, same store), in order of first appearance."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        parts = {key: OmegaConf.to_container(cell.cfg[key], resolve=True) for key in ("model", "engine", "store")}
        groups.setdefault(json.dumps(parts, sort_keys=True), []).append(cell)
    return list(groups.values())


@dataclass
class _Open:
    """A cell under way: what it needs, and the traces that are there."""

    cell: Cell
    chat: Chat
    task: Any
    method: Callable
    traces: dict[tuple[int, int], Trace] = field(default_factory=dict)

    @property
    def expected(self) -> int:
        return len(self.task.questions) * self.task.repeats


def _evaluate_group(cells: list[Cell], on_done: OnDone, meter: Meter, totals: dict[str, int]) -> None:
    from ..engines.build import build
    from ..streams.memory import MemoryStore
    from ..streams.store import Store

    cfg = cells[0].cfg
    tokenizer = load_tokenizer(cfg)
    stop_ids = tuple(
        tokenizer.convert_tokens_to_ids(t) for t in dict.fromkeys([*cfg.chat.thinking_stop, *cfg.chat.answer_stop])
    )
    settings, model = (OmegaConf.to_container(cfg[key], resolve=True) for key in ("engine", "model"))
    with sentences():
        engine = build(settings, model, stop_ids)
    store = Store(Path(cfg.store.dir).expanduser(), engine.fingerprint) if cfg.store.dir else MemoryStore()
    try:
        with sentences():
            opened = _open_cells(cells, tokenizer, engine.context_length)
        meter.begin(opened, engine)

        def decode(ids):
            return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

        scheduler = Scheduler(engine, store, decode=decode, on_progress=meter.update)
        scheduler.run(_jobs(opened, on_done, meter))
        totals["stored_tokens"] += scheduler.progress.reused
    finally:
        counters = engine.counters
        totals["decode_tokens"] += counters.decoded
        totals["prefill_tokens"] += counters.prefill
        totals["prefill_tokens_cached"] += counters.prefill_cached
        totals["engine_starts"] += counters.starts
        store.close()
        engine.close()


def load_tokenizer(cfg: DictConfig):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(cfg.model.tokenizer or cfg.model.path, revision=cfg.model.revision)


def chat_of(cfg: DictConfig, tokenizer, context_length: int) -> Chat:
    plain = OmegaConf.to_container(cfg.chat, resolve=True)
    return Chat(ChatFormat(**plain | {k: tuple(plain[k]) for k in ("thinking_stop", "answer_stop")}), tokenizer, context_length)


def _open_cells(cells: list[Cell], tokenizer, context_length: int) -> list[_Open]:
    """Chat, task and method of every cell (tasks are loaded once); a wrong setting is a sentence here, before any token."""
    from hydra.utils import instantiate

    from ..methods.checks import check
    from ..tasks import load_task

    tasks: dict[str, Any] = {}
    chats: dict[str, Chat] = {}  # cells of one chat format share rendered prompts
    opened = []
    for cell in cells:
        cfg = cell.cfg
        task_cfg = OmegaConf.to_container(cfg.task, resolve=True)
        key = json.dumps(task_cfg, sort_keys=True)
        if key not in tasks:
            tasks[key] = load_task(task_cfg)
        chat = chats.setdefault(str(cfg.chat), chat_of(cfg, tokenizer, context_length))
        method = OmegaConf.to_container(cfg.method, resolve=True)
        check(method, context_length=context_length, temperature=cfg.sampling.temperature, chat=chat)
        opened.append(_Open(cell, chat, tasks[key], instantiate(_until(method, tasks[key].until))))
    return opened


def _until(method: Any, strings: Sequence[str]) -> Any:
    """Method settings with the task's stop strings, which only the loaded task knows, wherever `until` is left empty."""
    if not isinstance(method, dict):
        return method
    return {key: list(strings) if key == "until" and not value else _until(value, strings) for key, value in method.items()}


def _jobs(opened: list[_Open], on_done: OnDone, meter: Meter) -> Iterator[Job]:
    """One job per (question, cell, repeat), question by question, so that what cells share is generated together."""
    tasks = list({id(o.task): o.task for o in opened}.values())
    order = 0
    for task in tasks:
        members = [o for o in opened if o.task is task]
        for question in task.questions:
            order += 1
            for number, o in enumerate(members):
                for repeat in range(task.repeats):
                    yield Job(
                        (order, number, repeat), _method(o, question, repeat), _Arrival(o, question, repeat, on_done, meter)
                    )


def _method(o: _Open, question, repeat: int):
    cfg, prompt = o.cell.cfg, o.chat.prompt(question.text)
    s = cfg.sampling
    sampling = Sampling.of(prompt.ids, seed=cfg.seed, index=repeat, temperature=s.temperature, top_p=s.top_p, top_k=s.top_k)
    return o.method(prompt, o.chat, sampling)


@dataclass
class _Arrival:
    """Takes the trace of one job; the last one of a cell finishes the cell."""

    opened: _Open
    question: Any
    repeat: int
    on_done: OnDone
    meter: Meter

    def __call__(self, trace: Trace) -> None:
        o = self.opened
        o.traces[self.question.doc_id, self.repeat] = trace
        for one in trace.samples or [trace]:
            o.task.start_grading(self.question, samples.graded_text(one, o.chat, o.task.until))
        samples.compact(trace)
        self.meter.arrived(o.cell)
        if len(o.traces) < o.expected:
            return
        try:
            record = _finish(o)
        except Exception as error:  # one cell's failure (its task's grading, a full disk) must not take the others along
            log.debug("cell failed", exc_info=True)
            self.on_done(o.cell, error)
        else:
            self.meter.finished(o.cell, record)
            tracking.log_cell(o.cell, record)
            self.on_done(o.cell, record)
        o.traces.clear()


def _finish(o: _Open) -> dict[str, Any]:
    """Grade a complete cell and write its files; returns its record."""
    from ..metrics.cell import cell_record

    lines = grade(o)
    meta = naming.identity(o.cell) | {"model_facts": _facts(o.cell.cfg)}
    record = cell_record(lines, meta)
    directory = o.cell.directory
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"samples_{o.task.name}.jsonl").open("w", encoding="utf-8") as file:
        for row in lines:
            file.write(json.dumps(row, default=str) + "\n")
    (directory / "results.json").write_text(json.dumps(samples.results(o.task, lines, record), indent=1, default=str) + "\n")
    (directory / "cell.json").write_text(json.dumps(record, indent=1, default=str) + "\n")  # last: it says that all is there
    return record


def grade(o: _Open) -> list[dict[str, Any]]:
    """The lines of a complete cell, in question order."""
    by_id = {q.doc_id: q for q in o.task.questions}
    items = [(by_id[doc], repeat, trace) for (doc, repeat), trace in sorted(o.traces.items())]
    asked = [(q, samples.graded_text(one, o.chat, o.task.until)) for q, _, t in items for one in t.samples or [t]]
    graded = iter(zip(asked, o.task.grade(asked), strict=True))
    lines = []
    for question, repeat, trace in items:
        members = [(text, g) for (_, text), g in (next(graded) for _ in trace.samples or [trace])]
        lines.append(samples.line(o.task, question, repeat, trace, members, o.chat))
    return lines


def _facts(cfg: DictConfig) -> dict[str, int] | None:
    """What FLOPs are computed from; None for an engine without a model."""
    if cfg.engine.name == "scripted":
        return None
    from ..engines.fingerprint import model_facts

    facts = model_facts(cfg.model.path, cfg.model.revision)
    embedding = facts["vocab_size"] * facts["hidden_size"]
    passed = facts["parameters"] - (0 if facts["tied_embeddings"] else embedding)  # a tied embedding is the output head
    return {"parameters": passed, "layers": facts["layers"], "hidden": facts["heads"] * facts["head_dim"]}


def _write_run(sweep: Path, cells: list[Cell], totals: dict[str, int], seconds: float) -> None:
    """run.json: what this very run did, added to what earlier launches into the same directory did."""
    sweep.mkdir(parents=True, exist_ok=True)
    path = sweep / "run.json"
    before = json.loads(path.read_text()) if path.is_file() else {}
    run = about(cells[0].cfg) | {key: value + before.get(key, 0) for key, value in totals.items()}
    run["wall_s"] = round(seconds + before.get("wall_s", 0), 2)
    path.write_text(json.dumps(run, indent=1) + "\n")
