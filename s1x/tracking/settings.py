"""What `tracking.*` may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from ..errors import SettingError, printable
from .names import LONGEST, REFUSED

INSTALL = "wandb-workspaces is not installed; pip install -e '.[wandb]'"
MODES = ("auto", "online", "offline", "disabled")


@dataclass
class Tracking:
    """Weights & Biases. `mode`: auto (online when logged in, else offline), online, offline, disabled.

    `samples`: rows of each cell's table of samples; 0: no question, answer or trace is sent. `dashboard`: the end of an online
    sweep builds workspace and report, as stage=dashboard does. `patience`: seconds that the end of a run waits for W&B.
    """

    mode: str = "auto"
    project: str = "s1x"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)
    samples: int = 50
    dashboard: bool = False
    patience: float = 30


def check_tracking(tracking: Mapping[str, Any]) -> None:
    """Raises SettingError; also for a project or entity that W&B would refuse: under a mended name nobody would look for it."""
    if tracking["mode"] not in MODES:
        raise SettingError(f"tracking.mode={tracking['mode']}: must be one of {', '.join(MODES)}")
    if tracking["samples"] < 0:
        raise SettingError(f"tracking.samples={tracking['samples']}: must be a whole number, 0 (none) or more")
    if not tracking["patience"] > 0:
        raise SettingError(f"tracking.patience={tracking['patience']:g}: must be more than 0 seconds")
    if tracking["dashboard"] and tracking["mode"] != "disabled" and find_spec("wandb_workspaces") is None:
        raise SettingError(f"tracking.dashboard=true: {INSTALL}")
    for key in ("project", "entity"):
        value = tracking[key]
        if value is None:
            continue
        if len(value) > LONGEST or not value.strip() or any(c in REFUSED or not c.isprintable() for c in value):
            team = "; the team goes into tracking.entity" if key == "project" and "/" in value else ""
            raise SettingError(
                f"tracking.{key}={printable(value, 80)}: must be up to {LONGEST} characters, none of {' '.join(REFUSED)}{team}"
            )
