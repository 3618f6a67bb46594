"""How a model talks: chat template, thinking and answer delimiters, all as token ids (`conf/chat`).

Joins are in ids: delimiters, "Wait" and newlines are encoded on their own and appended, never re-tokenized with their
neighbours (s1's harness does the same).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from .streams.types import Ids, Stops


@dataclass(frozen=True)
class ChatFormat:
    """The strings of a chat format; the defaults are s1's (paper appendix D, s1's harness).

    thinking_start opens the thinking; thinking_end closes it when the model stopped by itself; final_answer is appended to
    thinking_end when a budget cut it; thinking_stop and answer_stop must be single tokens of the model.
    """

    name: str = "s1"
    system: str | None = None
    thinking_start: str = "<|im_start|>think"
    thinking_end: str = "<|im_start|>answer"
    final_answer: str = "\nFinal Answer:"
    thinking_stop: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")
    answer_stop: tuple[str, ...] = ("<|im_end|>",)


@dataclass
class Chat:
    """A chat format bound to a tokenizer and a context length (tokens)."""

    format: ChatFormat
    tokenizer: object
    context_length: int
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

    @cached_property
    def newline(self) -> Ids:
        return self.encode("\n")

    @cached_property
    def thinking_stops(self) -> Stops:
        """The end of thinking: the delimiter's first token, or the end of the turn."""
        return Stops(ids=frozenset(self.single(t) for t in self.format.thinking_stop))

    @cached_property
    def answer_stops(self) -> Stops:
        return Stops(ids=frozenset(self.single(t) for t in self.format.answer_stop))

    def ends_with_newline(self, ids: Ids) -> bool:
        return bool(ids) and self.decode(ids[-4:]).endswith("\n")

    def prompt(self, text: str) -> Prompt:
        """The prompt of a question; made once, since every cell of a sweep asks for it (rendering takes a millisecond)."""
        if text not in self._prompts:
            self._prompts[text] = Prompt(self, text)
        return self._prompts[text]


@dataclass(frozen=True)
class Prompt:
    """A user question under a chat format, with the turns that follow it ((role, text), ...).

    `ids` ends with the generation prompt, before any thinking.
    """

    chat: Chat = field(repr=False, compare=False)
    text: str
    following: tuple[tuple[str, str], ...] = ()

    @cached_property
    def ids(self) -> Ids:
        messages = [{"role": "user", "content": self.text}]
        messages += [{"role": role, "content": content} for role, content in self.following]
        if self.chat.format.system is not None:
            messages.insert(0, {"role": "system", "content": self.chat.format.system})
        rendered = self.chat.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return tuple(self.chat.tokenizer.encode(rendered, add_special_tokens=False))

    def with_suffix(self, suffix: str) -> Prompt:
        """The same question with an instruction after a blank line (conditional control)."""
        return replace(self, text=f"{self.text}\n\n{suffix}")

    def followed(self, messages: Sequence[Mapping[str, str]]) -> Prompt:
        """The conversation with `messages` ({role, content}) behind it."""
        return replace(self, following=self.following + tuple((m["role"], m["content"]) for m in messages))
