"""Which ids of a model are padding: rows of the embedding above the tokenizer's largest id (s1's README, "Known issues")."""

from __future__ import annotations

from .fingerprint import locate, model_facts


def padded_ids(model: str, revision: str | None = None, tokenizer: str | None = None, trust_remote_code: bool = False) -> range:
    """From the tokenizer's largest id + 1 to the model's vocabulary size; empty when nothing is padded. Loads the tokenizer."""
    from transformers import AutoTokenizer

    files = locate(model, revision)
    source, at = (tokenizer, None) if tokenizer else (files.hub or str(files.folder), files.commit)
    words = AutoTokenizer.from_pretrained(source, revision=at, trust_remote_code=trust_remote_code).get_vocab()
    first = max(words.values()) + 1
    return range(first, max(first, model_facts(model, revision)["vocab_size"]))
