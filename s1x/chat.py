"""How a model talks: chat template, thinking and answer delimiters, all as token ids (`conf/chat`).

Joins are in ids: delimiters, "Wait" and newlines are encoded on their own and appended, never re-tokenized with their
neighbours (s1's harness does the same). What the template itself writes is encoded with it, as one text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from .streams.types import Ids, Stops, Trace

TODAY = "2026-01-01"
"""The day it is for templates that ask, unless chat.date says another: the same in all runs, since another day is another
prompt, for which nothing is stored."""

OURS = (
    *("conversation", "messages", "tokenize", "add_generation_prompt", "continue_final_message", "strftime_now"),
    *("padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask"),
)  # arguments of apply_chat_template that are no business of a chat format


class ThinkingClosed(ValueError):
    """A chat template closed the thinking in the prompt of a method that wants to read it. The message is a sentence."""


@dataclass(frozen=True)
class ChatFormat:
    """The strings of a chat format; the defaults are s1's (paper appendix D, s1's harness).

    thinking_start opens the thinking, unless the chat template has opened it; thinking_end closes it when the model stopped by
    itself. Where a budget cut it, forced_break stands before (its first newline only where the thinking ends with none) and
    final_answer behind. An empty forced_break says more: this family writes no newlines around its thinking, so training texts
    have none there either. thinking_stop and answer_stop are single tokens of the model; one that a tokenizer lacks does not
    count there, except the one that ends the thinking.
    arguments go to the chat template (enable_thinking, reasoning_effort, ...); date (YYYY-MM-DD) is what it takes for today,
    `TODAY` where it is None; instruction is added to every question after a blank line.

    Raises ValueError (a sentence) for values that make no sense.
    """

    name: str = "s1"
    system: str | None = None
    instruction: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    date: str | None = None
    thinking_start: str = "<|im_start|>think"
    thinking_end: str = "<|im_start|>answer"
    forced_break: str = "\n"
    final_answer: str = "\nFinal Answer:"
    thinking_stop: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")
    answer_stop: tuple[str, ...] = ("<|im_end|>",)

    def __post_init__(self) -> None:
        for key in ("thinking_start", "thinking_end", "forced_break", "final_answer"):
            if not isinstance(getattr(self, key), str):
                raise ValueError(f"chat.{key}={getattr(self, key)}: must be text, or empty text for none")
        for key in ("system", "instruction"):
            if not isinstance(getattr(self, key), str | None):
                raise ValueError(f"chat.{key}={getattr(self, key)}: must be text, or null for none")
        for key in ("thinking_stop", "answer_stop"):
            value = getattr(self, key)
            if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
                raise ValueError(f"chat.{key}={value}: must be a list of tokens, each with some text")
            object.__setattr__(self, key, tuple(value))  # YAML has lists
        if not isinstance(self.arguments, Mapping):
            raise ValueError(f"chat.arguments={self.arguments}: must be names with values, such as {{enable_thinking: false}}")
        if taken := [key for key in self.arguments if key in OURS]:
            hint = "set chat.date" if taken[0] == "strftime_now" else "leave it out"
            raise ValueError(f"chat.arguments.{taken[0]}: s1x itself says this to the chat template; {hint}")
        self.today  # noqa: B018  raises

    @property
    def today(self) -> datetime:
        try:
            return datetime.strptime(self.date or TODAY, "%Y-%m-%d")
        except (ValueError, TypeError):
            raise ValueError(f"chat.date={self.date}: must be a day as YYYY-MM-DD, or null for {TODAY}") from None

    def question(self, text: str) -> str:
        """The user's message that asks `text`."""
        return f"{text}\n\n{self.instruction}" if self.instruction else text

    def opened(self, text: str) -> bool:
        """Whether a prompt leaves off inside the thinking: its template wrote the thinking start."""
        start = self.thinking_start.strip()
        return bool(start) and text.rstrip().endswith(start)

    def closed(self, text: str) -> bool:
        """Whether a prompt leaves off behind the thinking: its template closed it (thinking is switched off)."""
        end = self.thinking_end.strip()
        return bool(end) and text.rstrip().endswith(end)


def has_template(tokenizer) -> bool:
    return getattr(tokenizer, "chat_template", "") is not None


