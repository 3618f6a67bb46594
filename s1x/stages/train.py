"""The train stage: fine-tune `cfg.model` on `cfg.data`, or find the same training done; later stages use its model.

One process trains right here; with `distributed` the ranks are children that this process starts, watches and ends.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from functools import cache

from omegaconf import DictConfig, OmegaConf

from ..cell import Cell
from ..errors import SettingError
from ..files import check_writable
from ..stages import stages
from ..training import card, extras, job, launch, memory, plan, pretraining, sft
from ..training.examples import Encoded
from ..training.ranks import Ranks
from ..training.settings import Settings
from ..training.trained import Training
from ..training.watch import Watch

log = logging.getLogger(__name__)


_say = cache(log.info)  # once, and not for each cell of a sweep


def run(cfg: DictConfig) -> None:
    """Train, unless it is done already, and point `cfg.model` to the result.

    Raises SettingError for settings, data or a machine that will not do, and TrainingFailed when ranks end early.
    """
    if cfg.plan:
        plan.show([cfg])
        return
    if "recipe" in cfg.train:
        use(cfg, cfg.train.name, pretraining.run(cfg.train))
        return
    settings = job.settings_of(cfg)
    ranks = Ranks.of(OmegaConf.to_container(cfg.distributed, resolve=True))
    settings.accumulation(ranks.devices)
    if ranks.nodes > 1 and "evaluate" in stages(cfg):
        raise SettingError(
            f"stage={cfg.stage}: on {ranks.nodes} nodes train first (stage=train), then evaluate from one of "
            "them; the trained model is found again"
        )
    check_writable("train.dir", settings.dir)
    source = job.source(cfg, settings)
    training = source.training
    with training.lock() if ranks.node_rank == 0 else nullcontext():
        if training.done:
            _say(f"{settings.name}: trained already, in {training.folder}")
        else:
            _train(cfg, source, settings, ranks)
    use(cfg, settings.name, training)
    if ranks.node_rank == 0:  # beside the job's results, for tables of trainings
        shutil.copy(training.folder / "training.json", Cell.of_job(cfg).directory)


def _train(cfg: DictConfig, source: job.Source, settings: Settings, ranks: Ranks) -> None:
    training = source.training
    training.check_checkpoint(training.identity(ranks.devices, ranks.stage))
    training.check_space(memory.disk(settings, ranks, source.facts))
    encoded = source.encode()
    _announce(cfg, source, settings, ranks, encoded)
    extras.check_installed(ranks.deepspeed is not None, bool(settings.lora))
    task = job.make(source, settings, encoded, ranks.devices, ranks.deepspeed)
    if ranks.node_rank > 0:  # the first node watches, and finishes the model
        launch.run(task, ranks)
        return
    with Watch(cfg, Cell.of_job(cfg).sweep, training, source.facts, ranks.devices) as watch:
        facts = launch.run(task, ranks, watch) if ranks.deepspeed else sft.train(task, watch)
        facts = {"name": settings.name, "base": source.model["path"], "data": encoded.facts() | {"name": source.data}} | facts
        card.write(training.folder, source.model["name"], facts, training.content, cfg)
        training.finish(facts)
    log.info(f"{settings.name}: trained in {facts['seconds']:,.0f} s, in {training.folder}")


def _announce(cfg: DictConfig, source: job.Source, settings: Settings, ranks: Ranks, encoded: Encoded) -> None:
    """Say what is about to happen, before the model is loaded."""
    devices = f"{ranks.devices} device{'s' * (ranks.devices > 1)}"
    needed = memory.of(settings, ranks, source.facts, min(encoded.longest, source.length))
    log.info(f"data={source.data}: {len(encoded):,} examples ({source.made})")
    log.info(
        f"{settings.name}: {settings.steps(len(encoded))} steps of {settings.global_batch_size} examples on {devices}; "
        f"memory per device about {needed}"
    )
    if encoded.cut:
        log.warning(
            f"train.max_length={source.length}: {encoded.cut:,} of {len(encoded):,} examples "
            f"({encoded.cut / len(encoded):.0%}) are cut; the longest has {encoded.longest:,} tokens"
        )
    if warning := memory.warning(needed, cfg.distributed.device_memory):
        log.warning(warning)


def use(cfg: DictConfig, name: str, training: Training) -> None:
    """The stages after this one work with the trained model."""
    cfg.train.name = cfg.model.name = name  # the first may be made from the second
    cfg.model.path = str(training.folder.absolute())
    cfg.model.revision = cfg.model.tokenizer = None
