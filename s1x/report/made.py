"""What a report was made with, kept beside it in `report.json`, so that `stage=report` makes the same one again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cell import SUBMITTED
from ..files import PACKAGE, read_json, write_text
from .load import job_directories
from .paper import load_paper

X = ("thinking_tokens", "path_tokens", "flops")
SUMMED = ("decode_tokens", "prefill_tokens", "prefill_tokens_cached", "engine_starts", "stored_tokens", "wall_s")


def write(
    directory: Path,
    *,
    of: Sequence[Path],
    paper: dict[str, Any] | None,
    x: str,
    compat: str | None,
    baseline: str | None,
    target: float | None = None,
    compare: bool = False,
) -> None:
    made = {
        "x": x,
        "compat": compat,
        "baseline": baseline or None,
        "of": [str(Path(path).absolute()) for path in of],
        "published": paper,
    }
    made |= ({"target": target} if target else {}) | ({"compare": True} if compare else {})
    write_text(directory / "report.json", json.dumps(made, indent=1) + "\n")


def read(directory: Path) -> dict[str, Any]:
    """`{x, compat, baseline, target, of, published}` of the report in `directory`, and `compare` where `of` are two runs; where
    there is none yet (a sweep that was stopped), what its first job's configuration says."""
    try:
        made = json.loads((directory / "report.json").read_text(encoding="utf-8"))
        if isinstance(made, dict) and made.keys() >= {"x", "compat", "of", "published"}:
            return {"baseline": None, "target": None} | made
    except (FileNotFoundError, ValueError):
        pass
    x = compat = baseline = target = name = None
    for job in job_directories(directory)[:1]:
        if (config := job / ".hydra" / "config.yaml").is_file():
            from omegaconf import OmegaConf
            from omegaconf.errors import OmegaConfBaseException
            from yaml import YAMLError

            try:
                cfg = OmegaConf.load(config)
                keys = ("report.x", "report.compat", "report.baseline", "report.target", "name")
                x, compat, baseline, target, name = (OmegaConf.select(cfg, key) for key in keys)
            except (YAMLError, OmegaConfBaseException, ValueError):
                pass  # damaged, like report.json before it
    asked = {"x": x or X[0], "compat": compat, "baseline": baseline or None, "target": target}
    return asked | {"of": [], "published": published(name)}


def sources(directory: Path) -> list[Path]:
    """The directories that hold the cells of a report: its own, or those it was merged from."""
    return [source for path in read(directory)["of"] for source in sources(Path(path))] or [directory.absolute()]


def published(experiment: str | None) -> dict[str, Any] | None:
    """The published numbers of an experiment (experiments/<name>/paper.yaml), where it has some."""
    path = PACKAGE.parent / "experiments" / str(experiment) / "paper.yaml"
    return load_paper(path) if path.is_file() else None


def run(directories: Sequence[Path], problems: list[str]) -> dict[str, Any]:
    """run.json of a sweep; of several sweeps the sums of their counters, and of the rest what they have alike."""
    runs = [_run(directory, problems) for directory in directories]
    if len(runs) == 1:
        return runs[0]
    merged = {key: runs[0].get(key) for key in runs[0] if all(r.get(key) == runs[0].get(key) for r in runs)}
    merged |= {key: sum(r[key] for r in runs) for key in SUMMED if all(r.get(key) is not None for r in runs)}
    for key, between in (("experiment", " + "), ("command", "; ")):
        merged[key] = between.join(dict.fromkeys(r[key] for r in runs if r.get(key))) or None
    return merged


def _run(directory: Path, problems: list[str]) -> dict[str, Any]:
    try:
        run = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        problems.append(f"{directory.name}: run.json is cut short: what this run did is not known")
        return {}
    for shard in sorted((directory / SUBMITTED).glob("shard-*/run.json")):  # what they did was done for this run
        did = read_json(shard) or {}
        run |= {key: run[key] + did[key] for key in SUMMED if key in run and key in did}
    return run