def render(tokenizer, format: ChatFormat, messages: Sequence[Mapping[str, str]], *, ask: bool = True) -> str:
    """The text of `messages` ({role, content}), behind the format's system prompt; `ask`: up to where the model's words begin.

    Without a chat template it is the plain text of the messages, where the format has no delimiters that call for one.
    Raises ValueError (a sentence) where that is not so, or when the template refuses.
    """
    if format.system is not None:
        messages = [{"role": "system", "content": format.system}, *messages]
    if not has_template(tokenizer):
        if format.thinking_start or format.thinking_end or format.arguments:
            raise ValueError(
                f"chat={format.name}: this model's tokenizer has no chat template; chat=plain asks in plain text (and a "
                "model that was trained with a template needs a tokenizer that brings it, by model.tokenizer)"
            )
        return "\n\n".join(message["content"] for message in messages)
    template = str(getattr(tokenizer, "chat_template", ""))
    told: dict[str, Any] = {"strftime_now": format.today.strftime} if "strftime_now" in template else {}
    if format.date and "date_string" in template:
        told["date_string"] = format.today.strftime("%d %b %Y")
    try:
        return tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=ask, **told | dict(format.arguments)
        )
    except Exception as error:  # a template may raise what it likes
        reason = " ".join(str(error).split()) or type(error).__name__
        given = ", ".join(m["role"] for m in messages) + "".join(f", {k}={v}" for k, v in format.arguments.items())
        raise ValueError(
            f"chat={format.name}: the model's chat template does not take this conversation ({given}): {reason}"
        ) from error


@dataclass
class Chat:
    """A chat format bound to a tokenizer and a context length (tokens). ends: ids that end a turn, by the model's files
    (models.files.end_ids); the tokenizer's own end is one, too."""

    format: ChatFormat
    tokenizer: Any
    context_length: int
    ends: frozenset[int] = frozenset()
    _cache: dict[str, Ids] = field(default_factory=dict, repr=False)
    _prompts: dict[str, Prompt] = field(default_factory=dict, repr=False)

    def encode(self, text: str) -> Ids:
        if text not in self._cache:
            self._cache[text] = tuple(self.tokenizer.encode(text, add_special_tokens=False))
        return self._cache[text]

    def decode(self, ids: Ids) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def single(self, text: str) -> int:
        """The one id of `text`; a ValueError when the tokenizer needs several (or knows it not)."""
        ids = self.encode(text)
        if len(ids) != 1:
            raise ValueError(
                f"chat={self.format.name}: {text!r} is {len(ids)} tokens for this model's tokenizer; it must be one"
            )
        return ids[0]

    @cached_property
    def thinking_start(self) -> Ids:
        return self.encode(self.format.thinking_start)

    @cached_property
    def thinking_end(self) -> Ids:
        return self.encode(self.format.thinking_end)

    @cached_property
    def final_answer(self) -> Ids:
        return self.encode(self.format.final_answer)

    @property
    def frame(self) -> int:
        """Tokens that a forced end needs; the newline before it is not counted, as in s1."""
        return len(self.encode(self.format.forced_break.strip("\n"))) + len(self.thinking_end) + len(self.final_answer)

    @cached_property
    def thinking_stops(self) -> Stops:
        """The end of thinking: the delimiter's first token, or the end of the turn."""
        end = self.format.thinking_end.strip()
        return self._stops(self.format.thinking_stop, [text for text in self.format.thinking_stop if end.startswith(text)])

    @cached_property
    def answer_stops(self) -> Stops:
        """The end of the turn: what the format names, the tokenizer's own end, and those of the model's files."""
        return self._stops(self.format.answer_stop)

    def _stops(self, texts: Sequence[str], needed: Sequence[str] = ()) -> Stops:
        own = getattr(self.tokenizer, "eos_token_id", None)
        ids = self.ends | ({own} if isinstance(own, int) else set())
        ids |= {self.encode(text)[0] for text in texts if len(self.encode(text)) == 1}
        return Stops(ids=ids | {self.single(text) for text in (needed if ids else texts)})

    @property
    def unread_arguments(self) -> list[str]:
        """Arguments that the chat template does not name, so that they can have no effect."""
        template = str(getattr(self.tokenizer, "chat_template", None) or "")
        return [a for a in self.format.arguments if template and not re.search(rf"\b{re.escape(str(a))}\b", template)]

    @property
    def ends_turns(self) -> bool:
        """Whether a model's answer has an end of its own: a base model that is asked in plain text goes on with anything."""
        return has_template(self.tokenizer) and bool(self.format.answer_stop)

    def ends_with_newline(self, ids: Ids) -> bool:
        return bool(ids) and self.decode(ids[-4:]).endswith("\n")

    def opened(self, prompt: Ids) -> bool:
        """Whether the thinking was opened in a prompt (of which the last ids are looked at)."""
        return self.format.opened(self.decode(prompt[-32:]))

    def answer_text(self, trace: Trace) -> str:
        """The part of a trace that is graded: what follows the thinking, "Final Answer:" included; "" when it never ended.

        Of several turns it is the one whose answer is the last. Plain generation has its delimiters inside the answer segment,
        so the cut is made in text, at the last one. A chat format without delimiters has no separate answer: everything the
        model wrote is graded.
        """
        start, end = self.format.thinking_start.strip(), self.format.thinking_end.strip()
        last = max((i for i, s in enumerate(trace.segments) if s.kind == "answer"), default=len(trace.segments))
        asked = max((i for i, s in enumerate(trace.segments[:last]) if s.role), default=-1)
        prompt, segments = (trace.prompt if asked < 0 else trace.segments[asked].ids), trace.segments[asked + 1 : last + 1]
        if not end:
            return self.decode(tuple(i for s in segments for i in s.ids))
        thinking = [i for i, s in enumerate(segments) if s.kind in ("thinking", "injected")]
        after = segments[thinking[-1] + 1 :] if thinking else segments
        text = self.decode(tuple(i for s in after for i in s.ids))
        if end in text:
            return text.rpartition(end)[2]
        unfinished = text.lstrip().startswith(tuple(filter(None, (start, *self.format.thinking_stop))))
        return "" if unfinished or (not thinking and self.opened(tuple(prompt))) else text

    def prompt(self, text: str) -> Prompt:
        """The prompt of a question; made once, since every cell of a sweep asks for it (rendering takes a millisecond)."""
        if text not in self._prompts:
            self._prompts[text] = Prompt(self, self.format.question(text))
        return self._prompts[text]


