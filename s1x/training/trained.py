"""Where a trained model is kept, and how a finished training is found again: by a hash of everything it depends on.

`<train.dir>/<name>-<hash>/` is a model folder that transformers and vLLM load: weights, tokenizer, README.md (model card),
`training.json` (what it was made from, and how it went), `log.jsonl` (loss and so on of each step), and `DONE`, written last.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..files import read_json, write_text

RECIPE_VERSION = 1  # raise it when a change of this code changes what is trained
COMPLETE = "COMPLETE"  # the file that a checkpoint gets last: {"of": Training.identity, "seconds": trained so far}


@dataclass(frozen=True)
class Training:
    """One training: `content` is all that its weights depend on (plain values), `folder` where the model will be."""

    content: dict[str, Any]
    folder: Path

    @classmethod
    def of(cls, content: dict[str, Any], directory: str, name: str) -> Training:
        text = json.dumps({"version": RECIPE_VERSION} | content, sort_keys=True)
        key = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        place = Path(directory).expanduser()
        done = sorted(file.parent for file in place.glob(f"*-{key}/DONE"))  # under whatever name
        return cls(content, done[0] if done else place / f"{name}-{key}")

    @property
    def id(self) -> str:
        """Names the training everywhere: folder, W&B run."""
        return self.folder.name

    @property
    def done(self) -> bool:
        return (self.folder / "DONE").is_file()

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def identity(self, devices: int, stage: int | None) -> str:
        """What a checkpoint must say to be gone on from: DeepSpeed's are in as many parts as there were devices."""
        return f"{self.id}, {devices} device{'s' * (devices > 1)}, {f'ZeRO-{stage}' if stage else 'no DeepSpeed'}"

    def check_checkpoint(self, identity: str) -> None:
        """Raise SettingError when the checkpoint that would be gone on from is another training's, or of other devices."""
        last = last_checkpoint(self.checkpoints)
        if last and (found := about(last)["of"]) != identity:
            raise SettingError(
                f"{last} was written by another training ({found}) than this one ({identity}); go on with the "
                f"same devices, or remove {self.checkpoints}"
            )

    def check_space(self, needed: int) -> None:
        """Raise SettingError unless `needed` bytes are free, with those that the folder has already."""
        place = self.folder.absolute()
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free + sum(f.stat().st_size for f in self.folder.rglob("*") if f.is_file())
        if free < needed:
            raise SettingError(
                f"train.dir={self.folder.parent}: {free / 1e9:,.1f} GB are free there, and the model with two checkpoints "
                f"takes about {needed / 1e9:,.1f} GB; free some, or choose another place"
            )

    def finish(self, facts: dict[str, Any]) -> None:
        """Write what the training was, drop its checkpoints, and declare it done."""
        record = {"content": self.content} | facts
        write_text(self.folder / "training.json", json.dumps(record, indent=1) + "\n")
        for scratch in (self.checkpoints, *self.folder.glob("ranks-*")):
            shutil.rmtree(scratch, ignore_errors=True)
        (self.folder / "examples.parquet").unlink(missing_ok=True)
        write_text(self.folder / "DONE", time.strftime("%Y-%m-%d %H:%M:%S\n"))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only one at work in the folder; others that want the same model wait here."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("w")
        except OSError as error:
            raise SettingError(f"train.dir={self.folder.parent}: {error.strerror}; choose a place you can write to") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def last_checkpoint(checkpoints: Path) -> Path | None:
    """The newest complete checkpoint; one that a kill left half-written has no COMPLETE file and is passed over."""
    complete = [c for c in checkpoints.glob("checkpoint-*") if (c / COMPLETE).is_file()]
    return max(complete, key=lambda c: int(c.name.rpartition("-")[2]), default=None)


def about(checkpoint: Path) -> dict[str, Any]:
    """What a complete checkpoint says of itself: `of` which training it is, and `seconds` trained until then."""
    return read_json(checkpoint / COMPLETE) or {"of": "unknown", "seconds": 0.0}
