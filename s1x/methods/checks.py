"""Checks of method settings, before any model loads. Every method module has `check(cfg, *, context_length, temperature,
chat, at)`; all raise ValueError with a sentence that names the setting, its value and what would be valid.

`cfg` is the method's config (a mapping, `at` is its name in messages), `context_length` and `chat` are None when they are
not known yet: what depends on them is then left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module


def check(cfg: Mapping, *, context_length: int | None, temperature: float, chat, at: str = "method") -> None:
    """Check the config of any method (and of the methods in it) by the `check` of its module."""
    module = import_module(cfg["_target_"].rpartition(".")[0])
    module.check(cfg, context_length=context_length, temperature=temperature, chat=chat, at=at)


def whole(
    cfg: Mapping,
    key: str,
    *,
    at: str,
    least: int = 1,
    most: int | None = None,
    why: str = "",
    null: bool = False,
    words: tuple[str, ...] = (),
) -> None:
    """`cfg[key]` is a whole number from `least` to `most` (`why` says what sets it), null if allowed, or one of `words`."""
    if key not in cfg:  # the method's own default applies
        return
    value = cfg[key]
    if (value is None and null) or value in words:
        return
    others = "".join(f", {w}" for w in words) + (", null" if null else "")
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{at}.{key}={_shown(value)}: must be a whole number of {least} or more{others}")
    if most is not None and value > most:
        raise ValueError(f"{at}.{key}={value}: must be at most {most} ({why}){others}")


def one_of(cfg: Mapping, key: str, allowed: tuple, *, at: str) -> None:
    if key in cfg and cfg[key] not in allowed:
        raise ValueError(f"{at}.{key}={_shown(cfg[key])}: must be one of {', '.join(_shown(a) for a in allowed)}")


def answer_settings(cfg: Mapping, *, context_length: int | None, chat, at: str) -> None:
    """What every method that reads an answer has; also that the model has the tokens of the chat format."""
    whole(cfg, "max_answer_tokens", at=at, null=True, most=context_length, why="the model's context")
    if chat is not None:
        _ = chat.thinking_stops, chat.answer_stops  # a ValueError here says which token the model lacks


def budget(
    cfg: Mapping,
    key: str,
    *,
    context_length: int | None,
    chat,
    at: str,
    least: int = 1,
    null: bool = False,
    words: tuple[str, ...] = (),
) -> None:
    """`cfg[key]` is a number of thinking tokens that leaves room for delimiters and the answer in the context."""
    most, reserve = None, cfg.get("answer_reserve", 0)
    if context_length is not None:
        frame = 0 if chat is None else len(chat.thinking_start) + len(chat.thinking_end) + len(chat.final_answer)
        most = context_length - frame - reserve
    why = f"the model's context is {context_length} tokens, delimiters and the answer need some of them"
    whole(cfg, key, at=at, least=least, null=null, words=words, most=most, why=why)


def text(cfg: Mapping, key: str, *, chat, at: str) -> None:
    """`cfg[key]` is null or text that holds no token by which thinking or a turn ends."""
    value = cfg.get(key)
    if value is None:
        return
    if not isinstance(value, str) or not value:
        raise ValueError(f"{at}.{key}={_shown(value)}: must be some text, or null for none")
    if chat is not None:
        stops = (chat.thinking_stops | chat.answer_stops).ids & set(chat.encode(value))
        if stops:
            raise ValueError(
                f"{at}.{key}={value!r}: its tokens include {chat.decode(tuple(stops))!r}, which ends thinking; "
                "choose text without it, or null for none"
            )


def sampled(why: str, *, temperature: float, at: str) -> None:
    """The method needs samples that differ."""
    if temperature <= 0:
        raise ValueError(f"sampling.temperature={temperature}: {at} needs a temperature above 0, otherwise {why} (s1 uses 1)")


def _shown(value) -> str:
    return "null" if value is None else repr(value) if isinstance(value, str) else str(value)
