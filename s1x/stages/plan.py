"""`plan=true`: what a command would run, without running it."""

from __future__ import annotations

from omegaconf import OmegaConf

from . import naming
from .cell import Cell


def show(cells: list[Cell]) -> None:
    """Print the cells with their limits, and the most tokens they can cost."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(cells)} cells", title_justify="left")
    for column in ("job", "model", "task", "series", "thinking at most", "overrides"):
        table.add_column(column)
    for cell in cells:
        method = OmegaConf.to_container(cell.cfg.method, resolve=True)
        most = naming.limits(method)[1]
        table.add_row(str(cell.job), cell.cfg.model.name, cell.cfg.task.name, naming.series(method),
                      "what fits" if most is None else f"{most:,}", " ".join(cell.overrides))
    Console().print(table)
