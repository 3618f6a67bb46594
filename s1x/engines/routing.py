"""Which of several engines serves a stream: the one that holds its prefix, else the least busy one."""

from __future__ import annotations

from collections.abc import Sequence

from ..streams.engine import Open, Scoring
from ..streams.types import Ids


class Router:
    """Remembers where each root prompt went. What continues it with the same noise (its answers, its "Wait" rounds) follows;
    the members of a pool, which draw noise of their own, spread."""

    def __init__(self) -> None:
        self._homes: dict[tuple[Ids, int | None], int] = {}
        self._lengths: list[int] = []  # of root prompts, longest first

    def route(self, request: Open | Scoring, load: Sequence[float]) -> int:
        """The place for `request`. `load`: streams open at each place; infinite for one that is out of order."""
        least = min(range(len(load)), key=load.__getitem__)
        if isinstance(request, Scoring):
            return least
        noise, prefix = request.sampling.noise, request.prefix
        for n in self._lengths:
            if n <= len(prefix) and (root := (prefix[:n], noise)) in self._homes:
                if load[self._homes[root]] == float("inf"):
                    self._homes[root] = least
                return self._homes[root]
        self._homes[prefix, noise] = least
        if len(prefix) not in self._lengths:
            self._lengths = sorted({*self._lengths, len(prefix)}, reverse=True)
        return least
