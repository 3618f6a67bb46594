"""The report stage: the report of a finished directory again, one report of several directories, or two runs compared.

    python run.py stage=report report.of=DIR              in DIR; the same files give the same bytes
    python run.py stage=report report.of=[A,B]            in a directory of its own; the cells stay in A and B
    python run.py stage=report report.compare=[A,B]       the same, with what B changes, question by question

Settings typed beside it (report.x, report.compat, report.baseline, report.target) win over those that the directory's report
was made with.
It reads result files alone: no model, no engine, no store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ..errors import SettingError, sentences
from ..files import check_writable


def run(cfg: DictConfig) -> None:
    """Make the report and print its tables.

    Raises SettingError when `report.of` or `report.compare` will not do.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from rich.console import Console

    from ..report import made
    from ..report.aggregate import aggregate
    from ..report.render import show

    named, compare = cfg.report.compare or cfg.report.of, bool(cfg.report.compare)
    if not named:
        raise SettingError(
            "report.of: stage=report needs a finished directory: report.of=DIR, report.of=[A,B] to merge several, or "
            "report.compare=[A,B] to compare two"
        )
    if compare and (len(set(map(str, named))) != 2 or len(named) != 2 or cfg.report.of):
        raise SettingError(f"report.compare={named}: must be two directories, [A,B], and report.of be left out")
    setting = "report.compare" if compare else "report.of"
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise SettingError("stage=report: makes one report; leave out -m and +experiment, the directory says what it holds")
    alone = isinstance(named, str)
    given = [_directory(name, setting) for name in ([named] if alone else named)]
    directory = given[0] if alone else Path(HydraConfig.get().runtime.output_dir)
    check_writable("report.of" if alone else "hydra.run.dir", directory)
    before = [made.read(path) for path in given]
    sources = list(dict.fromkeys(source for path in given for source in made.sources(path)))
    for source in sources:
        if not any(_directory(source, setting).rglob("cell.json")) and not alone:
            raise SettingError(f"{setting}={source}: holds no measured cell (cell.json), so there is nothing to merge")
    of = [] if sources == [directory.absolute()] else sources
    if compare or alone and before[0].get("compare"):
        compare, of = True, given if compare else [Path(path) for path in before[0]["of"]]
    typed = {override.lstrip("+").partition("=")[0] for override in HydraConfig.get().overrides.task}  # null, too
    x, compat, baseline, target = (
        cfg.report[key] if f"report.{key}" in typed else _agreed(key, before) for key in ("x", "compat", "baseline", "target")
    )
    papers = [one["published"] for one in before]
    paper = papers[0] if all(one == papers[0] for one in papers) else None  # numbers beside the wrong cells mislead
    try:
        with sentences():
            asked = {"paper": paper, "x": x, "compat": compat, "baseline": baseline, "target": target}
            summary = aggregate(directory, of=of, compare=compare, **asked)
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:  # a file that is damaged is still JSON at times
        raise SettingError(
            f"{setting}={named}: the results there cannot be put together ({type(error).__name__}: {error}); the command that "
            "made them makes them again"
        ) from error
    show(summary, paper, directory, Console())


def _directory(name: str | Path, setting: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_dir():
        raise SettingError(f"{setting}={name}: there is no such directory")
    return path


def _agreed(key: str, before: list[dict[str, Any]]) -> Any:
    """What all the reports were made with."""
    values = list(dict.fromkeys(one[key] for one in before))
    if len(values) > 1:
        words = " and ".join("null" if value is None else str(value) for value in values)
        raise SettingError(
            f"report.{key}: the directories' reports were made with {words}; type report.{key}=... to choose one"
        )
    return values[0]
