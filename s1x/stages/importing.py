"""The import stage: other people's results become cells, with the report of any others beside them.

    python run.py stage=import import.files=[out/samples_*.jsonl] import.format=lm_eval

All files are read and checked before the directory is made (config.validate); what they hold is remembered until here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf

from ..cell import Cell
from ..evaluation.provenance import about
from ..evaluation.votes import vote
from ..files import write_text
from ..importing.cells import write
from ..importing.reading import read

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Write the cells of `cfg.import` below the job's directory, or with plan=true say which they would be."""
    settings = OmegaConf.to_container(cfg["import"], resolve=True)
    found = read(settings)
    for note in dict.fromkeys(note for cell in found for note in cell.notes):
        log.warning(note)
    for number, cell in enumerate(found, start=1):
        at = zip(cell.point._fields, cell.point)
        said = [f"{key} {value}" for key, value in at if key != "settings" and value is not None]
        log.info(f"[{number}/{len(found)}] {len(cell.rows):,} answers  {', '.join(filter(None, [*said, cell.choice]))}")
    if cfg.plan:
        return
    job = Cell.of_job(cfg)
    records = write(found, job.directory, settings, _shown, vote if settings["votes"] else None)
    if changed := [regraded for record in records if (regraded := record["source"]["regraded"])]:
        answers, right, wrong = (sum(one[key] for one in changed) for key in ("answers", "to_right", "to_wrong"))
        log.info(
            f"Graded here: {answers:,} answers; of those with a published grade {right:,} became right and {wrong:,} wrong."
        )
    write_text(job.sweep / "run.json", json.dumps(about(cfg), indent=1) + "\n")


def _shown(verdicts: Iterable, total: int) -> Iterable:
    """A bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(verdicts, "importing", total, console=console, disable=not console.is_terminal, transient=True)
