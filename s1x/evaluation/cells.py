"""What happens to a cell: it is opened (chat, task, method), asked question by question, graded, and written.

An error in a cell (its method, its task's grading, a full disk) ends that cell and no other.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import tracking
from ..cell import Cell, write_files
from ..chat import Chat, ChatFormat
from ..methods.base import Ask
from ..methods.facts import check, facts
from ..models.files import end_ids
from ..models.tokenizer import check_ids
from ..scorer import Scorer
from ..streams.scheduler import Job, Scheduler
from ..streams.types import Sampling, Trace
from ..tasks import Grading, Grouping, grouping
from . import naming, samples
from .notes import notes
from .progress import Meter

log = logging.getLogger(__name__)

OnDone = Callable[[Cell, Any], None]


@dataclass
class Opened:
    """A cell under way: what it needs, and the traces that are there. `questions` are those it asks (None: its task's)."""

    cell: Cell
    chat: Chat
    task: Any
    method: Callable
    scorer: Scorer | None = None
    traces: dict[tuple[int, int], tuple[Trace, list[Grading]]] = field(default_factory=dict)
    failed: bool = False
    questions: Any = None

    def __post_init__(self) -> None:
        self.questions = self.task.questions if self.questions is None else self.questions

    @property
    def until(self) -> tuple[str, ...]:
        """The task's stop strings, where they count."""
        return self.task.until if self.task.stops_count(self.chat.ends_turns) else ()

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest prompt of the task, thinking start included."""
        prompts = [self.chat.prompt(question.text) for question in self.task.questions]
        return max(len(p.ids) + (0 if p.closed else len(p.thinking_start)) for p in prompts)

    @property
    def expected(self) -> int:
        return len(self.questions) * self.task.repeats

    def ask(self, question: Any, repeat: int) -> Ask:
        """The question as the cell's method meets it."""
        cfg, prompt = self.cell.cfg, self.chat.prompt(question.text)
        s = cfg.sampling
        sampling = Sampling.of(prompt.ids, seed=cfg.seed, index=repeat, temperature=s.temperature, top_p=s.top_p, top_k=s.top_k)
        return Ask(
            prompt,
            self.chat,
            sampling,
            until=self.until,
            max_answer_tokens=cfg.answer.max_tokens,
            answer_reserve=cfg.answer.reserve,
            question=question.text,
            scorer=self.scorer,
            longest=lambda: self.longest,
            answer_of=partial(self.answer_of, question),
        )

    def answer_of(self, question: Any, ids: tuple[int, ...]) -> str | None:
        return self.task.extract(question, self.chat.decode(ids))


def chat_of(cfg: DictConfig, tokenizer, context_length: int) -> Chat:
    """The cell's chat format on a tokenizer, with the ends of a turn that the model's files declare."""
    format = ChatFormat(**OmegaConf.to_container(cfg.chat, resolve=True))
    return Chat(format, tokenizer, context_length, end_ids(cfg.model.path, cfg.model.revision))


def open_cells(cells: list[Cell], tokenizer: Any, context_length: int, scorer: Scorer | None = None) -> list[Opened]:
    """Chat, task and method of every cell (tasks are loaded once); a wrong setting is a sentence here, before any token."""
    from ..tasks import load_task

    tasks: dict[str, Any] = {}
    chats: dict[str, Chat] = {}  # cells of one chat format share rendered prompts
    opened = []
    for cell in cells:
        cfg = cell.cfg
        task_cfg = OmegaConf.to_container(cfg.task, resolve=True)
        key = json.dumps(task_cfg, sort_keys=True)
        if key not in tasks:
            verdicts = Path(cfg.store.dir).expanduser() / "verdicts" if cfg.store.dir else None
            tasks[key] = load_task(task_cfg, verdicts)
        if (format := str(cfg.chat)) not in chats:
            chats[format] = chat_of(cfg, tokenizer, context_length)
        chat = chats[format]
        method = naming.method_of(cfg)
        check(
            method, context_length=context_length, temperature=cfg.sampling.temperature, chat=chat, reserve=cfg.answer.reserve
        )
        opened.append(Opened(cell, chat, tasks[key], method, scorer))
    _check_ids(opened)
    model = _sizes(opened[0].cell.cfg) is not None
    for line in dict.fromkeys(line for o in opened for line in notes(o, model=model)):
        log.info(line)
    return opened


def _check_ids(opened: list[Opened]) -> None:
    """Raises SettingError where a prompt or the chat format has ids that the model does not know."""
    cfg, tokenizer = opened[0].cell.cfg, opened[0].chat.tokenizer
    sizes = _sizes(cfg)
    if sizes is None or max(tokenizer.get_vocab().values(), default=0) < sizes["vocab_size"]:
        return
    for chat, task in {(id(o.chat), id(o.task)): (o.chat, o.task) for o in opened}.values():
        fixed = chat.thinking_start + chat.thinking_end + chat.final_answer
        for question in task.questions:
            check_ids(cfg.model.path, max((*fixed, *chat.prompt(question.text).ids)), sizes["vocab_size"])


class Grader:
    """Cells whose traces are all there, until their grades are, and the answers under way. Nothing here waits but `finish`."""

    def __init__(self, scheduler: Scheduler, on_done: OnDone, meter: Meter):
        self.scheduler, self.on_done, self.meter = scheduler, on_done, meter
        self._open: list[tuple[Opened, Grading | Grouping]] = []
        self._complete: list[Opened] = []
        self._looked = 0.0

    def begin(self, o: Opened, question: Any, repeat: int, trace: Trace) -> None:
        """Take a trace. Raises what the task's own code raises."""
        gradings = [
            o.task.start_grading(question, samples.graded_text(one, o.chat, o.until)) for one in trace.samples or [trace]
        ]
        o.traces[question.doc_id, repeat] = samples.compact(trace), gradings
        groups = [grouping([grading.extracted for grading in gradings])] if trace.samples else []  # for its votes
        self._open += [(o, waiting) for waiting in [*gradings, *groups] if not waiting.done()]
        self.meter.arrived()
        if len(o.traces) == o.expected:
            self._complete.append(o)

    def advance(self, every: float = 0.1) -> None:
        """Finish the cells that can be finished; a look around at most each `every` seconds."""
        if time.monotonic() - self._looked < every:
            return
        still = []
        for o, waiting in self._open:
            if not o.failed:
                try:
                    if not waiting.done():
                        still.append((o, waiting))
                except Exception as error:
                    self.fail(o, error)
        self._open = [(o, waiting) for o, waiting in still if not o.failed]
        held = {id(o) for o, _ in self._open}
        ready = [o for o in self._complete if id(o) not in held]
        self._complete = [o for o in self._complete if id(o) in held]
        for o in ready:
            self._finish(o)
        self.meter.awaited = len(self._open)
        self._looked = time.monotonic()

    def finish(self) -> None:
        """Wait for all that is under way, with a sign of life."""
        self.advance(0)
        while self._complete:
            time.sleep(0.1)
            self.advance(0)
            self.meter.tick()

    def fail(self, o: Opened, error: Exception) -> None:
        """End a cell: what else it has under way is cancelled, other cells go on."""
        if o.failed:
            return
        o.failed = True
        # of a full disk and the like, where in the code it was noticed says nothing
        log.error(f"job {o.cell.job}: {type(error).__name__}: {error}", exc_info=not isinstance(error, OSError) and error)
        o.traces.clear()
        self._complete = [other for other in self._complete if other is not o]
        self.scheduler.drop(lambda job: isinstance(job.on_done, Arrival) and job.on_done.opened is o)
        self.on_done(o.cell, error)

    def _finish(self, o: Opened) -> None:
        if o.failed:
            return
        try:
            record = finish(o, self.scheduler.streams.store.apart)
        except Exception as error:
            self.fail(o, error)
        else:
            self.meter.finished(o.cell, record)
            tracking.log_cell(o.cell, record)
            self.on_done(o.cell, record)
            o.traces.clear()


def jobs(opened: list[Opened], grader: Grader) -> Iterator[Job]:
    """One job per (question, cell, repeat), question by question, so that what cells share is generated together."""
    tasks = list({id(o.task): o.task for o in opened}.values())
    order = 0
    for task in tasks:
        members = [(o, {question.doc_id for question in o.questions}) for o in opened if o.task is task]
        for question in task.questions:
            order += 1
            for number, (o, asked) in enumerate(members):
                if question.doc_id not in asked:
                    continue
                for repeat in range(task.repeats):
                    if not o.failed:
                        arrival = Arrival(o, question, repeat, grader)
                        try:
                            ask = o.ask(question, repeat)
                            method = o.method(ask)
                        except Exception as error:
                            arrival.failed(error)
                        else:
                            yield Job((order, number, repeat), method, arrival, arrival.failed, ask.prompt.ids)


@dataclass
class Arrival:
    """Takes the trace of one job; an error ends its cell."""

    opened: Opened
    question: Any
    repeat: int
    grader: Grader

    def __call__(self, trace: Trace) -> None:
        if self.opened.failed:
            return
        try:
            if not isinstance(trace, Trace):
                raise TypeError(f"a method must return a Trace, not {type(trace).__name__}")
            self.grader.begin(self.opened, self.question, self.repeat, trace)
        except Exception as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        self.grader.fail(self.opened, error)


def finish(o: Opened, apart: Callable[[set[bytes]], int]) -> dict[str, Any]:
    """Write the files of a complete cell; returns its record. apart: how many of some streams have two continuations."""
    from ..metrics.cell import cell_record

    lines = grade(o)
    meta = naming.identity(o.cell) | {"model_facts": _passed(_sizes(o.cell.cfg)), "columns": facts(o.method).columns}
    meta["until"] = "task" if o.until else "none"
    meta["scorer_facts"] = _passed(_scorer_sizes(o.cell.cfg)) if o.scorer else None
    record = cell_record(lines, meta)
    if several := apart({key for trace, _ in o.traces.values() for key in trace.reads}):
        record["streams_apart"] = several
        log.warning(
            f"job {o.cell.job}: {several:,} of the streams it has read go on in another way elsewhere in the store: another "
            "run generated them at the same time, and this engine's numbers depend on what is computed together"
        )
    results = samples.results(o.task, lines, record)
    write_files(o.cell.directory, o.task.name, lines, results, record)
    return record


def grade(o: Opened) -> list[dict[str, Any]]:
    """The lines of a complete cell, in question order."""
    by_id = {q.doc_id: q for q in o.task.questions}
    return [
        samples.line(o.task, by_id[doc], repeat, trace, [(g.text, g.grade()) for g in gradings], o.chat)
        for (doc, repeat), (trace, gradings) in sorted(o.traces.items())
    ]


def _sizes(cfg: DictConfig) -> dict[str, Any] | None:
    """Sizes of the cell's model (models.facts); None for an engine without a model."""
    from ..engines.build import facts_of, needs_model

    engine, model = (OmegaConf.to_container(cfg[key], resolve=True) for key in ("engine", "model"))
    return facts_of(engine, model) if needs_model(engine) else None


def _scorer_sizes(cfg: DictConfig) -> dict[str, Any] | None:
    from .scorers import sizes_of

    return sizes_of(*(OmegaConf.to_container(cfg[key], resolve=True) for key in ("engine", "scorer")))


def _passed(sizes: dict[str, Any] | None) -> dict[str, int] | None:
    """What FLOPs are computed from."""
    if sizes is None:
        return None
    embedding = sizes["vocab_size"] * sizes["hidden_size"]
    passed = sizes["parameters"] - (0 if sizes["tied_embeddings"] else embedding)  # a tied embedding is the output head
    return {"parameters": passed, "layers": sizes["layers"], "hidden": sizes["heads"] * sizes["head_dim"]}
