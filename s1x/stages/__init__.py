"""What `stage=...` can be, in the order in which a list of them runs. Each module has `run(cfg)` for one Hydra job.

A module whose stage takes all cells of a sweep at once also has `evaluate(cells, sweep, on_done)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from ..cell import stage_names
from ..errors import SettingError, sentences


class Stage(NamedTuple):
    """Where a stage stands. `together`: it takes all cells of a sweep at once. `reads`: it reads what is there and makes no
    output directory of its own."""

    module: str
    together: bool = False
    reads: bool = False

    def load(self) -> ModuleType:
        return importlib.import_module(self.module)


DOCTOR = "plan=doctor"
STAGES = {
    "data": Stage("s1x.stages.data"),
    "train": Stage("s1x.stages.train"),
    "evaluate": Stage("s1x.stages.evaluate", together=True),
    "import": Stage("s1x.stages.importing"),
    "report": Stage("s1x.stages.report", reads=True),
    "dashboard": Stage("s1x.stages.dashboard", reads=True),
    "store": Stage("s1x.stages.store", reads=True),
    "status": Stage("s1x.stages.status", reads=True),
    "list": Stage("s1x.stages.history", reads=True),
    "doctor": Stage("s1x.stages.doctor", reads=True),
    "bench": Stage("s1x.benches.sharing", together=True),
    "bench_sweep": Stage("s1x.benches.sweep"),
    "bench_engine": Stage("s1x.benches.engine"),
    "bench_peers": Stage("s1x.benches.peers"),
}


def stages(cfg: Mapping[str, Any]) -> list[str]:
    """The stages of a job in the order in which they run.

    Raises SettingError for an unknown one, and where some only read or keep house and others work.
    """
    wanted = stage_names(cfg)
    if not wanted or any(name not in STAGES for name in wanted):
        raise SettingError(f"stage={cfg['stage']}: must be one of {', '.join(STAGES)}, or a list of them")
    if "doctor" in wanted and len(wanted) > 1:
        raise SettingError("stage=doctor: stands alone; it looks at the stages that a job has without it")
    found = [name for name in STAGES if name in wanted]
    if apart := [name for name in found if STAGES[name].reads and not all(STAGES[other].reads for other in found)]:
        raise SettingError(
            f"stage=[{','.join(wanted)}]: {apart[0]} is about what is there, and a command of its own; leave it out here, and "
            f"give stage={apart[0]} before or afterwards"
        )
    return found


def together(cfg: Mapping[str, Any]) -> list[str]:
    """Those of a job's stages that take all cells of a sweep at once."""
    return [name for name in stages(cfg) if STAGES[name].together]


def check_installed(plain: Mapping[str, Any]) -> None:
    """Raises SettingError where a stage of a resolved configuration needs a package that is not installed: before anything
    starts, and once."""
    names = stages(plain)
    if "train" in names:
        from ..training import extras

        extras.check(plain)
    if any(STAGES[name].together for name in names):
        from ..engines.build import check_installed as check_engine

        own = (plain["scorer"] or {}).get("engine") or {}
        for engine in [plain["engine"], *([own] if "_target_" in own else [])]:
            with sentences():
                check_engine(engine)


def quietly(arguments: Sequence[str]) -> list[str]:
    """A command line, with what keeps Hydra from making an output directory and a log where its stages only read or plan.

    Several directories to read (`report.of=[A,B]`, `report.compare=[A,B]`) are put together in a new one: that is made, and
    holds the result alone. `stage=doctor` becomes `plan=doctor`: what it looks at are the stages that the job has without it.
    """
    arguments = [DOCTOR if argument in ("stage=doctor", "stage=[doctor]") else argument for argument in arguments]
    typed = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    names = typed.get("stage", "").strip("[]").split(",")
    planned = typed.get("plan", "").lower() in ("true", "doctor")
    if not (planned or all(name in STAGES and STAGES[name].reads for name in names)):
        return list(arguments)
    merged = ("report.compare" in typed or typed.get("report.of", "").startswith("[")) and "report" in names and not planned
    place = ("name", "report") if merged else ("hydra.run.dir", ".")
    own = dict([("hydra/job_logging", "stdout"), ("hydra.output_subdir", "null"), place])
    first = "plan" if planned else "stage"
    at = arguments.index(f"{first}={typed[first]}")
    return [*arguments[:at], *(f"{key}={value}" for key, value in own.items() if key not in typed), *arguments[at:]]
