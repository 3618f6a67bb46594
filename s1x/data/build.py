"""From a `data` config to a data set on disk: pool, steps, subset, card and funnel, each step cached by content.

built = build(cfg)                 # cfg: the whole configuration; cfg.data says what to do (conf/data)
built.dataset()                    # datasets.Dataset: id, question, thinking, answer, solution, domain, source, ...
built.path / "train.parquet"       # with README.md (the card) and funnel.json beside it
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from ..errors import SettingError
from ..files import beside, write_text
from ..models.tokenizer import load_tokenizer
from . import card, funnel, records, sources, steps
from .steps import ORDER, Outcome

Prepared = tuple[list[Any], Callable[[], Outcome]]  # what else the outcome depends on, and how to get it
SETTINGS = {"name", "dir", "sources", "control", "step_separator", *ORDER}


@dataclass
class Built:
    """A built data set: its name, where it is, its rows and its funnel. `key` names everything it was made from."""

    name: str
    path: Path
    key: str
    table: pa.Table
    rows: list[funnel.Row]

    @property
    def digest(self) -> str:
        """A hash of the rows alone: equal for equal data sets, however they came about."""
        return records.digest(self.table)

    def dataset(self):
        """The rows as a `datasets.Dataset`, as training takes them."""
        from datasets import Dataset

        return Dataset(self.table)


def build(cfg: DictConfig) -> Built:
    """Run all steps of `cfg.data` and write the data set; what is there already is not made again.

    Raises SettingError with one sentence when a setting, a file or a download is missing.
    """
    data = cfg.data
    unknown = set(data) - SETTINGS
    if unknown:
        raise SettingError(f"data.{sorted(unknown)[0]}: no such setting; data has {', '.join(sorted(SETTINGS))}")
    root = Path(data.dir).expanduser()
    table = pool(data)
    key = records.digest(table)
    rows = [funnel.Row("pool", len(table), len(table))]
    for step in ORDER:
        if data.get(step) is None:
            continue
        settings = OmegaConf.to_container(data[step], resolve=True)
        depends, run = PREPARE[step](cfg, settings, table)
        key = _key(key, step, settings, depends)
        outcome = _cached(root / "steps" / f"{key}.parquet", run)
        rows.append(funnel.row(step, table, outcome.dropped))
        table = _apply(table, outcome)
    path = root / f"{data.name}-{key[:8]}"
    _write(path, cfg, key, table, rows)
    return Built(data.name, path, key, table, rows)


def pool(data: DictConfig) -> pa.Table:
    """All sources of a `data` config in one table."""
    wanted = {name: source for name, source in (data.get("sources") or {}).items() if source is not None}
    if not wanted:
        raise SettingError(f"data.sources is empty for data={data.get('name')}: name at least one source (conf/data/source)")
    return records.concat([sources.load(name, _source(source)) for name, source in wanted.items()])


def _source(source: DictConfig) -> dict:
    return instantiate(source, _convert_="all")


# --- what each step needs besides its settings ----------------------------------------------------------------------


def _decontaminate(cfg: DictConfig, settings: dict, table: pa.Table) -> Prepared:
    texts = {}
    tasks, benchmarks = settings.pop("tasks", None), settings.pop("benchmarks", None) or {}
    if not tasks and not benchmarks:  # the questions that this very configuration evaluates on
        tasks = [OmegaConf.to_container(cfg.task, resolve=True)]
    for task in tasks or ():
        from ..tasks.task import load_task

        task = {"name": task} if isinstance(task, str) else {**task, "limit": None}
        try:
            texts[task["name"]] = [question.text for question in load_task(task).questions]
        except ValueError as error:
            raise SettingError(f"data.decontaminate.tasks={task['name']}: {error}") from error
    for name in benchmarks:
        source = _source(cfg.data.decontaminate.benchmarks[name])
        texts[name] = [q for q in sources.load(name, source, "data.decontaminate.benchmarks")["question"].to_pylist() if q]
    return [texts], lambda: steps.decontaminate(table, benchmarks=texts, **settings)


def _duplicates(cfg: DictConfig, settings: dict, table: pa.Table) -> Prepared:
    return [], lambda: steps.duplicates(table, **settings)


def _quality(cfg: DictConfig, settings: dict, table: pa.Table) -> Prepared:
    filters = instantiate(cfg.data.quality, _convert_="all")
    files = {inspect.getsourcefile(get_method(f["_target_"])) for f in settings.values() if f}
    code = [hashlib.blake2b(Path(file).read_bytes(), digest_size=8).hexdigest() for file in sorted(files)]
    return [code], lambda: steps.quality(table, filters)


def _difficulty(cfg: DictConfig, settings: dict, table: pa.Table) -> Prepared:
    columns, models = settings.get("columns") or {}, settings.get("models") or {}
    if not columns and not models:
        raise SettingError("data.difficulty: give columns with labels, or models that attempt each question")

    def run() -> Outcome:
        solved = {name: records.column(table, column, f"data.difficulty.columns.{name}") for name, column in columns.items()}
        if models:
            solved |= {name: probe.solved(cfg, table, name, settings) for name in models}
        return steps.difficulty(table, solved=solved)

    if not models:
        return [], run
    from . import probe

    return [cfg.seed, *(probe.engine(cfg, model).fingerprint for model in models.values())], run


def _domains(cfg: DictConfig, settings: dict, table: pa.Table) -> Prepared:
    column, server = settings.get("column"), settings.get("server")
    if (column is None) == (server is None):
        raise SettingError("data.domains: give either column (where domains are) or server (a model that classifies), not both")

    def run() -> Outcome:
        if column:
            return steps.domains(table, labels=records.column(table, column, "data.domains.column"))
        from . import asking, classify

        questions = table["question"].to_pylist()
        return steps.domains(table, labels=classify.domains(asking.Server(**server), questions, Path(cfg.data.dir) / "asked"))

    return [], run


def _length(cfg: DictConfig, settings: dict, table: pa.Table) -> Prepared:
    def run() -> Outcome:
        tokenizer = settings.get("tokenizer")
        if tokenizer is not None:
            tokenizer = _tokenizer(tokenizer)
        return steps.length(table, tokenizer=tokenizer, of=settings.get("of"))

    return [], run


def _select(cfg: DictConfig, settings: dict, table: pa.Table) -> Prepared:
    return [], lambda: steps.select(table, **settings)


PREPARE: dict[str, Callable[[DictConfig, dict, pa.Table], Prepared]] = {
    "decontaminate": _decontaminate,
    "duplicates": _duplicates,
    "quality": _quality,
    "difficulty": _difficulty,
    "domains": _domains,
    "length": _length,
    "select": _select,
}


def _tokenizer(path: str):
    from ..tasks.sources import hub

    with hub():
        return load_tokenizer({"path": path}, "data.length.tokenizer")


# --- caching and writing ----------------------------------------------------------------------------------------


def _key(parent: str, step: str, settings: Mapping[str, Any], depends: Sequence[Any]) -> str:
    """What an outcome depends on: the rows, the settings, the benchmarks or models, and the code of the steps."""
    described = json.dumps([parent, step, settings, depends, _code()], sort_keys=True, default=str)
    return hashlib.blake2b(described.encode(), digest_size=16).hexdigest()


def _code() -> str:
    folder = Path(__file__).parent
    names = ("steps.py", "quality.py", "selection.py", "ngrams.py", "duplicates.py", "attempts.py", "classify.py")
    return hashlib.blake2b(b"".join((folder / name).read_bytes() for name in names), digest_size=8).hexdigest()


def _cached(file: Path, run: Callable[[], Outcome]) -> Outcome:
    if file.exists():
        stored = pq.read_table(file)
        columns = {name: stored[name].to_pylist() for name in stored.column_names if name != "dropped"}
        return Outcome(stored["dropped"].to_pylist(), columns)
    outcome = run()
    stored = pa.table({"dropped": pa.array(outcome.dropped, pa.string()), **outcome.columns})
    with beside(file) as part:
        pq.write_table(stored, part)
    return outcome


def _apply(table: pa.Table, outcome: Outcome) -> pa.Table:
    for name, values in outcome.columns.items():
        array = pa.array(values, table[name].type if name in table.column_names else None)
        at = table.column_names.index(name) if name in table.column_names else None
        table = table.append_column(name, array) if at is None else table.set_column(at, name, array)
    return table.filter(pa.array([reason is None for reason in outcome.dropped], pa.bool_()))


def _write(path: Path, cfg: DictConfig, key: str, table: pa.Table, rows: list[funnel.Row]) -> None:
    table = table.replace_schema_metadata(None)
    with beside(path / "train.parquet") as part:
        pq.write_table(table, part, compression="zstd", store_schema=False)
    write_text(path / "README.md", card.render(cfg.data, key, table, rows))
    about = funnel.as_json(cfg.data.name, key, rows, records=len(table), digest=records.digest(table))
    write_text(path / "funnel.json", about)
