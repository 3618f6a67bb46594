"""An open stream as a chain of plain requests, for engines that bring a sampler of their own (vLLM, servers, replicas).

Such engines know no "forbid these ids on the first n tokens", draw ids of the padded vocabulary, and may break off. So a stream
is served in parts, one after the other: a masked part of n tokens first; after an id beyond the tokenizer's, one token with
those ids masked in place of it (the same distribution as masking always, at no cost for all other tokens); and after a broken
request, whatever is left. The prefix cache makes a new part cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..streams.engine import Open, Rows, Scoring
from ..streams.types import Forbid, Ids, digest


@dataclass(frozen=True)
class Part:
    """A plain request: at most `limit` tokens after `prefix`; none of `banned`; `seed` is None when greedy."""

    prefix: Ids
    limit: int
    banned: frozenset[int]
    stop_ids: frozenset[int]
    seed: int | None


def rest(request: Open, ids: list[int]) -> Open:
    """What is left of `request` when `ids` have arrived."""
    if not ids:
        return request
    forbid = request.forbid
    if forbid is not None:
        forbid = Forbid(forbid.ids, forbid.first - len(ids)) if forbid.first > len(ids) else None
    return replace(request, prefix=request.prefix + tuple(ids), limit=request.limit - len(ids), forbid=forbid)


def seed_of(noise: int | None, position: int, positional: bool) -> int | None:
    """The seed (63 bits) of a part that begins at `position`; None when greedy.

    A sampler that counts its draws from the beginning of a request would repeat them in the next part, so each part has a seed
    of its own. One that keys its draws by (seed, absolute position, id), as vLLM's model runner V2 does, goes on with the
    stream's noise under one seed: what is resumed is then what would have come without the break.
    """
    if noise is None:
        return None
    key = digest("stream", noise) if positional else digest("part", noise, position)
    return int.from_bytes(key[:8], "little") >> 1


def pack(priority: tuple[int, ...]) -> int:
    """A priority (begun or not, question, cell, repeat) as one 62-bit number of the same order."""
    number = 0
    for width, value in zip((2, 24, 16, 20), (*priority, 0, 0, 0, 0), strict=False):
        number = number << width | min(max(value, 0), (1 << width) - 1)
    return number


class Chain:
    """An open stream and what it has received so far.

    padded: the ids above the tokenizer's largest one; they never leave the chain. context_length: tokens, prefix included.
    """

    def __init__(self, handle: int, request: Open, padded: range, context_length: int) -> None:
        self.handle, self.request, self.padded = handle, request, padded
        self.room = max(0, min(request.limit, context_length - len(request.prefix)))
        self.ids: list[int] = []
        self.stopped = False
        self.counted = False  # whether the engine has counted the prefill of the current part
        self.redraw = False  # the last part ended with a padded id, to be drawn again

    @property
    def done(self) -> bool:
        return self.stopped or len(self.ids) >= self.room

    def part(self, positional: bool = False) -> Part:
        """The next request of a stream that is not done. positional: the sampler keys its noise by the absolute position
        itself (`seed_of`)."""
        left = rest(self.request, self.ids)
        limit, banned = (1, frozenset(self.padded)) if self.redraw else (self.room - len(self.ids), frozenset())
        if left.forbid is not None and left.forbid.first > 0 and left.forbid.ids:
            limit, banned = min(limit, left.forbid.first), banned | left.forbid.ids
        seed = seed_of(left.sampling.noise, len(left.prefix), positional)
        return Part(left.prefix, limit, banned, left.stop_ids - banned, seed)

    def take(self, ids: list[int]) -> list[int]:
        """Accept new ids of the current part. Fewer come back when a padded one was drawn: the part is over then."""
        self.redraw = max(ids, default=0) >= self.padded.start
        if self.redraw:
            ids = ids[: next(i for i, token in enumerate(ids) if token >= self.padded.start)]
        self.ids += ids
        self.stopped = bool(ids) and ids[-1] in self.request.stop_ids
        return ids


class Reading:
    """A scoring as one plain request: a prompt whose ids are scored, and one more token, since less cannot be asked for.

    Where the prompt would fill the context, its last id is that token: the only one allowed (`drawn`).
    """

    counted = False  # see Chain: all its tokens come at once

    def __init__(self, handle: int, request: Scoring, context_length: int) -> None:
        self.handle, self.request = handle, request
        self.prompt, self.drawn = request.ids[: request.at[-1] + 1], None
        if len(self.prompt) >= context_length:
            self.prompt, self.drawn = self.prompt[:-1], self.prompt[-1]

    def rows(self, prompt: Callable[[int], float], drawn: float | None) -> Rows:
        """The answer, from the log-probability of the prompt's n-th id and of the drawn one."""
        values = [prompt(n) for n in self.request.at if n < len(self.prompt)]
        if self.drawn is not None and drawn is not None:
            values.append(drawn)
        return Rows(self.handle, [(value,) for value in values], True)
