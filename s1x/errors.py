"""Errors that people read: one sentence that names the setting, its value and what would be valid."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import BooleanNode, DictConfig, FloatNode, IntegerNode, ListConfig, StringNode
from omegaconf.errors import ValidationError

from .hints import unknown

FULL = (errno.ENOSPC, errno.EDQUOT)  # no room: a full disk, or a full share of it


def printable(text: str, most: int | None = None) -> str:
    """Text from elsewhere (a server, a file, a command line) for people: what a terminal obeys instead of showing, and what
    turns the direction of writing, stands there as its code. most: characters that are kept."""
    text = text if most is None or len(text) <= most else f"{text[:most]}..."
    return "".join(c if c.isprintable() or c in "\n\t\xa0" else c.encode("unicode_escape").decode() for c in text)


class Printable(logging.Formatter):
    """Log lines that do nothing to a terminal but stand there."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class SettingError(ValueError):
    """A setting is wrong. The message is for people: it names the setting, its value and what would be valid."""


class CellFailed(RuntimeError):
    """A cell that runs alone failed, and the log has said where in the code. The message is one sentence."""


class TrainingFailed(RuntimeError):
    """The ranks of a training ended before it did. The message is one sentence: which rank, why, and where its log is."""


class DashboardFailed(RuntimeError):
    """W&B did not do what stage=dashboard asked. The message is one sentence."""


class NotReady(RuntimeError):
    """A check before the start has found what would stop a command. The message is one sentence."""


@contextmanager
def sentences() -> Iterator[None]:
    """Errors of other rooms about settings (ValueError, FileNotFoundError with a sentence) become SettingErrors."""
    try:
        yield
    except SettingError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise SettingError(str(error)) from error


def explain(error: BaseException) -> str:
    """One sentence that says which setting is wrong and what would be valid, as far as the error knows."""
    text = str(error)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{error.strerror}; raise the limit (ulimit -n), and the same command goes on"
    if isinstance(error, OSError) and error.strerror:
        where = error.filename or "hydra.run.dir, hydra.sweep.dir or store.dir"
        return f"{where}: {error.strerror}" + "; free some, and the same command goes on" * (error.errno in FULL)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing(error.missing_cfg_file, list(error.options or ()))
    if match := re.match(r"Multiple values for experiment\..* experiment: (.+)'", text):
        return one_experiment(f"+experiment={match[1]}")
    if match := re.match(r"Ambiguous value for argument '(.+)'", text):
        key, value = match[1].split("=", 1)
        if key.lstrip("+") == "experiment":
            return one_experiment(match[1])
        return f"{match[1]}: add -m to sweep over these values, or write {key}='\"{value}\"' or {key}=[{value}]"
    if isinstance(error, OverrideParseException):
        quotes = "between quotes that the shell leaves: 'key=\"value\"'"
        return f"{error.override}: not a valid override; write key=value, a value of spaces, commas or parentheses {quotes}"
    if match := re.match(r"Could not override '(.+)'\.\s*No match in the defaults list", text):
        key = match[1]
        return f"{key}: the defaults choose none, so there is nothing to replace; add one with +{key}=..."
    if match := re.match(r"Could not override '(.+)'", text):
        node = getattr(error.__cause__, "parent_node", None)
        known = isinstance(node, DictConfig)
        return unknown(match[1], node._get_root()) if known else f"{match[1]}: there is no such setting"
    if match := re.match(r"Could not append to config. An item is already at '(.+)'", text):
        return f"+{match[1]}: there is such a setting already; write it without the +"
    if match := re.match(r"Error merging override (.+)", text.splitlines()[0] if text else ""):
        return _of_another_type(match[1].rstrip("."), error.__cause__)
    if isinstance(error, ValidationError) and error.full_key:  # in a file
        return _of_another_type(f"{error.full_key}={_word(error.value)}", error)
    return " ".join(line.strip() for line in text.splitlines() if line.strip()) or type(error).__name__


def check_no_keys(typed: Iterable[str]) -> None:
    """Raises SettingError where a key or a password was typed: Hydra keeps what is typed, in files and tables.

    The sentence does not repeat it. An address takes none, and `api_key_env` is the name of a variable that is set.
    """
    for argument in typed:
        key, _, value = argument.partition("=")
        if re.search(r"://[^/\s,\]}]*@", value):
            raise SettingError(f"{key}: an address must not hold a key or a password; name its variable: api_key_env=NAME")
        for name in re.findall(r"api_key_env['\"]?\s*[=:]\s*['\"]?([^,'\"}\s]+)", argument):
            if name != "null" and name not in os.environ:
                raise SettingError(no_key(f"{key.removesuffix('.api_key_env')}.api_key_env"))


def no_key(setting: str) -> str:
    """The sentence for a setting that names an environment variable for a key, where there is none of that name."""
    return (
        f"{setting}: no environment variable of that name is set; put the key into it (the name is not shown, should it be the "
        "key itself)"
    )


def one_experiment(typed: str) -> str:
    """The sentence for several experiments in one command."""
    return f"{typed}: one experiment in a command, since each has its own grids and place; run one after the other"


def _missing(file: str, options: list[str]) -> str:
    group, _, name = file.rpartition("/")
    if not group:
        return f"There is no configuration named {name!r}"
    close = difflib.get_close_matches(name, options, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{group}={name}: there is no such {group.split('/')[-1]}; {hint}choose one of {', '.join(sorted(options))}"


KINDS: dict[type, str] = {
    IntegerNode: "a whole number",
    FloatNode: "a number",
    BooleanNode: "true or false",
    StringNode: "text",
    ListConfig: "a list, such as [a,b]",
    DictConfig: "settings, such as {name: value}",
}


def _of_another_type(typed: str, cause: BaseException | None) -> str:
    """The sentence for a value, typed as `key=value`, that is not of the setting's type; `cause` is OmegaConf's error."""
    setting, value = getattr(cause, "full_key", None), getattr(cause, "value", None)
    if setting and setting != typed.partition("=")[0].lstrip("+"):  # within what was typed: sampling={temperature: hot}
        typed = f"{setting}={_word(value)}"
    node = getattr(cause, "child_node", None)
    if type(node) not in KINDS:
        return f"{typed}: {str(cause).splitlines()[0] if cause else 'it does not fit'}"
    return f"{typed}: must be {KINDS[type(node)]}" + ", or null" * node._is_optional()


def _word(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
