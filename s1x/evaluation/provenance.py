"""Where results come from: command, commit, versions."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

PACKAGES = ("s1x", "torch", "transformers", "vllm", "lm_eval", "hydra-core", "datasets", "math-verify")


def about(cfg: DictConfig) -> dict[str, Any]:
    """Keys `experiment, command, git, versions` of a run."""
    return {"experiment": cfg.name, "command": shlex.join(["python", *sys.argv]), "git": git(), "versions": versions()}


def git() -> dict[str, Any] | None:
    """Commit of this checkout and whether it has changes; None outside a checkout."""

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
