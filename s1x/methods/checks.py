"""Checks of method settings, before any model loads: each raises ValueError with a sentence that names the setting, its value
and what would be valid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..chat import Chat


TOKENS = "must be a whole number of tokens, 0 or more, or null for no limit"


class BadLimit(ValueError):
    """A limit that is no number of tokens. The message is a sentence that knows no setting (`Checks.blame` does)."""

    def __init__(self, limit: Any) -> None:
        super().__init__(f"a limit of {_shown(limit)}: {TOKENS}")
        self.limit = limit


def tokens(limit: Any) -> int | None:
    """`limit`, when it is a number of tokens or None. Raises BadLimit."""
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise BadLimit(limit)
    return limit


@dataclass(frozen=True)
class Checks:
    """The settings of one method, `at` its name in messages. `context_length` (tokens) and `chat` are None when they are not
    known yet; `reserve` is what a budget leaves for the answer."""

    settings: Mapping[str, Any]
    at: str
    context_length: int | None
    chat: Chat | None
    reserve: int = 0

    def whole(
        self,
        *keys: str,
        least: int = 1,
        most: int | None = None,
        why: str = "",
        null: bool = False,
        words: tuple[str, ...] = (),
    ) -> None:
        """A whole number from `least` to `most` (`why` says what sets it), null if allowed, or one of `words`."""
        others = "".join(f", {w}" for w in words) + (", null" if null else "")
        for key in keys:
            value = self.settings[key]
            if (value is None and null) or value in words:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{self.at}.{key}={_shown(value)}: must be a whole number of {least} or more{others}")
            if most is not None and value > most:
                raise ValueError(f"{self.at}.{key}={value}: must be at most {most} ({why}){others}")

    def context(self, key: str, *, null: bool = False) -> None:
        """A number of tokens that fits into the context."""
        self.whole(key, null=null, most=self.context_length, why="the model's context")

    def budget(self, *keys: str, least: int = 1, null: bool = False, words: tuple[str, ...] = ()) -> None:
        """A number of thinking tokens that leaves room for delimiters and the answer in the context."""
        most = None
        if self.context_length is not None:
            chat = self.chat
            frame = 0 if chat is None else len(chat.thinking_start) + chat.frame
            most = self.context_length - frame - self.reserve
            if most < least:
                raise ValueError(
                    f"answer.reserve={self.reserve}: leaves no room to think: the model's context is {self.context_length} "
                    f"tokens, and delimiters need {frame} of them"
                )
        why = f"the model's context is {self.context_length} tokens, delimiters and the answer need some of them"
        self.whole(*keys, least=least, null=null, words=words, most=most, why=why)

    def limits(self, declared: Callable[[Any], Sequence[Any]], settings: Any) -> None:
        """What a method declares as its limits, with or without a check of its own."""
        try:
            for limit in declared(settings):
                tokens(limit)
        except BadLimit as bad:
            raise ValueError(self.blame(bad)) from None
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"{self.at}: the limits that it declares cannot be made of its settings ({reason})") from error

    def blame(self, bad: BadLimit) -> str:
        """The sentence for a limit, with the setting that has its value, if one has."""
        same = (key for key, value in self.settings.items() if type(value) is type(bad.limit) and value == bad.limit)
        key = next(same, None)
        return f"{self.at}: {bad}" if key is None else f"{self.at}.{key}={_shown(bad.limit)}: {TOKENS}"

    def number(self, *keys: str, least: float | None = None, most: float | None = None) -> None:
        """A number from `least` to `most`."""
        ends = {
            (False, True): f" of {most} or less",
            (True, False): f" of {least} or more",
            (True, True): f" from {least} to {most}",
        }
        for key in keys:
            value = self.settings[key]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or (most is not None and value > most) or (least is not None and value < least):
                between = ends.get((least is not None, most is not None), "")
                raise ValueError(f"{self.at}.{key}={_shown(value)}: must be a number{between}")

    def one_of(self, key: str, allowed: tuple) -> None:
        if self.settings[key] not in allowed:
            valid = ", ".join(_shown(a) for a in allowed)
            raise ValueError(f"{self.at}.{key}={_shown(self.settings[key])}: must be one of {valid}")

    def switch(self, *keys: str) -> None:
        for key in keys:
            self.one_of(key, (True, False))

    def text(self, key: str) -> None:
        """null, or text that holds no token by which thinking or a turn ends."""
        value, chat = self.settings[key], self.chat
        if value is None:
            return
        if not isinstance(value, str) or not value:
            raise ValueError(f"{self.at}.{key}={_shown(value)}: must be some text, or null for none")
        if chat is not None:
            stops = (chat.thinking_stops | chat.answer_stops).ids & set(chat.encode(value))
            if stops:
                raise ValueError(
                    f"{self.at}.{key}={value!r}: its tokens include {chat.decode(tuple(stops))!r}, which ends thinking; "
                    "choose text without it, or null for none"
                )

    def wording(self, key: str, *names: str) -> None:
        """Text as in `text`, which is there and says {name} for each of `names`."""
        if self.settings[key] is None:
            raise ValueError(f"{self.at}.{key}=null: must be some text")
        self.text(key)
        if missing := [name for name in names if f"{{{name}}}" not in self.settings[key]]:
            raise ValueError(f"{self.at}.{key}={self.settings[key]!r}: must say {{{missing[0]}}}, where that is to stand")

    def texts(self, key: str) -> None:
        """A list of texts, at least one."""
        value = self.settings[key]
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        if not listed or not value or not all(isinstance(text, str) and text for text in value):
            raise ValueError(f"{self.at}.{key}={_shown(value)}: must be a list of texts, at least one")

    def chat_tokens(self) -> None:
        """The model has the tokens of the chat format, and its template takes a question (a ValueError says what is amiss)."""
        if self.chat is not None:
            _ = self.chat.thinking_stops, self.chat.answer_stops, self.chat.prompt("?").ids


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value) if isinstance(value, str) else str(value)
