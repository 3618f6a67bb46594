"""What a configuration may hold: types, ranges, and one clear sentence for everything that is wrong.

Types and unknown keys are checked while Hydra composes (the dataclasses below are the schema of `conf/`); ranges, files and
whatever needs two settings at once by `validate`, before anything heavy is imported. Groups whose settings depend on the
chosen member (task, method, engine, data, train, scale) are typed by their own YAML: a key it does not list is an error too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .errors import SettingError, sentences
from .files import PACKAGE, check_writable, is_local
from .stages import stages, together

TRACKING_MODES = ("auto", "online", "offline", "disabled")
REPORT_X = ("thinking_tokens", "path_tokens")


@dataclass
class Model:
    """A model: `path` is a directory or a hub id, `name` what tables and figures call it."""

    name: str = MISSING
    path: str = MISSING
    revision: str | None = None
    tokenizer: str | None = None  # a directory or hub id, where it is not the model's own


@dataclass
class Chat:
    """The strings of a chat format (s1x.chat.ChatFormat says what each is)."""

    name: str = MISSING
    system: str | None = None
    thinking_start: str = MISSING
    thinking_end: str = MISSING
    final_answer: str = MISSING
    thinking_stop: list[str] = MISSING
    answer_stop: list[str] = MISSING


@dataclass
class Sampling:
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass
class Answer:
    """The answer after the thinking: at most `max_tokens` (null: what fits), for which thinking leaves `reserve` tokens."""

    max_tokens: int | None = None
    reserve: int = 100


@dataclass
class Store:
    dir: str = MISSING


@dataclass
class Tracking:
    """Weights & Biases. `mode`: auto (online when logged in, else offline), online, offline, disabled."""

    mode: str = "auto"
    project: str = "s1x"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class Report:
    """`x` of the figure: thinking_tokens, or path_tokens (all decoded tokens, to compare sequential with parallel methods).

    `compat: s1` computes as s1 does: close pairs stay in Scaling, votes are those of a pool's first k samples.
    """

    x: str = "thinking_tokens"
    compat: str | None = None


@dataclass
class Config:
    """The top level of a configuration."""

    name: str = MISSING
    stage: Any = "evaluate"
    scale: Any = MISSING
    model: Model = field(default_factory=Model)
    chat: Chat = field(default_factory=Chat)
    task: Any = MISSING
    method: Any = MISSING
    engine: Any = MISSING
    data: Any = None
    train: Any = None
    distributed: Any = None
    sampling: Sampling = field(default_factory=Sampling)
    answer: Answer = field(default_factory=Answer)
    seed: int = 0
    store: Store = field(default_factory=Store)
    tracking: Tracking = field(default_factory=Tracking)
    report: Report = field(default_factory=Report)
    plan: bool = False
    debug: bool = False


def register() -> None:
    """Make known to Hydra: the schema, the `${s1x:path}` resolver (a file that ships with s1x), sweeper and launcher."""
    ConfigStore.instance().store(name="s1x_schema", node=Config)
    OmegaConf.register_new_resolver("s1x", lambda path: str(PACKAGE / path), replace=True)
    if find_spec("hydra_plugins") is None or find_spec("hydra_plugins.s1x_sweeps") is None:  # a checkout that is not installed
        sys.path.append(str(PACKAGE / "plugins"))


def validate(cfg: DictConfig) -> None:
    """Check one job's configuration (resolvable, without the `hydra` node) before anything heavy is loaded.

    Raises SettingError with the first problem found.
    """
    names = stages(cfg)
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise SettingError(f"{error.full_key or 'the configuration'}: {str(error).splitlines()[0]}") from error
    if together(cfg):
        _check_task(json.dumps(plain["task"]))  # first: `answer` has its default from it
    _check_ranges(plain)
    for name in names:
        if name in ("data", "train") and plain["data"] is None and "recipe" not in plain["train"]:
            raise SettingError(f"stage={name}: no data is chosen; add data=... (python run.py --help lists them)")
    check_writable("store.dir", plain["store"]["dir"])
    _check_method(plain)


Check = Callable[[Any], bool]


def _whole(low: int) -> Check:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low


RANGES: dict[str, tuple[Check, str]] = {
    "seed": (_whole(0), "a whole number, 0 or more"),
    "sampling.temperature": (lambda v: 0 <= v <= 100, "0 (greedy) or more"),
    "sampling.top_p": (lambda v: 0 < v <= 1, "more than 0 and at most 1"),
    "sampling.top_k": (_whole(0), "a whole number, 0 (all tokens) or more"),
    "answer.max_tokens": (lambda v: v is None or _whole(1)(v), "a whole number, 1 or more, or null (what fits)"),
    "answer.reserve": (_whole(0), "a whole number, 0 or more"),
    "tracking.mode": (lambda v: v in TRACKING_MODES, f"one of {', '.join(TRACKING_MODES)}"),
    "report.compat": (lambda v: v in (None, "s1"), "null or s1"),
    "report.x": (lambda v: v in REPORT_X, f"one of {', '.join(REPORT_X)}"),
}


def _check_ranges(plain: dict[str, Any]) -> None:
    for key, (valid, words) in RANGES.items():
        value: Any = plain
        for part in key.split("."):
            value = value[part]
        if not valid(value):
            raise SettingError(f"{key}={value}: must be {words}")


def _check_method(plain: dict[str, Any]) -> None:
    """Every method knows its own settings (and the methods it is composed of); the model's context bounds its budgets."""
    from .evaluation.naming import method_of
    from .methods.base import check

    context = None
    to_come = "train" in stages(plain) if is_local(plain["model"]["path"]) else plain["plan"]  # a plan needs no model
    if "evaluate" in stages(plain) and not to_come:
        context = context_length(plain)
    with sentences():
        check(
            method_of(plain),
            context_length=context,
            temperature=plain["sampling"]["temperature"],
            chat=None,
            reserve=plain["answer"]["reserve"],
        )


def context_length(plain: dict[str, Any]) -> int:
    """Tokens of context of the configured engine, from settings and the model's files.

    Raises SettingError when there is no such model.
    """
    from .engines import build

    with sentences():
        return build.context_length(plain["engine"], plain["model"])


@cache
def _check_task(task: str) -> None:
    """`task` is the node as JSON, so that the cells of a sweep read a task file once."""
    from .tasks.task import check_task

    with sentences():
        check_task(json.loads(task))
