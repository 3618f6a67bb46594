"""The list stage: past runs, newest first, from the output directories that the configuration names. It only reads.

python run.py stage=list                    below outputs and multirun, or where conf/local/machine.yaml puts them
python run.py stage=list report.of=DIR      below DIR (or several, [A,B])
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ..errors import SettingError

OWN = "hydra.run.dir=."  # what run.py itself typed, so that nothing is made here (stages.quietly)


def run(cfg: DictConfig) -> None:
    """Print the table of past runs.

    Raises SettingError where `report.of` names no directory.
    """
    from rich.console import Console

    from ..report import listings, past
    from ..report.render import say, terminal

    console, named = Console(), cfg.report.of
    places = [Path(name).expanduser() for name in ([named] if isinstance(named, str) else named or outputs())]
    for place in places:
        if named and not place.is_dir():
            raise SettingError(f"report.of={place}: there is no such directory")
    found = past.runs(places)
    if not found:
        say(f"No runs in {', '.join(map(str, places))}; report.of=DIR looks elsewhere.", console)
        return
    rows = []
    for number, one in enumerate(found, start=1):
        best = one.best
        where = os.path.relpath(one.directory) if one.directory.absolute().is_relative_to(Path.cwd()) else one.directory
        thinking = (best.get("thinking_tokens") or {}).get("mean")
        date = one.began.strftime("%Y-%m-%d %H:%M")
        rows.append([number, date, one.experiment, one.models, one.cells, best.get("accuracy"), thinking, str(where)])
    terminal(listings.runs(rows), console)


def outputs() -> list[Path]:
    """Where output directories lie: `hydra.run.dir` and `hydra.sweep.dir` as configured, up to what differs from run to run."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    said = OmegaConf.to_container(hydra.overrides, resolve=False)  # ${now:...} as it was typed
    typed = [override for override in (*said["hydra"], *said["task"]) if override != OWN]
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration(hydra.job.config_name, typed, run_mode=RunMode.RUN)
    found = []
    for node in ("run", "sweep"):
        raw = str(OmegaConf.to_container(config.hydra[node], resolve=False)["dir"])
        config.hydra[node].dir = re.split(r"\$\{(?:name|now:)", raw)[0] or "."
        found.append(Path(str(config.hydra[node].dir)).expanduser())
    return list(dict.fromkeys(found))
