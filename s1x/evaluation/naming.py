"""What cells are called and how they are grouped: id, series, limits and settings, from the configuration alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ..cell import Cell, stage_names
from ..errors import SettingError
from ..methods.facts import Facts, facts
from ..report.labels import known_series, named_series

NOT_KEYED = (
    "name",
    "stage",
    "store",
    "tracking",
    "report",
    "import",
    "plan",
    "debug",
    "scale",
    "compat",
    "submit",
)  # settings that change no result
TOKENS = ("dtype", "quantization", "lora", "arguments")  # of an engine: part of what a cell is called where they are set


def method_of(cfg: Mapping[str, Any] | DictConfig) -> Callable:
    """The method of a configuration with its settings, ready to be asked. ValueError when it is none."""
    node = OmegaConf.to_container(cfg.method, resolve=True) if isinstance(cfg, DictConfig) else cfg["method"]
    if not isinstance(node, dict) or "_target_" not in node:
        raise ValueError(f"method={node}: must be a method of conf/method, or a node with the _target_ of one")
    try:
        return instantiate(node | {"_partial_": True})
    except InstantiationException as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ValueError(f"method._target_={node['_target_']}: cannot be loaded ({reason})") from error


def identity(cell: Cell) -> dict[str, Any]:
    """The identifying keys of a cell record (metrics/cell.py, IDENTITY)."""
    cfg, known = cell.cfg, facts(method_of(cell.cfg))
    whole = keyed(cfg, known)
    return {
        "cell_id": _id(whole, known),
        "job": cell.job,
        "series": known.series,
        "model": cfg.model.name,
        "task": cfg.task.name,
        "method": known.name,
        "overrides": list(cell.overrides),
        "seed": cfg.seed,
        "temperature": cfg.sampling.temperature,
        "budget": known.limits[1],
        "limit_tokens": list(known.limits),
        "settings": dict(_flat(whole)),  # everything that was set and can change a result: {"method.ignore_end": 2, ...}
        "declared": {
            "limits": list(known.limits),
            "ignored_ends": known.ignored_ends,
            "relative": known.relative,
            "instructed": known.instructed,
            "free": known.free,
            "title": known.title,
            "words": {f"method.{key}": text for key, text in known.words.items()},
        },
    }


def model_of(cfg: DictConfig) -> str:
    """The name of the model that is evaluated, also when it is yet to be trained."""
    return cfg.train.name if "train" in stage_names(cfg) else cfg.model.name


def check_baseline(configs: Iterable[DictConfig]) -> None:
    """Raises SettingError where `report.baseline` of the first of these jobs names none of their series."""
    records: list[dict[str, Any]] = []
    wanted = None
    for cfg in configs:
        wanted = wanted if records else cfg.report.baseline
        if not wanted:
            return
        known = facts(method_of(cfg))
        declared = {"title": known.title}
        records.append({"task": cfg.task.name, "model": model_of(cfg), "series": known.series, "declared": declared})
    if records and named_series(records, wanted) is None:
        raise SettingError(f"report.baseline={wanted}: there is no such series; valid are {known_series(records)}")


def keyed(cfg: DictConfig, known: Facts | None = None) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    if judge := plain["task"].get("judge"):
        plain["task"]["judge"] = judge["model"]  # where it is reached, and how patiently, changes no verdict
    if known and not known.needs_scorer:
        del plain["scorer"]  # nobody asks it
    return {str(key): value for key, value in plain.items() if key not in NOT_KEYED}


def results_key(configs: Iterable[DictConfig]) -> str:
    """Equal for commands whose results may lie in one directory: those of the same jobs, in the same order.

    How results are made (servers, devices, sizes of batches) is left out: a command that was stopped may go on elsewhere.
    """
    jobs = []
    for cfg in configs:
        plain = keyed(cfg)
        del plain["distributed"]
        plain |= {"engine": _of_engine(plain["engine"]), "scorer": _of_scorer(plain["scorer"])}
        job = [plain, stage_names(cfg), str(cfg.report.of)]
        if cfg.report.compare:
            job.append(list(cfg.report.compare))
        if "import" in stage_names(cfg):
            job.append(OmegaConf.to_container(cfg["import"], resolve=True))
        jobs.append(job)
    return blake2b(json.dumps(jobs, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def _of_engine(engine: Mapping[str, Any]) -> list[Any]:
    """What of an engine decides tokens."""
    return [engine["name"], *({key: engine[key]} for key in TOKENS if engine.get(key))]


def _of_scorer(scorer: Any) -> Any:
    """The same of a scorer, whose engine says what differs from the policy's."""
    if not scorer or not scorer.get("engine"):
        return scorer
    own = {"name": scorer["engine"].get("_target_")} | scorer["engine"]
    return scorer | {"engine": [part for part in _of_engine(own) if part] or {}}


def _flat(node: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{at}{key}.")
        elif key not in ("_target_", "_partial_"):
            yield f"{at}{key}", value


def _id(whole: dict[str, Any], known: Facts) -> str:
    """Readable, safe in file names, and different for different settings: the last part is a hash of all that is keyed."""
    if "scorer" in whole:
        whole = whole | {"scorer": _of_scorer(whole["scorer"])}
    parts = [
        {k: v for k, v in whole.items() if k not in ("engine", "data", "train", "distributed")},
        *_of_engine(whole["engine"]),
    ]
    tail = blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=4).hexdigest()
    return "-".join([whole["model"]["name"], whole["task"]["name"], known.name, tail])
