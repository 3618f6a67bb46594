"""The data stage: build the data set of `cfg.data` and show how it came about."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import DictConfig


def run(cfg: DictConfig) -> None:
    """Build (or find) the data set, print its funnel, and leave the funnel in the job's directory for the report."""
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from ..data import funnel
    from ..data.build import build

    built = build(cfg)
    console = Console()
    console.print(funnel.as_table(built.rows, built.name))
    console.print(f"{len(built.table):,} records in {built.path / 'train.parquet'}", soft_wrap=True)
    if HydraConfig.initialized():
        job = Path(HydraConfig.get().runtime.output_dir)
        described = {"name": built.name, "path": str(built.path), "key": built.key, "steps": funnel.as_dicts(built.rows)}
        (job / "funnel.json").write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")
