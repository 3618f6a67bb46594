"""What `stage=...` can be, in the order in which a list of them runs. Each module has `run(cfg)` for one Hydra job.

A module whose stage takes all cells of a sweep at once also has `evaluate(cells, sweep, on_done)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from ..cell import stage_names
from ..errors import SettingError


class Stage(NamedTuple):
    """Where a stage stands. `together`: it takes all cells of a sweep at once. `reads`: it reads what is there and makes no
    output directory of its own."""

    module: str
    together: bool = False
    reads: bool = False

    def load(self) -> ModuleType:
        return importlib.import_module(self.module)


STAGES = {
    "data": Stage("s1x.stages.data"),
    "train": Stage("s1x.stages.train"),
    "evaluate": Stage("s1x.stages.evaluate", together=True),
    "import": Stage("s1x.stages.importing"),
    "report": Stage("s1x.stages.report", reads=True),
    "dashboard": Stage("s1x.stages.dashboard", reads=True),
    "store": Stage("s1x.stages.store", reads=True),
    "status": Stage("s1x.stages.status", reads=True),
    "bench": Stage("s1x.benches.sharing", together=True),
    "bench_sweep": Stage("s1x.benches.sweep"),
    "bench_engine": Stage("s1x.benches.engine"),
    "bench_peers": Stage("s1x.benches.peers"),
}


def stages(cfg: Mapping[str, Any]) -> list[str]:
    """The stages of a job in the order in which they run.

    Raises SettingError for an unknown one.
    """
    wanted = stage_names(cfg)
    if not wanted or any(name not in STAGES for name in wanted):
        raise SettingError(f"stage={cfg['stage']}: must be one of {', '.join(STAGES)}, or a list of them")
    return [name for name in STAGES if name in wanted]


def together(cfg: Mapping[str, Any]) -> list[str]:
    """Those of a job's stages that take all cells of a sweep at once."""
    return [name for name in stages(cfg) if STAGES[name].together]


def quietly(arguments: Sequence[str]) -> list[str]:
    """A command line, with what keeps Hydra from making an output directory and a log where its stages only read or plan.

    Several directories to read (`report.of=[A,B]`, `report.compare=[A,B]`) are put together in a new one: that is made, and
    holds the result alone.
    """
    typed = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    names = typed.get("stage", "").strip("[]").split(",")
    planned = typed.get("plan", "").lower() == "true"
    if not (planned or all(name in STAGES and STAGES[name].reads for name in names)):
        return list(arguments)
    merged = "report" in names and ("report.compare" in typed or typed.get("report.of", "").startswith("[")) and not planned
    place = ("name", "report") if merged else ("hydra.run.dir", ".")
    own = dict([("hydra/job_logging", "stdout"), ("hydra.output_subdir", "null"), place])
    first = "plan" if planned else "stage"
    at = arguments.index(f"{first}={typed[first]}")
    return [*arguments[:at], *(f"{key}={value}" for key, value in own.items() if key not in typed), *arguments[at:]]
