"""What plans, checks, metrics and tables know of a method with its settings (base.py says how it declares that)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..chat import ThinkingClosed
from .base import Ask, Declared, Limits
from .checks import BadLimit, Checks

if TYPE_CHECKING:
    from ..chat import Chat


@dataclass(frozen=True)
class Facts:
    """What `facts` found out about a method with its settings; `series` names the curve that it is a point of, `title` says
    the same in people's words, and `words` what each setting (key below the method's) is called that has words."""

    name: str
    series: str
    title: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = (None, None)
    ignored_ends: int = 0
    relative: str | None = None
    instructed: int | None = None
    free: bool = False
    needs_sampling: str | None = None
    needs_scorer: bool = False
    confidences: frozenset[str] = frozenset()
    columns: tuple[str, ...] | None = None


def facts(run: Any, at: str = "method") -> Facts:
    """The facts of a method with settings (a partial of its function, as Hydra makes it).

    Raises ValueError when a setting is unknown or missing.
    """
    opened = _open(run, at)
    inner = {key: facts(value, f"{at}.{key}") for key, value in opened.inner()}
    first = next(iter(inner.values()), Facts("", ""))

    def own(name: str) -> Any:
        said = getattr(opened.declared, name)
        return getattr(first, name) if said is None else said(opened.settings)

    columns = own("columns")
    return Facts(
        name=opened.name,
        series=_series(opened, inner),
        title=_series(opened, inner, said=True),
        words=_called(opened, inner),
        limits=own("limits"),
        ignored_ends=own("ignored_ends"),
        relative=own("relative"),
        instructed=own("instructed"),
        free=bool(own("free")),
        needs_sampling=own("needs_sampling") or next((f.needs_sampling for f in inner.values() if f.needs_sampling), None),
        needs_scorer=bool(opened.declared.needs_scorer) or any(f.needs_scorer for f in inner.values()),
        confidences=frozenset(filter(None, [opened.declared.confidence])).union(*(f.confidences for f in inner.values())),
        columns=None if columns is None else tuple(columns),
    )


def check(run: Any, *, context_length: int | None, temperature: float, chat: Chat | None, reserve: int = 100) -> None:
    """Check a method's settings, and those of the methods in it, before anything heavy is loaded.

    context_length and chat are None while they are not known: what depends on them is then left out. Raises ValueError with a
    sentence that names the setting, its value and what would be valid.
    """
    _check(run, "method", Checks({}, "method", context_length, chat, reserve))
    if temperature <= 0 and (why := facts(run).needs_sampling):
        raise ValueError(
            f"sampling.temperature={temperature}: this method needs a temperature above 0, otherwise {why} (s1 uses 1)"
        )


def _check(run: Any, at: str, checks: Checks) -> None:
    opened = _open(run, at)
    own = replace(checks, settings=vars(opened.settings), at=at)
    own.chat_tokens()
    if opened.declared.check is not None:
        opened.declared.check(opened.settings, own)
    if opened.declared.limits is not None:
        own.limits(opened.declared.limits, opened.settings)
    inner = dict(opened.inner())
    for key, value in inner.items():
        _check(value, f"{at}.{key}", checks)
    if checks.chat is not None:
        _first_step(run, own, checks.chat)


def _first_step(run: Any, checks: Checks, chat: Chat) -> None:
    """Take the first step of a method, which needs no model and tells whether there is thinking to read at all."""
    try:
        next(run(Ask(chat.prompt("?"), chat)))
    except ThinkingClosed as closed:
        raise ThinkingClosed(f"{closed}; method=none answers at once") from None
    except BadLimit as bad:
        raise ValueError(checks.blame(bad)) from None
    except Exception:  # noqa: S110  whatever else it may be is said by the method's own cell
        pass


class _Opened(NamedTuple):
    """A method with settings, taken apart: what was given, the defaults, and both together as attributes."""

    name: str
    declared: Declared
    given: Mapping[str, Any]
    defaults: Mapping[str, Any]
    settings: SimpleNamespace

    def inner(self) -> Iterator[tuple[str, Any]]:
        """Settings that are methods themselves, also in lists (key.0, key.1, ...)."""
        for key, value in vars(self.settings).items():
            if is_method(value):
                yield key, value
            elif isinstance(value, list | tuple):
                yield from ((f"{key}.{i}", v) for i, v in enumerate(value) if is_method(v))


def _open(run: Any, at: str) -> _Opened:
    function, given = (run.func, run.keywords) if isinstance(run, partial) else (run, {})
    defaults = {p.name: p.default for p in list(inspect.signature(function).parameters.values())[1:]}
    for key in given:
        if key not in defaults:
            raise ValueError(f"{at}.{key}: there is no such setting; {function.__name__} has {', '.join(defaults) or 'none'}")
    settings = {**defaults, **given}
    if missing := [key for key, value in settings.items() if value is inspect.Parameter.empty]:
        raise ValueError(f"{at}.{missing[0]}: must be set ({function.__name__} has no default for it)")
    declared = getattr(function, "declared", Declared())
    return _Opened(function.__name__, declared, given, defaults, SimpleNamespace(**settings))


def is_method(value: Any) -> bool:
    return hasattr(value.func if isinstance(value, partial) else value, "declared")


def _series(opened: _Opened, inner: Mapping[str, Facts], said: bool = False) -> str:
    """The curve: the method with the settings that are words or switches and not the default. said: in people's words.

    Numbers (budgets, counts) are what a curve runs over, so they do not part series. Where one method only asks for a limit
    and the method inside it enforces one, that is said: "forced".
    """
    words: list[str] = []
    for key, value in opened.given.items():
        if within := [f for k, f in inner.items() if k.partition(".")[0] == key]:
            words += [f.title if said else f.series for f in within]
            if opened.declared.limits is not None and any(f.limits[1] is not None for f in within):
                words.append("forced")
        elif key not in opened.declared.curve:
            for name, own in _set(key, value, opened.defaults[key]):
                text = isinstance(own, str) and own.isprintable()
                plain = own if text else f"{name}={json.dumps(own, default=str)}"
                words.append(_said(name, own, opened.declared.words, plain) if said else plain)
    return opened.name + (f"({', '.join(filter(None, words))})" if any(words) else "")


def _set(key: str, value: Any, default: Any) -> Iterator[tuple[str, Any]]:
    """What is set otherwise than by default, if it is no number; of a group of settings (a dataclass), each of its own."""
    if is_dataclass(value) and type(value) is type(default):
        for k, v in vars(value).items():
            yield from _set(k, v, getattr(default, k))
    elif not (_number(value) or _number(default) or _plain(value) == _plain(default)):
        yield key, value


def _called(opened: _Opened, inner: Mapping[str, Facts]) -> dict[str, str]:
    """What the settings that have words are called where they stand, those of inner methods below their keys."""
    own = {key: _said(key, value, opened.declared.words, "") for key, value in vars(opened.settings).items()}
    below = {f"{key}.{name}": text for key, f in inner.items() for name, text in f.words.items()}
    return {key: text for key, text in own.items() if text} | below


def _said(key: str, value: Any, words: Mapping[str, str], plain: str) -> str:
    """A setting in the words that its method declares. Where it declares none: `plain`, and where that is not empty, of nothing
    and of switches its name."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if (whole := words.get(f"{key}={text}")) is not None:
        return whole
    if key not in words and not plain:
        return ""
    word = words.get(key) or key.replace("_", " ")
    if value is None or value is False:
        return f"no {word}"
    if value is True:
        return word
    if key not in words or isinstance(value, list | tuple | dict):
        return plain
    return word.replace("{}", text) if "{}" in word else f"{words[key]} {text}".strip()


def _plain(value: Any) -> Any:
    """Sequences alike, whether a signature or a YAML file holds them."""
    return list(value) if isinstance(value, tuple) else value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
