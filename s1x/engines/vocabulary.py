"""Which ids of a model are padding: rows of the embedding above the tokenizer's largest id (s1's README, "Known issues")."""

from __future__ import annotations

import json
from pathlib import Path

from .fingerprint import locate, locate_tokenizer, model_facts


def padded_ids(model: str, revision: str | None = None, tokenizer: str | None = None, trust_remote_code: bool = False) -> range:
    """From the tokenizer's largest id + 1 to the model's vocabulary size; empty when nothing is padded.

    Reads tokenizer.json; only a tokenizer without one is loaded.
    """
    home = locate_tokenizer(tokenizer, locate(model, revision))
    if (home / "tokenizer.json").is_file():
        first = _largest_id(home / "tokenizer.json") + 1
    else:
        from transformers import AutoTokenizer

        first = max(AutoTokenizer.from_pretrained(home, trust_remote_code=trust_remote_code).get_vocab().values()) + 1
    return range(first, max(first, model_facts(model, revision)["vocab_size"]))


def _largest_id(file: Path) -> int:
    words = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = words["model"]["vocab"]  # token -> id, or for Unigram a list of [token, score]
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    return max(*ids, *(token["id"] for token in words.get("added_tokens", ())))
