"""The settings of a training (`conf/train`), checked, and what follows from them: steps, accumulation, warm-up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import SettingError

RESULT = (
    "epochs", "global_batch_size", "loss_weighting", "learning_rate", "warmup", "betas", "weight_decay", "max_grad_norm",
    "max_length", "precision", "seed", "lora",
)  # fmt: skip
"""What the trained weights depend on. The others decide how fast it goes, in how much memory, and where it is kept."""


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of supervised fine-tuning; conf/train/s1.yaml says what each is (paper, appendix D)."""

    name: str
    dir: str
    epochs: int
    global_batch_size: int
    device_batch_size: int
    loss_weighting: str
    learning_rate: float
    warmup: float
    betas: tuple[float, float]
    weight_decay: float
    max_grad_norm: float
    max_length: int | None
    precision: str
    seed: int
    lora: dict[str, Any] | None
    gradient_checkpointing: bool
    attention: str
    liger: str | bool
    save_every: int

    @classmethod
    def of(cls, train: Mapping[str, Any], on_gpu: bool) -> Settings:
        """From the plain `train` node. Raises SettingError for the first value that cannot be."""
        known = {f.name for f in fields(cls)}
        if odd := sorted(set(train) ^ known):
            raise SettingError(f"train.{odd[0]}: {'missing' if odd[0] in known else 'no such setting'}; train=s1 has them all")
        for key, (valid, words) in _RANGES.items():
            if not valid(train[key]):
                raise SettingError(f"train.{key}={train[key]}: must be {words}")
        precision = train["precision"] if train["precision"] != "auto" else "bf16" if on_gpu else "fp32"
        return cls(**dict(train) | {"betas": tuple(train["betas"]), "precision": precision})

    def accumulation(self, devices: int) -> int:
        """Passes per device and step, so that every step sees `global_batch_size` examples.

        Raises SettingError when no whole number of passes does.
        """
        at_once = devices * self.device_batch_size
        if self.global_batch_size % at_once:
            fits = [b for b in range(1, self.global_batch_size + 1) if self.global_batch_size % (devices * b) == 0]
            hint = (
                f"train.device_batch_size={' or '.join(map(str, fits))} would do"
                if fits
                else (f"{devices} devices need a batch that is a multiple of {devices}")
            )
            raise SettingError(
                f"train.global_batch_size={self.global_batch_size} is no multiple of {devices} device{'s' * (devices > 1)} x "
                f"train.device_batch_size={self.device_batch_size}; {hint}"
            )
        return self.global_batch_size // at_once

    def steps(self, examples: int) -> int:
        """Optimizer steps: the last batch of an epoch is filled up from its beginning (315 for s1's 1,000 examples)."""
        return self.epochs * math.ceil(examples / self.global_batch_size)

    def warmup_steps(self, examples: int) -> int:
        return math.ceil(self.warmup * self.steps(examples))

    def result(self) -> dict[str, Any]:
        """The settings that the trained weights depend on."""
        return {key: getattr(self, key) for key in RESULT}


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _betas(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(_number(b) and 0 <= b < 1 for b in value)


def _lora(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and set(value) == {"r", "alpha", "dropout"} and _whole(value["r"]))


_RANGES = {
    "name": (lambda v: isinstance(v, str) and v and "/" not in v, "a name without slashes"),
    "epochs": (_whole, "a whole number, 1 or more"),
    "global_batch_size": (_whole, "a whole number, 1 or more"),
    "device_batch_size": (_whole, "a whole number, 1 or more"),
    "loss_weighting": (lambda v: v in ("sequence", "token"), "sequence or token"),
    "learning_rate": (lambda v: _number(v) and v > 0, "more than 0"),
    "warmup": (lambda v: _number(v) and 0 <= v < 1, "a share of the steps, 0 or more and below 1"),
    "betas": (_betas, "two numbers, each 0 or more and below 1"),
    "weight_decay": (lambda v: _number(v) and v >= 0, "0 or more"),
    "max_grad_norm": (lambda v: _number(v) and v > 0, "more than 0"),
    "max_length": (lambda v: v is None or _whole(v), "null or a whole number of tokens, 1 or more"),
    "precision": (lambda v: v in ("auto", "bf16", "fp32"), "auto, bf16 or fp32"),
    "seed": (lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0, "a whole number, 0 or more"),
    "lora": (_lora, "null or {r: 16, alpha: 32, dropout: 0.0}"),
    "gradient_checkpointing": (lambda v: isinstance(v, bool), "true or false"),
    "attention": (
        lambda v: v in ("auto", "sdpa", "flash_attention_2", "flash_attention_3", "eager"),
        "auto, sdpa, flash_attention_2, flash_attention_3 or eager",
    ),
    "liger": (lambda v: v == "auto" or isinstance(v, bool), "auto, true or false"),
    "save_every": (_whole, "a whole number of steps, 1 or more"),
}
