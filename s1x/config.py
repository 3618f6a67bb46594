"""What a configuration may hold: types, ranges, and one clear sentence for everything that is wrong.

Types and unknown keys are checked while Hydra composes (the dataclasses below are the schema of `conf/`); ranges, files and
whatever needs two settings at once by `validate`, before anything heavy is imported. Groups whose settings depend on the
chosen member (task, method, engine, data, train, scale) are typed by their own YAML: a key it does not list is an error too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .chat import ChatFormat
from .errors import SettingError, one_experiment, sentences
from .files import check_name, check_path, check_text, check_writable, is_local
from .hints import unknown
from .importing.settings import check_import
from .stages import check_installed, stages, together
from .submit import settings as submitting
from .tracking.settings import Tracking, check_tracking

REPORT_X = ("thinking_tokens", "path_tokens", "flops")


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
    instruction: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    date: str | None = None
    thinking_start: str = MISSING
    thinking_end: str = MISSING
    forced_break: str = MISSING
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
    """`dir` null: kept in memory, and gone with the process. `action`, `only`, `older` (days) and `file` are of stage=store."""

    dir: str | None = MISSING
    accept: list[str] = field(default_factory=list)
    fsync: bool = False
    action: str = "statistics"
    only: list[str] = field(default_factory=list)
    older: float | None = None
    file: str | None = None


@dataclass
class Report:
    """`x` of the figure: thinking_tokens; path_tokens (all decoded tokens, to compare sequential with parallel methods); flops
    (operations, those of the model that scores included).

    `compat: s1` computes as s1 does: close pairs stay in Scaling, votes are those of a pool's first k samples; `paper`
    computes as the paper says. `of` (stage=report): the finished directory whose report is made again, or a list of
    directories that are merged into a new one; `compare`: two that are compared there. `baseline`: the series that all others
    are compared with at equal cost; empty: none. `target`: an accuracy such as 0.8, to find the cheapest cell that reaches it.
    What is null is thinking_tokens, paper and none, or what `of` was made with.
    """

    x: str | None = None
    compat: str | None = None
    baseline: str | None = None
    target: float | None = None
    of: Any = None
    compare: list[str] | None = None


@dataclass
class Config:
    """The top level of a configuration, beside `import` (Import), which is no name in Python."""

    name: str = MISSING
    stage: Any = "evaluate"
    scale: Any = MISSING
    compat: Any = None
    model: Model = field(default_factory=Model)
    chat: Chat = field(default_factory=Chat)
    task: Any = MISSING
    method: Any = MISSING
    engine: Any = MISSING
    scorer: Any = None
    data: Any = None
    train: Any = None
    distributed: Any = None
    sampling: Sampling = field(default_factory=Sampling)
    answer: Answer = field(default_factory=Answer)
    seed: int = 0
    store: Store = field(default_factory=Store)
    tracking: Tracking = field(default_factory=Tracking)
    submit: Any = MISSING
    report: Report = field(default_factory=Report)
    plan: Any = False  # or true; stage=doctor becomes plan=doctor
    debug: bool = False


OPEN = (  # where + may make up settings
    "hydra",
    "engine.arguments",
    "chat.arguments",
    "submit.arguments",
    "scorer.engine",
    "scale.plan",
    "data.sources",
    "data.quality",
    "data.decontaminate.benchmarks",
    "data.difficulty.models",
)


def check_experiment(overrides: Iterable[Override]) -> None:
    """Raises SettingError when several experiments were typed."""
    for override in overrides:
        if override.key_or_group == "experiment":
            value = override.value()
            if override.is_sweep_override() or isinstance(value, list) and len(value) > 1:
                raise SettingError(one_experiment(override.input_line))


def check_typed(hydra: DictConfig) -> None:
    """Check what was typed for a job, which its configuration no longer shows; `hydra` is its Hydra node.

    Raises SettingError for a setting that + would make up, and for several experiments.
    """
    loader = GlobalHydra.instance().config_loader()
    typed = OverridesParser.create(config_loader=loader).parse_overrides(
        OmegaConf.to_container(hydra.overrides.task, resolve=False)
    )
    check_experiment(typed)
    added = [o for o in typed if (o.is_add() or o.is_force_add()) and not _is_group(loader, o.key_or_group)]
    added = [o for o in added if not any(f"{o.key_or_group}.".startswith(f"{node}.") for node in OPEN)]
    if not added:
        return
    rest = [o.input_line for o in typed if o not in added]
    without = loader.load_configuration(hydra.job.config_name, [*hydra.overrides.hydra, *rest], run_mode=RunMode.RUN)
    for key in (o.key_or_group for o in added):
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(without, parent) if parent else without
        if not OmegaConf.is_dict(node) or name not in node.keys():
            raise SettingError(unknown(key, without))


@cache
def _is_group(loader: ConfigLoader, key: str) -> bool:
    """Remembered, since each job of a sweep asks the same of the same loader."""
    return bool(loader.get_group_options(key))


def resolved(cfg: DictConfig, missing: bool = False) -> Any:
    """All settings as plain values. Raises SettingError for one that cannot be known, or (unless `missing`) has no value."""
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=not missing)
    except OmegaConfBaseException as error:
        if match := re.search(r"Missing mandatory value: ([\w.]+)", str(error)):
            raise SettingError(f"{match[1]}: has no value yet; add {match[1]}=...") from error
        raise SettingError(f"{error.full_key or 'the configuration'}: {str(error).splitlines()[0]}") from error


def validate(cfg: DictConfig, plain: dict[str, Any] | None = None) -> None:
    """Check one job's configuration (resolvable, without the `hydra` node) before anything heavy is loaded.

    plain: the same, resolved, where that was done already. Raises SettingError with the first problem found.
    """
    names = stages(cfg)
    if plain is None or MISSING in json.dumps(plain, default=str):
        plain = resolved(cfg)
    _check_texts(plain)
    if together(cfg):
        _check_task(json.dumps(plain["task"]))  # first: `answer` has its default from it
    _check_ranges(plain)
    check_tracking(plain["tracking"])
    if plain["compat"]["name"] == "s1":
        _check_dtype(plain["engine"])
    for key in NAMES if "train" in names else NAMES[:-1]:
        group, _, name = key.rpartition(".")
        node = plain[group] if group else plain
        if isinstance(node, dict) and isinstance(node.get(name), str):
            check_name(key, node[name])
    with sentences():
        ChatFormat(**plain["chat"])
    for name in names:
        if name in ("data", "train") and plain["data"] is None and "recipe" not in plain["train"]:
            raise SettingError(f"stage={name}: no data is chosen; add data=... (python run.py --help lists them)")
    if plain["store"]["dir"] is not None:
        if not Path(plain["store"]["dir"]).expanduser().is_dir():  # one that is there can at least be read
            check_writable("store.dir", plain["store"]["dir"])
    elif plain["store"]["accept"]:
        raise SettingError(f"store.accept={plain['store']['accept']}: store.dir=null keeps no streams to read; set store.dir")
    submitting.check(plain["submit"], names, plain)
    _check_method(plain)
    if not plain["plan"] and not submitting.submits(cfg):  # there the jobs say so
        check_installed(plain)
    if "import" in names:
        check_import(plain["import"])


# what settings are called that hold one
PATHS = ("path", "dir", "tokenizer", "file", "files", "lm_eval", "lora", "of", "compare")
NAMES = ("name", "model.name", "task.name", "data.name", "train.name")  # that become part of file names


def _check_texts(node: Any, key: str = "") -> None:
    """All text of a configuration, before any of it is used."""
    if isinstance(node, dict):
        for name, value in node.items():
            _check_texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            _check_texts(value, key)
    elif isinstance(node, str):
        check_text(key, node)
        if key.rpartition(".")[2] in PATHS:
            check_path(key, node)


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
    "plan": (lambda v: v is True or v is False or v == "doctor", "true or false"),
    "store.older": (lambda v: v is None or v >= 0, "a number of days, or null"),
    "report.compat": (lambda v: v in (None, "paper", "s1"), "null, paper or s1"),
    "report.target": (lambda v: v is None or 0 < v < 1, "null or an accuracy between 0 and 1, such as 0.8"),
    "report.x": (lambda v: v in (None, *REPORT_X), f"null or one of {', '.join(REPORT_X)}"),
}


def _check_ranges(plain: dict[str, Any]) -> None:
    for key, (valid, words) in RANGES.items():
        value: Any = plain
        for part in key.split("."):
            value = value[part]
        if not valid(value):
            raise SettingError(f"{key}={value}: must be {words}")


def _check_dtype(engine: dict[str, Any]) -> None:
    """`compat=s1` says in which numbers an engine computes, which not every engine can be told."""
    from .engines import build

    with sentences():
        if not build.takes(engine, "dtype"):
            raise SettingError(
                f"compat=s1: it computes in float32, and engine={engine.get('name')} has no dtype to set; choose an engine "
                "that has one, such as transformers or vllm"
            )


def _check_method(plain: dict[str, Any]) -> None:
    """Every method knows its own settings (and the methods it is composed of); the model's context bounds its budgets."""
    from .engines.build import check_confidences
    from .evaluation.naming import method_of
    from .evaluation.scorers import beside, format_of
    from .methods.facts import check, facts

    context = None
    to_come = "train" in stages(plain) if is_local(plain["model"]["path"]) else plain["plan"]  # a plan needs no model
    if "evaluate" in stages(plain) and not to_come:
        context = context_length(plain)
    with sentences():
        method = method_of(plain)
        scorer = format_of(plain["scorer"])
        beside(plain["engine"], plain["scorer"])  # raises where both want more of a GPU than there is
        check(
            method,
            context_length=context,
            temperature=plain["sampling"]["temperature"],
            chat=None,
            reserve=plain["answer"]["reserve"],
        )
        known = facts(method)
        check_confidences(plain["engine"], known.confidences)
        if scorer is None and known.needs_scorer:
            raise SettingError(
                f"method={known.name} needs a model that scores, and scorer=none; add scorer=... (--help lists them)"
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
