"""Value heads: what a reward model puts in place of the vocabulary, as small layers on the last hidden state.

Read by the names of their weights, so that no remote code is needed. Sources: the modeling files of Qwen2.5-Math-PRM and
Qwen2.5-Math-RM (score.0, ReLU, score.2), transformers' sequence and token classification (score), TRL's value head
(v_head.summary).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..models.files import checkpoint

LAYERS = (("score.0", "score.2"), ("score",), ("v_head.summary",))  # with ReLU between two of them


def head_layers(folder: Path) -> tuple[str, ...]:
    """The layers of the checkpoint's value head; () for a model that has none."""
    names = set().union(*map(_names, checkpoint(folder)))
    return next((layers for layers in LAYERS if all(f"{layer}.weight" in names for layer in layers)), ())


def _names(file: Path) -> set[str]:
    with file.open("rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        return set(json.loads(f.read(size)))


def refuse_to_write(model: str, layers: tuple[str, ...]) -> None:
    """Raises ValueError for a model that has a value head."""
    if layers:
        raise ValueError(f"model.path={model}: it has a value head ({layers[0]}) and writes nothing; it is a scorer")


def load(source: str, folder: Path, layers: tuple[str, ...], **settings: Any) -> Any:
    """The backbone with its head, called like a causal language model: `logits` are the head's outputs, [1, kept, outputs]."""
    import torch
    from safetensors import safe_open
    from transformers import AutoModel

    backbone = AutoModel.from_pretrained(source, **settings)
    weights: dict[str, torch.Tensor] = {}
    for file in checkpoint(folder):
        with safe_open(file, "pt") as tensors:
            wanted = [name for name in tensors.keys() if name.rpartition(".")[0] in layers]  # noqa: SIM118  no mapping
            weights |= {name: tensors.get_tensor(name).to(settings["dtype"]) for name in wanted}

    class Headed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head, self.dtype = backbone, torch.nn.ModuleList(), settings["dtype"]
            for layer in layers:
                weight, bias = weights[f"{layer}.weight"], weights.get(f"{layer}.bias")
                linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
                linear.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
                self.head.append(linear)

        def forward(self, input_ids: torch.Tensor, logits_to_keep: torch.Tensor, **inputs: Any) -> Any:
            hidden = self.backbone(input_ids=input_ids, **inputs).last_hidden_state[:, logits_to_keep]
            for number, linear in enumerate(self.head):
                hidden = linear(torch.relu(hidden) if number else hidden)
            return SimpleNamespace(logits=hidden)

    model = Headed()
    model._supports_attention_backend = getattr(backbone, "_supports_attention_backend", False)
    return model
