"""Models for engine tests."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def without_weights(folder: Path, *, vocabulary: int, padded: int, context: int) -> str:
    """The files of a model that a client needs: a config and a tokenizer with ids below `vocabulary`."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": padded}
    config = {"model_type": "qwen2", "max_position_embeddings": context, **sizes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    words = {f"w{i}": i for i in range(vocabulary)}
    Tokenizer(WordLevel(words, unk_token="w0")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "w0"}')
    return str(folder)
