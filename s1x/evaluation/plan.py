"""`plan=true`: what a command would run and cost, without running it: no model, no network.

Every cell is counted alone, and without the streams that cells above it have read already: what it costs here. See
forecast.py for the assumptions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ..cell import Cell, stage_names
from ..methods.facts import facts
from ..metrics.significance import ALPHA, FEW, POWER, smallest_difference, smallest_exact
from ..report.labels import complete, duration
from . import scorers
from .forecast import Reads, forecast, questions_of, simulated
from .naming import identity, method_of, model_of
from .room import Room, room

ASSUMED = {"differ": 0.2, "between": 0.5}  # of `scale.plan`, where it does not say


@dataclass(frozen=True)
class Row:
    """A cell: streams and tokens it reads alone, and of these the ones that no cell before it reads; `scored` are those that
    its scorer reads and no cell before has had scored; `squares` is the sum of the new streams' squared lengths."""

    cell: Cell
    streams: int
    tokens: float
    new_streams: int
    new_tokens: float
    scored: float = 0
    squares: float = 0


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
        squares = sum(tokens**2 for tokens in fresh.values()) / each
        rows.append(Row(cell, streams, sum(own.values()), unread, sum(fresh.values()), new, squares))
        read |= {key: own[key] for key in fresh} | scored
    return rows


@dataclass(frozen=True)
class Group:
    """Cells of one model under one engine: the room for it and for what scores it (None: nothing does), and what they cost
    together. rate, scored_rate: tokens a second, None where that is not known."""

    model: str
    scorer: str | None
    policy: Room
    reader: Room | None
    rows: list[Row]
    rate: float | None
    scored_rate: float | None

    @property
    def scored(self) -> float:
        return sum(row.scored for row in self.rows)

    def seconds(self, tokens: float) -> float | None:
        return tokens / self.rate if self.rate else None

    @property
    def device_seconds(self) -> float | None:
        """Of all devices together; scoring runs on its own, or on those of the policy, which it then keeps waiting."""
        own = self.seconds(sum(row.new_tokens for row in self.rows))
        reading = self.scored / self.scored_rate if self.scored_rate else None if self.scored else 0.0
        if own is None or reading is None:
            return None
        return own * self.policy.devices + reading * (self.reader.devices if self.reader else 1)


def groups(rows: Sequence[Row]) -> list[Group]:
    """The rows by model and engine, in order of first appearance."""
    found: dict[str, tuple[Rooms, list[Row]]] = {}
    for row in rows:
        rooms = rooms_of(row.cell.cfg)
        found.setdefault(rooms.key, (rooms, []))[1].append(row)
    made = []
    for rooms, members in found.values():
        plan = _plain(members[0].cell.cfg.scale.plan)
        wanted = sum(row.new_tokens for row in members) ** 2 / max(1.0, sum(row.squares for row in members))
        rate, reading = rooms.policy.rate(plan, wanted), rooms.reader and rooms.reader.scored(plan)
        model = model_of(members[0].cell.cfg)
        made.append(Group(model, rooms.scorer, rooms.policy, rooms.reader, members, rate, reading))
    return made


class Rooms(NamedTuple):
    """The room for a cell's model and for its scorer; equal `key`s are the same model and engine."""

    key: str
    policy: Room
    scorer: str | None = None
    reader: Room | None = None


def rooms_of(cfg: DictConfig, here: bool = False) -> Rooms:
    """here: on this machine, whatever devices the scale plans with."""
    engine, model, scorer, plan = (_plain(cfg[key]) if cfg[key] else None for key in ("engine", "model", "scorer", "scale"))
    plan = plan["plan"] | ({"devices": None} if here else {})
    mean = (cfg.task.thinking or 0) + (cfg.scale.plan.get("answer") or 0)
    if not facts(method_of(cfg)).needs_scorer or scorers.format_of(scorer) is None:
        return Rooms(json.dumps([engine, model, model_of(cfg)], default=str), room(engine, model, max(mean, 1), plan))
    own, policy = scorers.engine_of(engine, scorer, model["path"]), scorers.beside(engine, scorer)
    key = json.dumps([policy, model, model_of(cfg), scorer], default=str)
    reader = room(own, scorers.model_of(scorer), max(mean, 1), plan)
    return Rooms(key, room(policy, model, max(mean, 1), plan), scorer["name"], reader)


