"""The tiny models' own recipes as trainings: kept, resumed and found again like any other.

A recipe has `world`, the modules of s1x/tiny that its weights depend on, `plan`, a line about it, and `make(folder, log)`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from .. import tiny
from .trained import Training

log = logging.getLogger(__name__)


def run(train: DictConfig) -> Training:
    """Follow `train.recipe`, unless that is done already."""
    recipe, made = OmegaConf.to_container(train.recipe, resolve=True), instantiate(train.recipe)
    code = b"".join((Path(tiny.__path__[0]) / name).read_bytes() for name in made.world)
    content = {"recipe": recipe, "world": hashlib.blake2b(code, digest_size=8).hexdigest()}
    training = Training.of(content, train.dir, train.name)
    with training.lock():
        if training.done:
            log.info(f"{train.name}: trained already, in {training.folder}")
            return training
        began = time.monotonic()
        made.make(training.folder, log.info)
        (training.folder / "state.pt").unlink(missing_ok=True)
        training.finish({"name": train.name, "seconds": round(time.monotonic() - began, 1)})
    return training
