"""Steps and nodes: what searches over partial solutions are made of.

A node is some steps of thinking and what the scorer says of each. Its children are further reads: child 0 goes on in the node's
own stream, child i draws the noise of pool member i of that node's, so whoever grows the same node the same way shares it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from ..streams.types import All, Ids, Method, Read, Segment, Span, Stops, Trace
from .base import Ask
from .checks import Checks

AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda values: values[-1],
    "min": min,
    "mean": lambda values: sum(values) / len(values),
    "product": math.prod,
}
Vote = Literal["majority", "weighted", "best"]
VOTES: tuple[Vote, ...] = ("majority", "weighted", "best")


@dataclass(frozen=True)
class Policy:
    """The steps a search is over.

    separator: text that ends a step (None: the scorer's). step_tokens, max_steps: of a step, and steps of a chain, at most.
    max_thinking_tokens: of all steps, ends forced as in budget forcing (None: what fits with an answer). steps: the
    instruction "Think for up to `steps` steps.", for models trained on it; `step_start` then begins each step, and ends it.
    by: what a chain is worth by the values of its steps (last, min, mean, product).
    """

    separator: str | None = None
    step_tokens: int = 256
    max_steps: int = 100
    max_thinking_tokens: int | None = None
    steps: int | None = None
    step_start: str = "<|im_start|>"
    by: str = "last"

    def worth(self, values: Sequence[float]) -> float:
        return AGGREGATES[self.by](values)

    def root(self, ask: Ask) -> Node:
        """Where a search begins: nothing thought yet."""
        _ = ask.reader  # raises where there is none
        if self.steps is None:
            return Node(ask, self, ask.prompt.thinking_start)
        return Node(ask.saying(f"Think for up to {self.steps} steps."), self, (ask.chat.single(self.step_start),))

    def stops(self, ask: Ask) -> Stops:
        """Where a step ends: with the thinking, or where the next one begins."""
        if self.steps is None:
            separator = ask.reader.format.separator if self.separator is None else self.separator
            return ask.chat.thinking_stops | Stops(strings=(separator,))
        mark = ask.chat.single(self.step_start)
        counts = {(mark, ask.encode(str(k))[0]) for k in range(self.steps + 1)}
        return ask.own_end | Stops(sequences=tuple(sorted(counts)))

    def ends(self, ask: Ask, span: Span) -> bool:
        """Whether the model itself ended the thinking with this step (by counting down to 0, for one)."""
        if self.steps is None or span.reason != "stop":
            return ask.ended(span)
        zero = (ask.chat.single(self.step_start), ask.encode("0")[0])
        return span.stop == zero or span.stop == ask.own_delimiter or span.stop[-1] in ask.chat.answer_stops.ids

    def texts(self, ask: Ask, steps: Sequence[Ids], known: dict[Ids, str] | None = None) -> list[str]:
        """The steps as the scorer reads them: those that have words, without the lines that count them down. known: of steps
        that were decoded before, and of these from now on."""
        if self.steps is None:
            known = {} if known is None else known
            known |= {step: ask.decode(step) for step in steps if step not in known}
            return [text for step in steps if (text := known[step]).strip()]
        label = rf"{re.escape(self.step_start)}\d* ?(?:steps? left)?\s*"
        text = self.step_start + ask.decode(tuple(i for step in steps for i in step))
        return [part for part in re.split(label, text) if part.strip()]


@dataclass(frozen=True)
class Node:
    """A partial chain: `steps` of thinking (ids, with what ended them), their `values`, and how the last one ended.

    start: what opens the thinking. stream: the stream in which it goes on (its prefix, and how far it was read). path: which
    child of which child it is. tree: every node that was grown from the same root, the dropped ones too; texts: of their steps.
    """

    ask: Ask
    policy: Policy
    start: Ids
    steps: tuple[Ids, ...] = ()
    values: tuple[float, ...] = ()
    last: Span | None = None
    stream: tuple[Ids, int] | None = None
    path: tuple[int, ...] = ()
    tree: list[Node] = field(default_factory=list, repr=False, compare=False)
    texts: dict[Ids, str] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def ids(self) -> Ids:
        return tuple(i for step in self.steps for i in step)

    @property
    def worth(self) -> float:
        return self.policy.worth(self.values) if self.values else 0.0

    @property
    def left(self) -> int:
        """Tokens that thinking may still have."""
        most, room = self.policy.max_thinking_tokens, self.ask.room_after(self.ask.prompt.ids + self.start)
        return (room if most is None else min(most, room)) - len(self.ids)

    @property
    def finished(self) -> bool:
        return self.last is not None and self.policy.ends(self.ask, self.last)

    @property
    def ended(self) -> bool:
        """Whether it grows no more: the model ended its thinking, or it is as long as it may be."""
        return self.finished or self.left < 1 or len(self.steps) >= self.policy.max_steps

    def grow(self, index: int) -> Generator[Any, Any, Node]:
        """Child `index`: one step more, and what the scorer says of it."""
        ask = self.ask.sample(index)
        prefix, start = ask.prompt.ids + self.start + self.ids, 0
        if index == 0 and self.stream is not None:
            prefix, start = self.stream
        limit = min(self.policy.step_tokens, self.left)
        span = yield Read(prefix, ask.sampling, self.policy.stops(ask), limit, start=start, role="step")
        child = replace(self, ask=ask, last=span, stream=(prefix, span.end), path=(*self.path, index))
        step = span.ids if child.finished else span.ids + span.stop
        child = replace(child, steps=(*self.steps, step))
        texts = self.policy.texts(ask, child.steps, self.texts)
        if len(texts) > len(self.values):  # else the step has no words
            child = replace(child, values=tuple((yield from ask.judged(texts))))
        self.tree.append(child)
        return child

    def told(self) -> dict[str, Any]:
        """Its last step for the samples file: `value`, what the scorer says of it, and `worth`, that of the chain up to it."""
        value, step = self.values[-1] if self.values else None, self.steps[-1]
        told = {"path": list(self.path), "value": value, "worth": self.worth}
        return told | {"tokens": len(step), "text": self.ask.decode(step)}

    def close(self) -> Method:
        """The trace: the answer, and what the whole chain is worth (`reward` in its info)."""
        ask, values = self.ask, self.values
        if self.last is None:  # there was no room
            return ask.unfinished(info={"reward": 0.0, "steps": 0, "path": list(self.path)})
        segments, start = [Segment("thinking", self.ids)], self.start
        if self.policy.steps is not None:
            (segments, _), start = counted_down(start + self.ids, start[0], ask), ()
        trace = yield from ask.close(segments, self.last, forced=not self.finished, start=start)
        answer = ask.decode(trace.ids("answer"))
        if ask.reader.format.answer and answer.strip():
            values = tuple((yield from ask.judged([*self.policy.texts(ask, self.steps, self.texts), answer])))
        worth = self.policy.worth(values) if values else 0.0
        trace.info |= {"reward": worth, "steps": len(self.steps), "path": list(self.path)}
        return trace


def grown(nodes: Sequence[tuple[Node, int]]) -> All:
    """Children of nodes, so many of each, all at the same time and in order; a node that has ended stays as it is."""
    return All([_same(node) if node.ended else node.grow(i) for node, n in nodes for i in range(1 if node.ended else n)])


def _same(node: Node) -> Generator[Any, Any, Node]:
    return node
    yield  # a generator, as the members of All are


def ranked(nodes: Sequence[Node]) -> list[Node]:
    """Best first, ties in the order they came."""
    return sorted(nodes, key=lambda node: -node.worth)


def chosen(ask: Ask, leaves: Sequence[Node], vote: Vote, **info: Any) -> Method:
    """The result of a search: every leaf gets its answer, and `vote` says which answer counts (VOTES). The whole tree is in
    its info (`nodes`, each behind its parent)."""
    samples = yield All([leaf.close() for leaf in leaves])
    nodes = [node.told() for node in sorted(leaves[0].tree, key=lambda node: node.path)]
    return Trace(ask.prompt.ids, samples=samples, vote=vote, info={"leaves": len(leaves), "nodes": nodes} | info)


def joined(ask: Ask, trees: Sequence[Trace], vote: Vote) -> Trace:
    """Several searches as one, over all of their leaves: tree i is child i of its root."""
    for i, tree in enumerate(trees):
        for info in (*tree.info["nodes"], *(leaf.info for leaf in tree.samples)):
            info["path"].insert(0, i)
    nodes = [node for tree in trees for node in tree.info["nodes"]]
    samples = [leaf for tree in trees for leaf in tree.samples]
    return Trace(ask.prompt.ids, samples=samples, vote=vote, info={"trees": len(trees), "nodes": nodes})


def check_search(s: Any, checks: Checks, *counts: str) -> None:
    """Checks of what searches have in common."""
    checks.whole(*counts)
    checks.one_of("vote", VOTES)
    policy: Policy = s.policy
    own = replace(checks, settings=vars(policy), at=f"{checks.at}.policy")
    own.whole("step_tokens", "max_steps")
    own.whole("steps", "max_thinking_tokens", null=True)
    own.one_of("by", tuple(AGGREGATES))


_LABEL = re.compile(r"-?\d+ steps? left\s*")
_LONGEST_LABEL = 12  # tokens


def counted_down(ids: Ids, mark: int, ask: Ask) -> tuple[list[Segment], int]:
    """Countdown lines as delimiter segments, what stands between them as thinking; and the number of lines."""
    segments, done, steps = [], 0, 0
    for i, token in enumerate(ids):
        if token != mark:
            continue
        label = i + 1
        while label < min(len(ids), i + _LONGEST_LABEL) and not ask.decode(ids[i + 1 : label]).endswith("\n"):
            label += 1
        if _LABEL.fullmatch(ask.decode(ids[i + 1 : label])):
            segments += [Segment("thinking", ids[done:i]), Segment("delimiter", ids[i:label])]
            done, steps = label, steps + 1
    return [s for s in (*segments, Segment("thinking", ids[done:])) if s.ids], steps