def show(cells: list[Cell]) -> None:
    """Print cells, streams, expected tokens and hours."""
    from rich.console import Console

    from ..report import listings
    from ..report.render import say, terminal

    rows, plan, console = estimate(cells), cells[0].cfg.scale.plan, Console()
    parts = groups(rows)
    of = {id(row): group for group in parts for row in group.rows}
    records = [complete(identity(row.cell) | {"model": model_of(row.cell.cfg)}) for row in rows]
    costs = [(row.streams, row.tokens, row.new_tokens, _said(of[id(row)].seconds(row.new_tokens))) for row in rows]
    terminal(listings.plan(records, costs, plan.device), console)
    for line in (*totals(rows, parts, plan), *precision(cells), *memory(parts)):
        say(line, console)
    trainings = {model_of(cell.cfg): cell.cfg for cell in cells if "train" in stage_names(cell.cfg)}
    if trainings:
        from ..training import plan as training  # brings pyarrow and numpy along

        say("Trained first, unless it is there already, and not counted above:", console)
        training.show(list(trainings.values()))


def totals(rows: Sequence[Row], parts: Sequence[Group], plan: DictConfig) -> list[str]:
    """What all cells take together, what scoring takes besides, what it costs, and what was assumed."""
    alone, here, streams = sum(r.tokens for r in rows), sum(r.new_tokens for r in rows), sum(r.new_streams for r in rows)

    def time(tokens: Callable[[Row], float]) -> str:
        each = [group.seconds(sum(map(tokens, group.rows))) for group in parts]
        return _said(None if None in each else sum(each))

    lines = [
        f"{len(rows)} cell{'s' * (len(rows) > 1)}, {streams:,} streams. Expected: {here:,.0f} tokens, "
        f"{time(lambda r: r.new_tokens)} on {plan.device}; cell by cell {alone:,.0f} tokens, {time(lambda r: r.tokens)}. "
        + (
            f"Sharing leaves {100 * here / alone:.0f}%."
            if alone
            else "Nothing fits behind the questions: see scale.plan.context."
        )
    ]
    if any(group.scored for group in parts):
        each = [group.scored / group.scored_rate if group.scored_rate else None for group in parts if group.scored]
        tokens = sum(group.scored for group in parts)
        lines.append(f"Scored besides: {tokens:,.0f} tokens, {_said(None if None in each else sum(each))}.")
    if price := plan.get("price_per_hour"):
        busy = [group.device_seconds for group in parts]
        hours = None if None in busy else sum(busy) / 3600
        cost = "not known" if hours is None else f"{hours:,.1f} device hours, {price * hours:,.2f} at {price:,g} an hour"
        lines.append(f"Price: {cost} (scale.plan.price_per_hour).")
    thinking = ", ".join(
        f"{n:,} on {task}" for task, n in {r.cell.cfg.task.name: r.cell.cfg.task.thinking for r in rows}.items()
    )
    lines.append(
        f"Assumed (scale.plan): tokens until thinking ends by itself: {thinking}; {plan.wait} more after an ignored end; "
        f"answers of {plan.answer}, forced ones of {plan.forced_answer}."
    )
    return lines


def _said(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _plain(node: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(node, resolve=True)


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
    said = f"two cells answer at least {100 * differ:.0f}% of the questions differently"
    if any(found.values()):
        said += f", {100 * between:.0f}% of that variance is between questions"
    power = f"{100 * POWER:.0f}% power, alpha {ALPHA}"
    return [f"Smallest paired difference that would be found ({power}; scale.plan: {said}): {'; '.join(found)}."]


def memory(parts: Sequence[Group]) -> list[str]:
    """A sentence for each model and engine: on what, how much there is room for, and how fast it decodes.

    Of models (scorers, too) whose sizes are known without the network, on the GPUs of this machine or those of `scale.plan`.
    """
    found: dict[str, dict[str, None]] = {}
    for group in parts:
        speed = f" About {group.rate:,.0f} tokens a second." if group.rate else ""
        name = f"{group.model} (beside a scorer)" if group.reader else group.model
        found.setdefault(group.policy.said + speed, {})[name] = None
        if group.reader and group.scorer:
            speed = f" It reads about {group.scored_rate:,.0f} tokens a second." if group.scored_rate else ""
            found.setdefault(group.reader.said + speed, {})[group.scorer] = None
    return [f"{', '.join(models)}: {said}" for said, models in found.items()]
