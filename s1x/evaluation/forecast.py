"""What cells would read, without a model: reads are answered with dummy tokens of an assumed length.

Methods are generators, so a forecast runs them as they are. Streams that cells share are therefore found to be shared, and a
new method needs nothing here. The assumptions are `scale.plan` and two of the task:

- thinking ends by itself after `task.thinking` tokens on average, log-normally spread over questions and over samples of one
  question (`spread`: two standard deviations of log(tokens)); a greedy sample is its question's mean, an instruction in the
  prompt changes nothing, and a forced countdown ends where the method's limit is (its tokens per step);
- where the chat format switches thinking off (`CLOSED`, "/no_think" in the system prompt), it ends in the prompt;
- an ignored end adds `wait` tokens, other words put into the thinking change nothing; an answer has `answer` tokens, after a
  forced end `forced_answer`; forced answers never agree and are never sure, so early exits are counted at their dearest;
- every turn of a conversation is thought about as long as the question, and never says that all is well;
- a step of a search, and what stands between two marks of the thinking, has `step` tokens, and what is scored is as good as
  any other;
- at most `SIMULATED` questions are run (fewer where a command reads very much), which stand for all `task.questions` of them;
  prompts are not counted, nor tries that run ahead of an accepted one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..cell import Cell
from ..chat import OURS, Chat, ChatFormat, ThinkingClosed
from ..errors import SettingError
from ..methods.base import Ask
from ..methods.checks import BadLimit
from ..methods.facts import facts
from ..scorer import Scorer
from ..streams.types import All, First, Read, Sampling, Score, Span, Until
from .naming import method_of, model_of
from .scorers import format_of

SIMULATED, FEWEST = 30, 4  # questions
READS = 60_000  # by which their number is lowered, so that a plan takes seconds
UNSURE = 9.0  # confidence at every token, and its log-probability below 0
# arguments of chat templates that then end the thinking
CLOSED = {"enable_thinking": False, "thinking": False, "thinking_budget": 0}
NORMAL = NormalDist()
Reads = dict[Any, float]  # tokens by stream key and by (model, row of scores), times the questions that they stand for


@dataclass
class World:
    """Answers the reads of one cell on one question, and notes how far each stream is read."""

    chat: Chat
    model: str
    plan: Mapping[str, Any]
    mean: float  # thinking tokens of this question
    countdown: float  # thinking tokens after which a countdown is at 0
    prompt: int  # tokens before the thinking
    outputs: int  # of the model that scores
    reads: dict[Any, int] = field(default_factory=dict)

    def run(self, step: Any) -> Any:
        """The value of a step: a read, All, First, or a generator."""
        if isinstance(step, Read):
            return self.read(step)
        if isinstance(step, Score):
            return self.score(step)
        if isinstance(step, All):
            return [self.run(member) for member in step.members]
        if isinstance(step, Until):  # as if its condition never held
            return self.run(step.read)
        if isinstance(step, First):
            results: list[Any] = []
            for member in step.members:
                results.append(self.run(member))
                if step.accept(results):
                    break
            return results
        value = None
        while True:
            try:
                asked = step.send(value)
            except StopIteration as stop:
                return stop.value
            value = self.run(asked)

    def read(self, read: Read) -> Span:
        key = read.key(self.model)
        length, stop = self.end(read)
        room = self.plan["context"] - len(read.prefix) - read.start
        limit = room if read.limit is None else min(read.limit, room)
        ended = length + len(stop) <= limit
        tokens = max(length if ended else limit, 0)
        end = read.start + tokens + len(stop) * ended
        self.reads[key] = max(end, self.reads.get(key, 0))
        ids = (1 << 30 | int.from_bytes(key[:3], "little"),) * tokens  # of its own, so that no two answers agree
        reason = "stop" if ended else "limit" if limit == read.limit else "context"
        logprobs = (-UNSURE,) * tokens if read.logprobs else None
        confidence = (UNSURE,) * tokens if read.confidence else None
        return Span(ids, reason, read.start, end, stop if ended else (), logprobs, confidence)

    def score(self, score: Score) -> list[tuple[float, ...]]:
        """Rows that differ from one another and mean nothing."""
        width = len(score.of) if isinstance(score.of, tuple) else self.outputs
        keys = score.keys(self.model)
        for key, m, n in zip(keys, (0, *score.at), score.at, strict=False):
            self.reads[score.model, key] = n - m
        return [tuple(-(byte + 1) / 128 for byte in key[:width]) for key in keys]

    def end(self, read: Read) -> tuple[int, tuple[int, ...]]:
        """After how many tokens the stream ends by itself, and with what. The read's role says what it is."""
        stop = (read.stop.sequences or ((min(read.stop.ids, default=0),),))[0]
        if read.role in ("answer", "forced_answer", "probe"):
            return self.plan["answer" if read.role == "answer" else "forced_answer"], stop
        if read.role == "wait":
            return max(read.forbid.first if read.forbid else 0, self.plan["wait"]), stop
        length = round(self.mean * self.draw(read.sampling))
        if read.role in ("step", "resumed"):
            left = length - (len(read.prefix) + read.start - self.prompt)
            if left <= self.plan["step"] or read.role == "resumed":
                return max(left, 0), (min(read.stop.ids),)
            return self.plan["step"], (read.stop.sequences or ((1 << 29,),))[-1]
        if read.role == "countdown" and self.countdown < length:
            return round(self.countdown), read.stop.sequences[-1]
        return max(length - read.start, 0), stop

    def draw(self, sampling: Sampling) -> float:
        """A sample's length over its question's mean."""
        if sampling.noise is None:
            return 1.0
        share = (sampling.noise * 0x9E3779B97F4A7C15 % (1 << 64) + 0.5) / (1 << 64)
        return lognormal(NORMAL.inv_cdf(share), self.plan["spread"][1])


