"""From a configuration to a training job: plain values that a rank can run without Hydra, and its identity."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..config import SettingError, sentences
from ..engines.fingerprint import cuda_devices, fingerprint, model_facts
from .examples import check
from .settings import Settings
from .trained import Training

CHAT_KEYS = ("system", "thinking_start", "thinking_end")  # what of a chat format is in a training text


def settings_of(cfg: DictConfig) -> Settings:
    """The checked settings of `cfg.train` for the devices of this machine."""
    return Settings.of(OmegaConf.to_container(cfg.train, resolve=True), on_gpu=cuda_devices() > 0)


def make(cfg: DictConfig, settings: Settings) -> tuple[dict[str, Any], Training]:
    """(the job, the training it is). Builds the data set; loads no weights.

    Raises SettingError when the data or the model will not do.
    """
    from ..data.build import build

    if cfg.data is None:
        raise SettingError("stage=train: no data is chosen; add data=... (python run.py --help lists them)")
    with sentences():
        facts = model_facts(cfg.model.path, cfg.model.revision)
        base = fingerprint("train", cfg.model.path, revision=cfg.model.revision, tokenizer=cfg.model.tokenizer, dtype="any")
    if facts["quantization"]:
        raise SettingError(f"model.path={cfg.model.path}: quantized weights ({facts['quantization']}) cannot be trained; take "
                           "the model they were made from")
    if settings.max_length is not None and settings.max_length > facts["context_length"]:
        raise SettingError(f"train.max_length={settings.max_length}: {cfg.model.name} has a context of "
                           f"{facts['context_length']:,} tokens; take at most that, or null")
    built = build(cfg)
    records = built.table.to_pylist()
    check(records, cfg.data.name)
    chat = OmegaConf.to_container(cfg.chat, resolve=True)
    job = {
        "model": cfg.model.path,
        "revision": cfg.model.revision,
        "tokenizer": cfg.model.tokenizer,
        "chat": chat,
        "control": cfg.data.get("control"),
        "step_separator": cfg.data.get("step_separator", "\n\n"),
        "max_length": settings.max_length or facts["context_length"],
        "settings": asdict(settings),
        "records": [{key: r.get(key) for key in ("id", "question", "thinking", "answer", "slips")} for r in records],
    }
    content = {
        "base": base,
        "data": built.key,
        "control": [job["control"], job["step_separator"] if job["control"] == "steps" else None],
        "chat": {key: chat[key] for key in CHAT_KEYS},
        "train": settings.result() | {"max_length": job["max_length"]},
    }
    return job, Training.of(content, settings.dir, settings.name)