@dataclass(frozen=True)
class Prompt:
    """A user's message under a chat format, with the turns that follow it ((role, text), ...).

    `ids` ends with the generation prompt: before the thinking, or within it where the chat template opens it. `written` are
    ids behind that, with which a method opens the thinking; or, where they are `whole`, all of the thinking and its end.
    """

    chat: Chat = field(repr=False, compare=False)
    text: str
    following: tuple[tuple[str, str], ...] = ()
    written: Ids = ()
    whole: bool = False

    @cached_property
    def rendered(self) -> str:
        messages = [{"role": "user", "content": self.text}]
        messages += [{"role": role, "content": content} for role, content in self.following]
        return render(self.chat.tokenizer, self.chat.format, messages)

    @cached_property
    def ids(self) -> Ids:
        tokenizer = self.chat.tokenizer  # a template writes its own beginning of the text, plain text gets the tokenizer's
        return tuple(tokenizer.encode(self.rendered, add_special_tokens=not has_template(tokenizer))) + self.written

    @property
    def closed(self) -> bool:
        """Whether the thinking was closed before it began, by the chat template or by what a method wrote."""
        return self.whole or self.chat.format.closed(self.rendered)

    @cached_property
    def thinking_start(self) -> Ids:
        """What is still to be written before thinking begins: nothing where the chat template has opened it.

        Raises ThinkingClosed where the template closed it: thinking that begins behind its own end is none.
        """
        if self.whole:
            raise ThinkingClosed("the method around this one gives all of the thinking, so there is none to read")
        if self.closed:
            given = ", ".join(f"chat.arguments.{k}={v}" for k, v in self.chat.format.arguments.items())
            raise ThinkingClosed(
                f"{given or f'chat={self.chat.format.name}'}: with this the model's chat template ends the thinking in the "
                f"prompt ({self.rendered[-30:]!r}), so there is none to read"
            )
        return () if self.written or self.chat.format.opened(self.rendered) else self.chat.thinking_start

    def with_suffix(self, suffix: str) -> Prompt:
        """The same question with an instruction after a blank line (conditional control)."""
        return replace(self, text=f"{self.text}\n\n{suffix}")

    def followed(self, messages: Sequence[Mapping[str, str]]) -> Prompt:
        """The conversation with `messages` ({role, content}) behind it."""
        return replace(self, following=self.following + tuple((m["role"], m["content"]) for m in messages))