def lognormal(z: float, spread: float) -> float:
    """A draw of mean 1 whose logarithm has the standard deviation `spread`."""
    return math.exp(spread * z - spread**2 / 2)


def simulated(cells: Sequence[Cell]) -> int:
    """On how many questions cells are tried out, all on the same: `SIMULATED`, or fewer where these cells read very much. The
    last cell of each method, which in grids is its largest, stands for the others."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(str(cell.cfg.method.get("_target_")), []).append(cell)
    reads = sum(len(forecast(group[-1], 1)) * len(group) for group in groups.values())
    return max(FEWEST, min(SIMULATED, READS // max(1, reads)))


def questions_of(cell: Cell) -> int:
    return min(cell.cfg.task.questions, cell.cfg.task.limit or cell.cfg.task.questions)


def forecast(cell: Cell, tried: int = SIMULATED) -> Reads:
    """Tokens that the cell alone decodes, by stream. tried: on at most so many questions, which stand for all.

    Raises SettingError when its task does not say how many questions it has and how long they are thought about.
    """
    cfg = cell.cfg
    plan = OmegaConf.to_container(cfg.scale, resolve=True).get("plan") or {}
    for key in ("questions", "thinking"):
        if cfg.task[key] is None:
            raise SettingError(f"task.{key}=null: plan=true needs to know it of {cfg.task.name}; add task.{key}=NUMBER")
    for key in ("context", "wait", "answer", "forced_answer"):
        if not isinstance(plan.get(key), int | float):
            raise SettingError(f"scale.plan.{key}={plan.get(key)}: must be a number; plan=true reckons with it")
    format = ChatFormat(**_plain(cfg.chat))
    chat = Chat(format, Words(format), plan["context"])
    method = method_of(cfg)
    most = facts(method).limits[1]
    questions = questions_of(cell)
    tried = min(questions, tried)
    model, sampling, seed = model_of(cfg), _plain(cfg.sampling), cfg.seed
    limits = {"max_answer_tokens": cfg.answer.max_tokens, "answer_reserve": cfg.answer.reserve}
    strings = format_of(_plain(cfg.scorer) if cfg.scorer else None)
    scorer = strings and Scorer(strings, Words())
    reads: Reads = {}
    for number in range(tried):
        mean = cfg.task.thinking * lognormal(NORMAL.inv_cdf((number + 0.5) / tried), plan["spread"][0])
        prompt = chat.prompt(f"{cfg.task.name} {number}")
        for repeat in range(cfg.task.repeats):
            start, outputs = len(prompt.ids) + len(chat.thinking_start), strings.right + 2 if strings else 0
            world = World(chat, model, plan, mean, math.inf if most is None else most, start, outputs)
            drawn = Sampling.of(prompt.ids, seed=seed, index=repeat, **sampling)
            try:
                world.run(method(Ask(prompt, chat, drawn, scorer=scorer, **limits)))
            except BadLimit as bad:
                raise SettingError(f"method={facts(method).name}: {bad}") from None
            except ThinkingClosed as closed:
                raise SettingError(f"method={facts(method).name}: {closed}; method=none answers at once") from None
            for key, tokens in world.reads.items():
                reads[key] = max(reads.get(key, 0), tokens * questions / tried)
    return reads


def _plain(node: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(node, resolve=True)


class Words:
    """A tokenizer of words, which stands in for the model's: it needs no files, and delimiters are single tokens in it. format:
    of the chat, which may switch thinking off."""

    words: list[str] = []  # of all instances: what cells share depends on it
    places: dict[str, int] = {}

    def __init__(self, format: ChatFormat | None = None) -> None:
        self.format = format

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        found = re.findall(r"<[^<>\s]+>|\[/?[A-Z_]+\]|\n| ?\w+| ?[^\w\s]", text)
        for word in dict.fromkeys(found):
            if word not in self.places:
                self.places[word] = len(self.words)
                self.words.append(word)
        return [self.places[word] for word in found]

    def decode(self, ids: list[int], **_: Any) -> str:
        """Ids that stand for no word are words of their own: what different streams wrote is read as different."""
        words, known = self.words, len(self.words)
        return "".join([words[i] if i < known else f" x{i:x}" for i in ids])

    def apply_chat_template(self, messages: list[dict[str, str]], **told: Any) -> str:
        """Other arguments make another prompt, whatever a model's own template makes of them."""
        arguments = (f"{key}={value}\n" for key, value in sorted(told.items()) if key not in OURS)
        turns = (f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        return "".join((*arguments, *turns)) + "<|im_start|>assistant\n" + self._closed(told)

    def _closed(self, told: Mapping[str, Any]) -> str:
        """Thinking that the chat template ends before it began, as those of all families do it."""
        off = any(key in told and told[key] == value for key, value in CLOSED.items())
        if self.format is None or not (off or "/no_think" in (self.format.system or "")):
            return ""
        return f"{self.format.thinking_start}\n\n{self.format.thinking_end}"
