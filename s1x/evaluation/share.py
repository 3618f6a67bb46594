"""A share of a sweep's questions (`submit.shard`): decoded into the store, where the command that makes results finds it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..chat import Chat
from ..streams.types import Ids, Trace, digest
from .cells import Grader, Opened


def share_out(opened: Sequence[Opened], shard: int, shards: int) -> None:
    """Leave to each cell the questions of one shard.

    By root prompt, whatever the cell (`opened` are those of one engine), so that no two shards want one stream: in the order of
    their hashes the prompts go to the shards in turn, so shards are even also of few questions.
    """
    asked: dict[Ids, None] = {}
    for chat, questions in {(id(o.chat), id(o.task)): (o.chat, o.questions) for o in opened}.values():
        asked |= dict.fromkeys(chat.prompt(question.text).ids for question in questions)
    mine = set(sorted(asked, key=lambda ids: (digest(ids), ids))[shard::shards])
    chosen: dict[Any, list[Any]] = {}
    for o in opened:
        key = (id(o.chat), id(o.task))
        if key not in chosen:
            chosen[key] = _of(o.chat, o.questions, mine)
        o.questions = chosen[key]


def _of(chat: Chat, questions: Sequence[Any], prompts: Collection[Ids]) -> list[Any]:
    return [question for question in questions if chat.prompt(question.text).ids in prompts]


class Filler(Grader):
    """Stands where cells are graded and written: here they end when their traces have been decoded, and leave no files."""

    def begin(self, o: Opened, question: Any, repeat: int, trace: Trace) -> None:
        self.meter.arrived()

    def end(self, opened: Sequence[Opened]) -> None:
        for o in opened:
            if not o.failed:
                self.meter.done += 1
                self.on_done(o.cell, {"accuracy": None})
