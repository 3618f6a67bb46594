"""The packages that a training needs, known missing before anything is built or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import SettingError


def check(plain: Mapping[str, Any]) -> None:
    """Raises SettingError where the training of a resolved configuration lacks a package; one that is done needs none."""
    train, distributed = plain["train"], plain["distributed"] or {}
    if "recipe" in train or any(Path(train["dir"]).expanduser().glob(f"{train['name']}-*/DONE")):
        return
    check_installed(bool(distributed.get("deepspeed")), bool(train.get("lora")))


def check_installed(deepspeed: bool, lora: bool) -> None:
    """Raises SettingError for a package that is not there."""
    needed = {"trl": True, "deepspeed": deepspeed, "peft": lora}
    for package in (name for name, wanted in needed.items() if wanted and find_spec(name) is None):
        raise SettingError(f"stage=train: {package} is not installed; pip install -e '.[train]'")
