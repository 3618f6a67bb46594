"""`plan=true`: what a command would run and cost, without running it: no model, no network.

Every cell is counted alone, and without the streams that cells above it have read already: what it costs here. See
forecast.py for the assumptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..cell import Cell, stage_names
from ..engines.build import facts_of
from ..engines.placement import GIB, placed
from ..files import is_local
from ..methods.facts import facts
from ..metrics.significance import ALPHA, FEW, POWER, smallest_difference, smallest_exact
from ..models.device import cuda_devices, device_memory, resolve_dtype
from ..models.known import KNOWN
from . import scorers
from .forecast import Reads, forecast, questions_of, simulated
from .naming import identity, method_of, model_of

ASSUMED = {"differ": 0.2, "between": 0.5}  # of `scale.plan`, where it does not say
FULL = 32  # streams that a GPU decodes at once from which its speed hardly depends on their number


@dataclass(frozen=True)
class Row:
    """A cell: streams and tokens it reads alone, and of these the ones that no cell before it reads; `scored` are those that
    its scorer reads and no cell before has had scored."""

    cell: Cell
    streams: int
    tokens: float
    new_streams: int
    new_tokens: float
    scored: float = 0


def estimate(cells: list[Cell]) -> list[Row]:
    """The cells in order, with what each costs alone and beside those before it."""
    read: Reads = {}
    rows, tried = [], simulated(cells)
    for cell in cells:
        whole, each = forecast(cell, tried), questions_of(cell) / min(questions_of(cell), tried)
        own = {key: tokens for key, tokens in whole.items() if isinstance(key, bytes)}
        scored = {(cell.cfg.scorer.name, *key): tokens for key, tokens in whole.items() if key not in own}
        fresh = {key: tokens - read.get(key, 0) for key, tokens in own.items() if tokens > read.get(key, 0)}
        new = sum(tokens for key, tokens in scored.items() if key not in read)
        streams, unread = round(len(own) * each), round(len(own.keys() - read.keys()) * each)
        rows.append(Row(cell, streams, sum(own.values()), unread, sum(fresh.values()), new))
        read |= {key: own[key] for key in fresh} | scored
    return rows


def show(cells: list[Cell]) -> None:
    """Print cells, streams, expected tokens and hours."""
    from rich.console import Console

    from ..report import tables
    from ..report.labels import complete
    from ..report.render import terminal

    rows, plan = estimate(cells), cells[0].cfg.scale.plan
    speed = plan.tokens_per_second
    models = {cell.job: model_of(cell.cfg) for cell in cells}
    records = [complete(identity(cell) | {"model": models[cell.job]}) for cell in cells]
    costs = [(row.streams, row.tokens, row.new_tokens, duration(row.new_tokens / speed)) for row in rows]
    console = Console()
    terminal(tables.plan(records, costs, plan.device), console)
    alone, here, streams = sum(r.tokens for r in rows), sum(r.new_tokens for r in rows), sum(r.new_streams for r in rows)
    console.print(
        f"{len(rows)} cells, {streams:,} streams. Expected: {here:,.0f} tokens, {duration(here / speed)} on {plan.device}; "
        f"cell by cell {alone:,.0f} tokens, {duration(alone / speed)}. Sharing leaves {100 * here / alone:.0f}%.",
        highlight=False,
    )
    if scored := sum(r.scored for r in rows):
        console.print(
            f"Scored besides: {scored:,.0f} tokens, {duration(scored / plan.scored_per_second)} at "
            f"{plan.scored_per_second:,} a second.", highlight=False,
        )  # fmt: skip
    thinking = ", ".join(f"{n:,} on {task}" for task, n in {c.cfg.task.name: c.cfg.task.thinking for c in cells}.items())
    console.print(
        f"Assumed (scale.plan): tokens until thinking ends by itself: {thinking}; {plan.wait} more after an ignored end; "
        f"answers of {plan.answer}, forced ones of {plan.forced_answer}; {speed:,} decoded tokens a second.",
        highlight=False,
    )
    for line in (*precision(cells), *memory(cells)):
        console.print(line, highlight=False)
    trainings = {models[cell.job]: cell.cfg for cell in cells if "train" in stage_names(cell.cfg)}
    if trainings:
        from ..training import plan as training  # brings pyarrow and numpy along

        console.print("Trained first, unless it is there already, and not counted above:")
        training.show(list(trainings.values()))


def precision(cells: list[Cell]) -> list[str]:
    """The sentence on the smallest paired difference that the questions and samples can show; none where one is not known.

    Cells of temperature 0 have one sample whatever their repeats. Of `scale.plan`: `differ` is the share of questions that
    two cells answer differently, one sample each, and `between` the part of that variance that more samples leave.
    """
    plan, found = cells[0].cfg.scale.plan, {}
    differ, between = (plan.get(key, assumed) for key, assumed in ASSUMED.items())
    for cfg in (cell.cfg for cell in cells if cell.cfg.task.questions):
        questions = min(cfg.task.questions, cfg.task.limit or cfg.task.questions)
        samples = cfg.task.repeats if cfg.sampling.temperature else 1
        if samples > 1:
            least = smallest_difference(differ * (between + (1 - between) / samples), questions)
        elif questions < FEW:
            least = smallest_exact(differ, questions)
        else:
            least = smallest_difference(differ, questions, whole=True)
        words = f"{100 * least:.1f} points" if least < 1 else "none"
        found[f"{words} on {cfg.task.name} ({questions:,} questions x {samples} sample{'s' * (samples > 1)})"] = samples > 1
    if not found:
        return []
    said = f"two cells answer {100 * differ:.0f}% of the questions differently"
    if any(found.values()):
        said += f", {100 * between:.0f}% of that variance is between questions"
    power = f"{100 * POWER:.0f}% power, alpha {ALPHA}"
    return [f"Smallest paired difference that would be found ({power}; scale.plan: {said}): {'; '.join(found)}."]


def memory(cells: list[Cell]) -> list[str]:
    """A sentence for each model and engine that is spread over GPUs: on how many, and how much there is room for.

    Of models (scorers, too) whose sizes are known without the network, on the GPUs of this machine or those of `scale.plan`.
    """
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        cfg, plan = cell.cfg, cell.cfg.scale.plan
        here = cuda_devices()
        devices, size = (here, device_memory()) if here else (plan.get("devices"), (plan.get("device_gib") or 0) * GIB)
        if not devices or not size or "tensor_parallel_size" not in cfg.engine:
            continue
        engine, scorer = (OmegaConf.to_container(cfg[key], resolve=True) if cfg[key] else None for key in ("engine", "scorer"))
        mean = (cfg.task.thinking or 0) + plan.answer
        if not facts(method_of(cfg)).needs_scorer or scorers.format_of(scorer) is None:
            found.setdefault(_room(engine, cfg.model, mean, devices, size), {})[cfg.model.name] = None
            continue
        own = scorers.engine_of(engine, scorer, cfg.model.path)
        policy = f"{cfg.model.name} (beside a scorer)"
        found.setdefault(_room(scorers.beside(engine, scorer), cfg.model, mean, devices, size), {})[policy] = None
        if "tensor_parallel_size" in own:
            found.setdefault(_room(own, scorers.model_of(scorer), mean, devices, size), {})[cfg.scorer.name] = None
    return [f"{', '.join(models)}: {room}" for room, models in found.items()]


def _room(engine: Mapping[str, Any], model: Mapping[str, Any] | DictConfig, mean: int, devices: int, size: float) -> str:
    """mean: tokens of a stream."""
    replicas, path = engine.get("replicas") or 1, model["path"]
    if path not in KNOWN and not is_local(path):
        return "sizes that are not known here, so neither is whether it fits (a folder with its config.json and weights says)."
    try:
        sizes = KNOWN.get(path) or facts_of(engine, model)
        on = placed(engine, sizes, devices // replicas, size)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    if (used := replicas * on.tensor * on.pipeline) > devices:
        return f"engine.replicas={replicas} of {on.tensor * on.pipeline} GPUs each need {used}; there are {devices}."
    context = engine.get("max_model_len") or sizes["context_length"]
    whole, usual = (min(on.tokens // tokens, engine["max_num_seqs"]) * replicas for tokens in (context, mean))
    few = f" Batches of fewer than {FULL} a GPU decode less than the speed assumed above." if usual < FULL * used else ""
    return (
        f"{resolve_dtype(engine['dtype'], 'cuda')} on {used} of {devices} GPUs of {size / GIB:,.0f} GiB (replicas {replicas} x "
        f"tensor {on.tensor} x pipeline {on.pipeline}), {on}. At once: {usual:,} streams of {mean:,} tokens, {whole:,} of the "
        f"whole context.{few}"
    )


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
