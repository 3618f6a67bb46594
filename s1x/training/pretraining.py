"""The tiny base model's own recipe as a training: kept, resumed and found again like any other."""

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

WORLD = ("benchmarks.py", "documents.py", "muon.py", "notes.py", "pretrain.py", "problems.py", "tokenizer.py")


def run(train: DictConfig) -> Training:
    """Pretrain `train.recipe` from scratch, unless it is done already."""
    code = b"".join((Path(tiny.__path__[0]) / name).read_bytes() for name in WORLD)  # what the documents are made by
    recipe = OmegaConf.to_container(train.recipe, resolve=True)
    content = {"recipe": recipe, "world": hashlib.blake2b(code, digest_size=8).hexdigest()}
    training = Training.of(content, train.dir, train.name)
    with training.lock():
        if training.done:
            log.info(f"{train.name}: trained already, in {training.folder}")
            return training
        from ..tiny.pretrain import pretrain

        began = time.monotonic()
        pretrain(training.folder, instantiate(train.recipe), log=log.info)
        (training.folder / "state.pt").unlink(missing_ok=True)
        training.finish({"name": train.name, "seconds": round(time.monotonic() - began, 1)})
    return training
