"""The data stage: build the data set of `cfg.data` and show how it came about."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}</title>
<style>:root {{color-scheme: light dark}}
body {{font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem}}
table {{border-collapse: collapse; width: 100%}} th, td {{text-align: left; padding: .3rem .6rem; vertical-align: top}}</style>
{funnel}
"""


def run(cfg: DictConfig) -> None:
    """Build (or find) the data set, print its funnel, and leave funnel.json and report.html in the job's directory."""
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from ..data import funnel
    from ..data.build import build
    from ..data.steps import ORDER
    from ..report import listings
    from ..report.render import say, terminal

    console = Console()
    if cfg.plan:
        names = [name for name, source in cfg.data.sources.items() if source is not None]
        todo = [step for step in ORDER if cfg.data.get(step) is not None]
        words = f"data={cfg.data.name}: would read {', '.join(names)}, then {', '.join(todo)}, into {cfg.data.dir}"
        say(words, console)
        return
    built = build(cfg)
    say(f"data={built.name}", console)
    terminal(listings.funnel(built.rows), console)
    console.print(f"{len(built.table):,} records in {built.path / 'train.parquet'}", soft_wrap=True)
    if HydraConfig.initialized():
        job = Path(HydraConfig.get().runtime.output_dir)
        text = funnel.as_json(built.name, built.key, built.rows, records=len(built.table), path=str(built.path))
        (job / "funnel.json").write_text(text, encoding="utf-8")
        page = PAGE.format(name=built.name, funnel=funnel.as_html(built.rows, built.name))
        (job / "report.html").write_text(page, encoding="utf-8")
        console.print(f"Report: {job / 'report.html'}", soft_wrap=True)
