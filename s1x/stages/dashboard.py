"""The dashboard stage: a W&B workspace and report of a finished directory, with our chart.

python run.py stage=dashboard report.of=DIR               made, and the next time brought up to date
python run.py stage=[report,dashboard] report.of=DIR      the tables again before (of agents' runs: for the first time)
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from ..errors import SettingError


def run(cfg: DictConfig) -> None:
    """Build it. Raises SettingError when `report.of` is no such directory or nobody is logged in, DashboardFailed when W&B
    does not do it."""
    from ..tracking import dashboard

    named = cfg.report.of
    if not isinstance(named, str):
        raise SettingError(f"report.of={named}: stage=dashboard needs one finished directory: report.of=DIR")
    directory = Path(named).expanduser().absolute()
    if not (directory / "summary.json").is_file():
        raise SettingError(f"report.of={named}: holds no summary.json; make it first: stage=report report.of={named}")
    dashboard.build(cfg, directory)
