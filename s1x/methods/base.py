"""What a scaling method is. This page is the whole contract; a method is one file and one YAML of the same name.

    @method(limits=lambda s: (0, s.tokens))
    def mine(ask: Ask, *, tokens: int):
        \"\"\"Think for at most `tokens` tokens, then answer.\"\"\"
        span = yield ask.think(limit=tokens)
        return (yield from ask.close([ask.thinking(span)], span))

with `conf/method/mine.yaml` saying where it is and what its settings are (a null, a number, a word each):

    _target_: s1x.methods.mine.mine
    _partial_: true
    tokens: 256

A method is a generator over one question. It yields what it wants to know and returns a `Trace`; it does no I/O, knows no
engine, and runs beside thousands of others. It may yield

- a `Read`, best made by `ask.think` and `ask.answer`: the value is a `Span`;
- a `Score`, best asked for by `ask.judged`: what a reward model says of the steps of a solution;
- `Until(read, fold)`: a read that also ends where a condition on the tokens so far holds;
- `All([...])` and `First(accept, [...], ahead=n)` over reads and other methods, which then run at the same time;
- another method's generator, whose trace is the value. `yield from` is for steps that truly follow one another.

Reads of the same tokens are shared by all methods and settings, so budgets, pools and chains that begin alike cost nothing
twice: ask for what you need as if you were alone. An exception ends the method's own cell, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..streams.types import GREEDY, Confidence, Forbid, Ids, Method, Read, Role, Sampling, Segment, Span, Stops, Trace
from .checks import Checks, tokens

if TYPE_CHECKING:
    from ..chat import Chat, Prompt
    from ..scorer import Scorer


@dataclass(frozen=True)
class Ask:
    """One question as a method meets it, with the steps that most methods share.

    until, max_answer_tokens: stop strings of the task where they count, and tokens of an answer at most (None: what fits).
    answer_reserve: tokens that a budget leaves for the answer (s1: 100). answer_of: from the ids of an answer to what it
    states, as strings compare (graders know better what is equal; None when nothing is stated). question, scorer: its bare
    text, and what scores solutions of it (None: nothing does). longest: tokens of the longest `head` among the questions of the
    task (0: not known). confidence: the measure that all reads ask for, and segments have.
    """

    prompt: Prompt
    chat: Chat
    sampling: Sampling = GREEDY
    until: tuple[str, ...] = ()
    max_answer_tokens: int | None = None
    answer_reserve: int = 100
    question: str = ""
    scorer: Scorer | None = field(default=None, repr=False, compare=False)
    answer_of: Callable[[Ids], str | None] = field(default=lambda ids: None, repr=False, compare=False)
    longest: Callable[[], int] = field(default=lambda: 0, repr=False, compare=False)
    confidence: Confidence | None = None

    # --- other questions made of this one; noise, and so what is shared, stays that of the root ---

    def sample(self, index: int) -> Ask:
        """Member `index` of every pool over this question (0 is this one): the same for all methods, so pools are shared."""
        return replace(self, sampling=self.sampling.sample(index))

    def measuring(self, confidence: Confidence) -> Ask:
        """The same question; what is read says how sure the model was of each token (`Segment.confidence`)."""
        return replace(self, confidence=confidence)

    def saying(self, suffix: str) -> Ask:
        """The same question with an instruction after a blank line (conditional control)."""
        return replace(self, prompt=self.prompt.with_suffix(suffix))

    def turn(self, messages: Sequence[Mapping[str, str]]) -> Ask:
        """The conversation goes on: `messages` ({role, content}) follow what this one's prompt holds."""
        return replace(self, prompt=self.prompt.followed(messages))

    # --- what is there ---

    @property
    def head(self) -> Ids:
        """The prompt with the thinking start, which the chat template may have written: where thinking begins."""
        return self.prompt.ids + self.prompt.thinking_start

    @property
    def room(self) -> int:
        """Tokens of thinking that fit when a forced end and `answer_reserve` tokens of answer must follow: s1's
        `max_tokens_thinking=auto`, but for this question and not for the longest one of a batch."""
        return self.room_after(self.head)

    @property
    def room_of_batch(self) -> int:
        """`room` as the reference has it: of the longest question of the batch, which is the whole task."""
        return self.room - max(0, self.longest() - len(self.head))

    def room_after(self, head: Ids) -> int:
        return self.chat.context_length - len(head) - self.chat.frame - self.answer_reserve

    def encode(self, text: str) -> Ids:
        return self.chat.encode(text)

    def decode(self, ids: Ids) -> str:
        return self.chat.decode(ids)

    # --- steps ---

    def think(
        self, limit: int | None = None, *, after: Ids = (), forbid: Forbid | None = None, logprobs: bool = False,
        role: Role = "thinking",
    ) -> Read:  # fmt: skip
        """Read the thinking, from its beginning or from `after` some of it, up to its end or `limit` tokens.

        Raises BadLimit for a limit that is no number of tokens.
        """
        limit = tokens(limit)
        return self.read(self.head + after, self.chat.thinking_stops, limit, forbid=forbid, logprobs=logprobs, role=role)

    def read(self, prefix: Ids, stop: Stops, limit: int | None, **how: Any) -> Read:
        """Read this question's stream behind `prefix`; how: the rest of what a `Read` says."""
        return Read(prefix, self.sampling, stop, limit, confidence=self.confidence, **how)

    def thinking(self, span: Span) -> Segment:
        return Segment.of("thinking", span)

    def ended(self, span: Span) -> bool:
        """Whether the model ended its thinking with this read (and no limit, nor a mark that was looked for)."""
        return span.reason == "stop" and bool(span.stop) and span.stop[-1] in self.chat.thinking_stops.ids

    def answer(
        self, prefix: Ids, *, role: Role = "answer", limit: int | None = None, until: Sequence[str] | None = None
    ) -> Read:
        """Read an answer from its own stream, which begins after `prefix`. Limit and stop strings: the task's unless given."""
        stops = self.chat.answer_stops | Stops(strings=tuple(self.until if until is None else until))
        return self.read(prefix, stops, self.max_answer_tokens if limit is None else tokens(limit), role=role)

    def closing(self, thinking: Ids, *, forced: bool, words: bool = True) -> Ids:
        """What is appended to finished thinking: the delimiter; and when it was cut, as in s1, a newline before (unless one
        is there, or the format has another break) and, unless not `words`, "Final Answer:" after. A format without a delimiter
        has only these words to ask for an answer."""
        chat = self.chat
        if not forced or not chat.thinking_end:
            return chat.thinking_end or chat.final_answer
        has_newline = chat.ends_with_newline(thinking) or chat.format.thinking_start.startswith("\n")
        before = chat.format.forced_break.removeprefix("\n") if has_newline else chat.format.forced_break
        return chat.encode(before) + chat.thinking_end + (chat.final_answer if words else ())

    def close(
        self, segments: Sequence[Segment], last: Span, *, end: End | None = None, forced: bool | None = None,
        words: bool = True, start: Ids | None = None, **facts: Any,
    ) -> Method:  # fmt: skip
        """End the thinking, read the answer, return the trace. No answer where the context has no room left for one.

        segments: the thinking so far, injected words included. last: the read that ended it; unless `forced` says otherwise, an
        end that was no stop gets "Final Answer:" (not `words`: its delimiter alone). end: of the trace, where `last` does not
        tell it. start: what opened the thinking, where it is not what the chat format says. facts: waits, info.
        """
        forced = last.reason != "stop" if forced is None else forced
        end = end or ("context" if last.reason == "context" else "forced" if forced else "natural")
        start = self.prompt.thinking_start if start is None else start
        trace = Trace(self.prompt.ids, [Segment("delimiter", start), *segments], end=end, **facts)
        closing = self.closing(last.ids or trace.ids("thinking", "injected"), forced=forced, words=words)
        prefix = trace.prompt + trace.ids() + closing
        if len(prefix) < self.chat.context_length:
            answer = yield self.answer(prefix, role="forced_answer" if forced else "answer")
            trace.segments += [Segment("delimiter", closing), Segment.of("answer", answer)]
        return trace

    def unfinished(self, segments: Sequence[Segment] = (), *, end: End = "context", **facts: Any) -> Trace:
        """The trace of thinking that gets no answer."""
        return Trace(self.prompt.ids, [Segment("delimiter", self.prompt.thinking_start), *segments], end=end, **facts)

    def judged(self, steps: Sequence[str]) -> Generator[Any, Any, list[float]]:
        """What the scorer says of each of the steps of a solution: how probably it is right, 0 to 1."""
        if not steps:
            return []
        rows = yield self.reader.score(self.question, steps)
        return self.reader.values(rows)

    @property
    def reader(self) -> Scorer:
        """The scorer, where there must be one."""
        if self.scorer is None:
            raise ValueError("scorer=none: this method needs a model that scores; choose one with scorer=...")
        return self.scorer

    # --- where the model itself writes the answer delimiter, in the stream of its thinking ---

    @property
    def own_delimiter(self) -> Ids:
        """The ids by which the model itself starts its answer: the thinking end from its stop token on, without white space
        at the end (how a model goes on there is its own affair). () for a format without a delimiter."""
        ids, stops = self.encode(self.chat.format.thinking_end.rstrip()), self.chat.thinking_stops.ids
        return ids[next((i for i, token in enumerate(ids) if token in stops), 0) :]

    @property
    def own_end(self) -> Stops:
        """Where thinking ends when nobody interferes: at the model's whole answer delimiter, or with its turn."""
        delimiter = self.own_delimiter
        return Stops(ids=self.chat.answer_stops.ids, sequences=(delimiter,) if delimiter else ())

    def own_answer(self, head: Ids, thinking: Span, limit: int | None) -> Generator[Any, Any, list[Segment]]:
        """What follows `thinking` (a read of the stream after `head`) in the same stream: delimiter and answer segments, or
        no segments when the model never started an answer."""
        if thinking.stop != self.own_delimiter:
            return []
        stops = self.chat.answer_stops | Stops(strings=self.until)
        span = yield self.read(head, stops, limit, start=thinking.end, role="answer")
        return [Segment("delimiter", thinking.stop), Segment.of("answer", span)]


