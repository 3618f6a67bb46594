"""From a configuration to a training job: plain values that a rank can run without Hydra, and its identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..chat import Chat, ChatFormat
from ..data.funnel import Row
from ..errors import SettingError, sentences
from ..models.device import cuda_devices
from ..models.facts import model_facts
from ..models.fingerprint import fingerprint
from ..models.tokenizer import check_ids, load_tokenizer
from ..models.weights import check_weights
from .examples import Encoded, check, encode_all
from .settings import Settings
from .trained import Training

# what of a chat format is in a training text
CHAT_KEYS = ("system", "instruction", "arguments", "date", "thinking_start", "thinking_end", "forced_break", "answer_stop")


def settings_of(cfg: DictConfig) -> Settings:
    """The checked settings of `cfg.train` for the devices of this machine."""
    return Settings.of(OmegaConf.to_container(cfg.train, resolve=True), on_gpu=cuda_devices() > 0)


@dataclass
class Source:
    """What a training starts from: base model, data set, chat format; known without loading anything.

    `made` says how the records came about, `length` is the most tokens of an example.
    """

    model: Mapping[str, Any]
    facts: dict[str, Any]
    chat: dict[str, Any]
    data: str
    records: list[dict[str, Any]]
    made: str
    control: str | None
    step_separator: str
    length: int
    training: Training

    def encode(self) -> Encoded:
        """Tokenize all records. Raises SettingError when tokenizer, model and chat format do not belong together."""
        tokenizer = load_tokenizer(self.model)
        with sentences():
            chat = Chat(ChatFormat(**self.chat), tokenizer, self.facts["context_length"])
            chat.thinking_stops, chat.answer_stops  # each must be one token, or evaluation could never see it
        encoded = encode_all(
            self.records,
            tokenizer,
            chat.format,
            max_length=self.length,
            name=self.data,
            control=self.control,
            step_separator=self.step_separator,
        )
        check_ids(self.model["path"], max(map(max, encoded.input_ids)), self.facts["vocab_size"])
        return encoded


def source(cfg: DictConfig, settings: Settings) -> Source:
    """Build the data set and find out what the training is.

    Raises SettingError when the data or the model will not do.
    """
    from ..data.build import build

    if cfg.data is None:
        raise SettingError("stage=train: no data is chosen; add data=... (python run.py --help lists them)")
    model = OmegaConf.to_container(cfg.model, resolve=True)
    with sentences():
        check_weights(model["path"], model["revision"])
        facts = model_facts(model["path"], model["revision"])
        base = fingerprint("train", model["path"], revision=model["revision"], tokenizer=model["tokenizer"], dtype="any")
    if facts["quantization"]:
        raise SettingError(
            f"model.path={model['path']}: quantized weights ({facts['quantization']}) cannot be trained; take "
            "the model they were made from"
        )
    length = max_length(settings, facts, model["name"])
    built = build(cfg)
    records, made = built.table.to_pylist(), _made(built.rows)
    check(records, cfg.data.name, made)
    chat = OmegaConf.to_container(cfg.chat, resolve=True)
    control, separator = cfg.data.get("control"), cfg.data.get("step_separator", "\n\n")
    content = {
        "base": base,
        "data": built.key,
        "control": [control, separator if control == "steps" else None],
        "chat": {key: chat[key] for key in CHAT_KEYS},
        "train": settings.result() | {"max_length": length},
    }
    training = Training.of(content, settings.dir, settings.name)
    return Source(model, facts, chat, cfg.data.name, records, made, control, separator, length, training)


def _made(rows: Sequence[Row]) -> str:
    """A data set's funnel in a line: `3,996 in the pool; quality: -12 damaged, ...`."""
    steps = (f"{row.step}: " + ", ".join(f"-{n:,} {why}" for why, n in row.dropped.items()) for row in rows if row.dropped)
    return "; ".join([f"{rows[0].after:,} in the pool", *steps])


def max_length(settings: Settings, facts: Mapping[str, Any], model: str) -> int:
    """Tokens of the longest example that is trained on whole."""
    if settings.max_length is not None and settings.max_length > facts["context_length"]:
        raise SettingError(
            f"train.max_length={settings.max_length}: {model} has a context of {facts['context_length']:,} "
            "tokens; take at most that, or null"
        )
    return settings.max_length or facts["context_length"]


def make(source: Source, settings: Settings, encoded: Encoded, devices: int, deepspeed: dict | None) -> dict[str, Any]:
    """The job of all ranks, and its examples in a file that they share."""
    folder = source.training.folder.absolute()
    stage = deepspeed["zero_optimization"]["stage"] if deepspeed else None
    examples = folder / "examples.parquet"
    encoded.save(examples)
    return {
        "model": _absolute(source.model["path"]),
        "revision": source.model["revision"],
        "tokenizer": source.model["tokenizer"] and _absolute(source.model["tokenizer"]),
        "settings": asdict(settings),
        "examples": str(examples),
        "folder": str(folder),
        "devices": devices,
        "deepspeed": deepspeed,
        "identity": source.training.identity(devices, stage),
    }


def _absolute(path: str) -> str:
    """Folders absolute, hub ids as they are."""
    folder = Path(path).expanduser()
    return str(folder.absolute()) if folder.exists() else path
