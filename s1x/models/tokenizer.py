"""The one way to a tokenizer, and which ids of a model have no token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SettingError
from .facts import model_facts
from .files import locate, locate_tokenizer
from .loading import quiet


def load_tokenizer(model: Mapping[str, Any], setting: str | None = None) -> Any:
    """The tokenizer of a resolved group `model`: `path` and `revision`, or `tokenizer` where that stands elsewhere (at its
    newest commit: the revision is the model's).

    Raises SettingError, which names `setting` (or the key that was read), when there is none.
    """
    from transformers import AutoTokenizer

    quiet()
    other = model.get("tokenizer")
    path, revision = (other, None) if other and other != model["path"] else (model["path"], model.get("revision"))
    folder = Path(path).expanduser()
    options = {"trust_remote_code": bool(model.get("trust_remote_code"))}
    try:
        return AutoTokenizer.from_pretrained(folder if folder.is_dir() else path, revision=revision, **options)
    except (OSError, ValueError, TypeError) as error:
        setting = setting or ("model.tokenizer" if other else "model.path")
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingError(f"{setting}={path}: no tokenizer there ({reason}); give a folder or a hub id") from None


def check_ids(model: str, largest: int, rows: int) -> None:
    """Raises SettingError for an id that the embedding, which has `rows`, does not hold."""
    if largest >= rows:
        raise SettingError(
            f"model.path={model}: its tokenizer writes id {largest}, and the model knows only {rows}; set model.tokenizer to "
            "the one it was made with"
        )


def padded_ids(model: str, revision: str | None = None, tokenizer: str | None = None, trust_remote_code: bool = False) -> range:
    """From the tokenizer's largest id + 1 to the model's vocabulary size; empty when nothing is padded.

    These rows of the embedding stand for no token (s1's README, "Known issues"). Reads the tokenizer's files; only one without
    a tokenizer.json is loaded.
    """
    home = locate_tokenizer(tokenizer, locate(model, revision))
    if (home / "tokenizer.json").is_file():
        first = _largest_id(home) + 1
    else:
        loaded = load_tokenizer({"path": str(home), "trust_remote_code": trust_remote_code})
        first = max(loaded.get_vocab().values()) + 1
    return range(first, max(first, model_facts(model, revision)["vocab_size"]))


def _largest_id(home: Path) -> int:
    words = json.loads((home / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = words["model"]["vocab"]  # token -> id, or for Unigram a list of [token, score]
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    added = [token["id"] for token in words.get("added_tokens", ())]
    if (home / "tokenizer_config.json").is_file():  # may add more
        added += map(
            int, json.loads((home / "tokenizer_config.json").read_text(encoding="utf-8")).get("added_tokens_decoder", ())
        )
    return max(*ids, *added)
