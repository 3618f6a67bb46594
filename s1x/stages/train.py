"""The train stage: fine-tune `cfg.model` on `cfg.data`, or find the same training done; later stages use its model.

One process trains right here; with `distributed` the ranks are children that this process starts, watches and ends.
"""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import DictConfig

from ..config import check_writable
from ..training import job as jobs
from ..training.trained import Training, check_space

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Train, unless it is done already, and point `cfg.model` to the result.

    Raises SettingError for settings, data or a machine that will not do.
    """
    settings = jobs.settings_of(cfg)
    check_writable("train.dir", settings.dir)
    job, training = jobs.make(cfg, settings)
    with training.lock():
        if training.done:
            log.info(f"{settings.name}: trained already, in {training.folder}")
        else:
            _train(cfg, settings, job, training)
    use(cfg, settings.name, training)


def _train(cfg: DictConfig, settings, job: dict[str, Any], training: Training) -> None:
    from ..training import sft

    check_space(training.folder, 0)
    facts = sft.train(job, training, observe=lambda row: log.info(f"{row['step']}/{row['steps']} loss {row['loss']}") if row['step']%10==0 else None)
    training.finish(facts)
    log.info(f"{settings.name}: trained, in {training.folder}")


def use(cfg: DictConfig, name: str, training: Training) -> None:
    """The stages after this one work with the trained model."""
    cfg.model.name, cfg.model.path = name, str(training.folder.absolute())
    cfg.model.revision = cfg.model.tokenizer = None
