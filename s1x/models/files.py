"""Where a model's small files are: a local folder, or the hub's local cache (fetched when not there yet)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
)
GENERATION = "generation_config.json"
_NETWORK_SECONDS = 5


class ModelFiles(NamedTuple):
    """Where a model's small files are: a local folder, and for hub models the id and the commit it stands for."""

    folder: Path
    hub: str | None = None
    commit: str | None = None


def locate(model: str, revision: str | None = None, fetch: bool = True) -> ModelFiles:
    """The folder of a local model, or of a hub model's cached config and tokenizer (fetched when not cached yet, with `fetch`).

    Raises FileNotFoundError with one sentence when the path does not exist, lacks files, or the hub cannot be reached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"model.path={model}: the folder has no config.json; it must be one saved by save_pretrained."
            )
        if not weights(folder):
            raise FileNotFoundError(
                f"model.path={model}: the folder has no weights; it must hold *.safetensors or pytorch_model*.bin files."
            )
        return ModelFiles(folder)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", model):
        raise FileNotFoundError(f"model.path={model} does not exist; give an existing folder or a hub id such as org/name.")
    return _hub(model, revision, fetch=fetch)


def _hub(
    model: str,
    revision: str | None,
    setting: str = "model.path",
    needs: tuple[str, ...] = ("config.json",),
    fetch: bool = True,
) -> ModelFiles:
    """The cached small files of a hub id, which have one of `needs`; `setting` named it."""
    from huggingface_hub import snapshot_download

    wanted = ["config.json", GENERATION, *TOKENIZER_FILES, "*.jinja"]
    for offline in (True, False) if fetch else (True,):
        try:
            folder = Path(
                snapshot_download(
                    model, revision=revision, allow_patterns=wanted, local_files_only=offline, etag_timeout=_NETWORK_SECONDS
                )
            )
        except Exception as error:  # the hub client raises many kinds; all mean the same here
            reason = type(error).__name__
            continue
        if any((folder / name).is_file() for name in needs):
            return ModelFiles(folder, model, folder.name)
        reason = f"no {needs[0]} in it"
    at = f" at revision {revision}" if revision else ""
    if not fetch:
        raise FileNotFoundError(f"{setting}={model}{at} is no local folder and not in the hub's local cache; fetch it first.")
    raise FileNotFoundError(
        f"{setting}={model}{at} is no local folder, is not in the hub's local cache and could not be fetched ({reason}); "
        "give an existing folder, or a hub id while the network is up."
    )


def weights(folder: Path) -> list[Path]:
    """All weight files of the preferred format; what a model is known by (fingerprint.py)."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def checkpoint(folder: Path) -> list[Path]:
    """The safetensors files that make the model, each weight once: `model.safetensors`, or the parts that its index names, or
    all but copies in the format of Mistral's own code. [] where none is there, or a part is missing."""
    if (whole := folder / "model.safetensors").is_file():
        return [whole]
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        parts = [folder / name for name in sorted(set(index["weight_map"].values()))]
        return parts if all(part.is_file() for part in parts) else []
    except (OSError, ValueError, KeyError, AttributeError):
        found = sorted(folder.glob("*.safetensors"))
        return [file for file in found if not file.name.startswith("consolidated")] or found


def config(folder: Path) -> dict[str, Any]:
    """What config.json says."""
    return _read(folder, "config.json")


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"model.path={folder}: {name} is not valid JSON ({error}).") from None


def end_ids(model: str, revision: str | None = None) -> frozenset[int]:
    """The ids that end a turn by the model's generation_config.json, or by its config.json where there is none (as `generate`
    takes them); without those that its vocabulary does not have. Empty where there are no such files."""
    try:
        folder = locate(model, revision).folder
    except FileNotFoundError:  # whoever needs the model says so
        return frozenset()
    said = config(folder)
    text = said.get("text_config") or said
    if (folder / GENERATION).is_file():
        ends = _read(folder, GENERATION).get("eos_token_id")
    else:
        ends = said.get("eos_token_id", text.get("eos_token_id"))
    rows = text.get("vocab_size")
    ends = ends if isinstance(ends, list) else [ends]
    return frozenset(i for i in ends if isinstance(i, int) and 0 <= i < (rows if isinstance(rows, int) else i + 1))


def quantization(config: dict[str, Any]) -> str | None:
    """How the checkpoint is quantized, by its config.json; None where it is not."""
    return (config.get("quantization_config") or {}).get("quant_method")


def locate_tokenizer(tokenizer: str | None, files: ModelFiles) -> Path:
    """The folder of the tokenizer: the model's own unless another local folder or hub id is given (at its newest commit: a
    revision is the model's alone)."""
    if tokenizer is None or tokenizer == files.hub:
        return files.folder
    folder = Path(tokenizer).expanduser()
    if folder.is_dir():
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise FileNotFoundError(f"model.tokenizer={tokenizer}: the folder has no tokenizer.json.")
        return folder
    return _hub(tokenizer, None, "model.tokenizer", TOKENIZER_FILES).folder
