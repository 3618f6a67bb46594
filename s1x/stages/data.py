"""The data stage: build the data set of `cfg.data` and show how it came about."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig


def run(cfg: DictConfig) -> None:
    """Build (or find) the data set, print its funnel, and leave the funnel in the job's directory for the report."""
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from ..data import funnel
    from ..data.build import build
    from ..data.steps import ORDER

    console = Console()
    if cfg.plan:
        names = [name for name, source in cfg.data.sources.items() if source is not None]
        todo = [step for step in ORDER if cfg.data.get(step) is not None]
        words = f"data={cfg.data.name}: would read {', '.join(names)}, then {', '.join(todo)}, into {cfg.data.dir}"
        console.print(words, soft_wrap=True)
        return
    built = build(cfg)
    console.print(funnel.as_table(built.rows, built.name))
    console.print(f"{len(built.table):,} records in {built.path / 'train.parquet'}", soft_wrap=True)
    if HydraConfig.initialized():
        job = Path(HydraConfig.get().runtime.output_dir)
        text = funnel.as_json(built.name, built.key, built.rows, records=len(built.table), path=str(built.path))
        (job / "funnel.json").write_text(text, encoding="utf-8")