End = Literal["natural", "forced", "context", "none"]
Limits = tuple[int | None, int | None]
Settings = Any
"""The bound settings of a method, as attributes; settings that are methods are partials, as they are called."""


BUDGET = {"max_thinking_tokens": "budget", "max_thinking_tokens=auto": "no budget"}  # words of methods that have one


class Declared(NamedTuple):
    """What a method says of itself: functions of its bound settings, all optional (`method` explains each)."""

    limits: Callable[[Settings], Limits] | None = None
    ignored_ends: Callable[[Settings], int] | None = None
    relative: Callable[[Settings], str | None] | None = None
    instructed: Callable[[Settings], int | None] | None = None
    free: Callable[[Settings], bool] | None = None
    needs_sampling: Callable[[Settings], str | None] | None = None
    needs_scorer: bool | None = None
    confidence: Confidence | None = None
    columns: Callable[[Settings], Sequence[str]] | None = None
    check: Callable[[Settings, Checks], None] | None = None
    curve: tuple[str, ...] = ()
    words: Mapping[str, str] = {}


def method(function: Callable | None = None, **declared: Any) -> Any:
    """Says what plans, checks, metrics and figures must know of a method. What it does not say is its inner method's.

    limits: (least, most) thinking tokens asked for, None where there is no limit (Control; paper, section 3.2).
    ignored_ends: how often the end of thinking is ignored ("Wait"): a curve of its own in the figure.
    relative: "less" or "more": it must think less or more than the same model left free (class-conditional control).
    instructed: the number of thinking tokens that the prompt names: how far from it the model stays is measured.
    free: nothing limits, extends or instructs the thinking: what `relative` is measured against.
    needs_sampling: why it needs a temperature above 0 ("all votes would be the same"), or None.
    needs_scorer: whether it asks a reward model (`ask.judged`).
    confidence: the measure of confidence that it reads (`ask.measuring`), which not every engine says.
    columns: which entries of its traces' `info` are measurements, shown as means (default: all numbers).
    check: raises ValueError for settings that make no sense, with the help of `checks.Checks`.
    curve: settings that make points of one curve (numbers always do), so not part of its name.
    words: what people call settings in tables and figures: {"tokens": "budget", "n": "{} votes", "string=null": "no Wait"}. Of
        "budget" come "budget 256" and "no budget"; an empty word lets the value speak for itself.
    """

    def hang(function: Callable) -> Callable:
        function.declared = Declared(**declared)  # type: ignore[attr-defined]
        return function

    return hang if function is None else hang(function)
