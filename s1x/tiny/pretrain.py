"""Pretrain the tiny base model on skills: the recipe behind the shipped `tiny-base`.

Muon on the matrices, AdamW on the rest, one stage from scratch. A killed run goes on from its last checkpoint with the
same batches (batch i depends on the seed and i alone).

    python run.py +experiment=tiny_base
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from . import benchmarks, documents, tokenizer

SHAPE = dict(
    hidden_size=128,
    intermediate_size=384,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    max_position_embeddings=2048,
    rope_theta=1e4,
    tie_word_embeddings=True,
    vocab_size=512,
)


@dataclass(frozen=True)
class Recipe:
    steps: int = 3000
    rows: int = 4
    length: int = 1024  # tokens per row
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    warmup: int = 80
    seed: int = 0
    checkpoint_every: int = 250
    world: ClassVar = ("benchmarks.py", "documents.py", "muon.py", "notes.py", "pretrain.py", "problems.py", "tokenizer.py")

    @property
    def plan(self) -> str:
        return f"pretrained from scratch, {self.steps:,} steps"

    def make(self, out: Path, log=print) -> Path:
        return pretrain(out, self, log)


def batch(tok, recipe: Recipe, index: int, exclude: frozenset):
    """Batch `index`: inputs and labels of shape [rows, length]; documents are packed first-fit, slips and padding unlearned."""
    import torch

    ids = torch.zeros(recipe.rows, recipe.length, dtype=torch.long)
    learn = torch.zeros(recipe.rows, recipe.length, dtype=torch.bool)
    used, misses = [0] * recipe.rows, 0
    for document in documents.Writer(tok, f"{recipe.seed}-{index}", exclude).documents():
        flat = [t for piece, _ in document for t in piece]
        mask = [m for piece, m in document for _ in piece]
        row = next((r for r in range(recipe.rows) if used[r] + len(flat) <= recipe.length), None)
        if row is None:
            misses += 1
            if misses == 6:
                break
            continue
        at = used[row]
        ids[row, at : at + len(flat)] = torch.tensor(flat)
        learn[row, at : at + len(flat)] = torch.tensor(mask)
        used[row] += len(flat)
    return ids, ids.masked_fill(~learn, -100)


def pretrain(out: Path, recipe: Recipe = Recipe(), log=print) -> Path:
    """Train from scratch (or from the last checkpoint in `out`) and save model and tokenizer to `out`."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from .muon import Muon

    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    tok = tokenizer.build(tokenizer.corpus())
    exclude = benchmarks.held_out()
    ids = {name: tok.convert_tokens_to_ids(name) for name in tokenizer.SPECIALS}
    model = Qwen2ForCausalLM(
        Qwen2Config(**SHAPE, bos_token_id=None, eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"])
    )
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    optimizers = [
        Muon(matrices, lr=recipe.muon_lr, momentum=0.95, weight_decay=0.1),
        torch.optim.AdamW(rest, lr=recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]

    def factor(step: int) -> float:
        left = (recipe.steps - step) / max(1, recipe.steps - recipe.warmup)
        return min((step + 1) / recipe.warmup, max(0.02, left))

    schedules = [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in optimizers]
    parts = [model, *optimizers, *schedules]
    start, state_file = 0, out / "state.pt"
    if state_file.exists():
        saved = torch.load(state_file, weights_only=True)
        start = saved["step"]
        for part, state in zip(parts, saved["parts"]):
            part.load_state_dict(state)
        log(f"continuing at step {start} of {recipe.steps}")

    model.train()
    began, seen, smooth = time.time(), 0, None
    for step in range(start, recipe.steps):
        inputs, labels = batch(tok, recipe, step, exclude)
        hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state[:, :-1]
        learned = labels[:, 1:] != -100
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[learned]), labels[:, 1:][learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimizers:
            o.step()
            o.zero_grad(set_to_none=True)
        for s in schedules:
            s.step()
        seen += inputs.numel()
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if not math.isfinite(smooth):
            raise FloatingPointError(f"the loss is {smooth} at step {step}")
        if (step + 1) % 50 == 0:
            log(f"step {step + 1}/{recipe.steps}  loss {smooth:.4f}  {seen / (time.time() - began):,.0f} tokens/s")
        if (step + 1) % recipe.checkpoint_every == 0:
            torch.save({"step": step + 1, "parts": [p.state_dict() for p in parts]}, out / "state.tmp")
            (out / "state.tmp").replace(state_file)
            model.save_pretrained(out)
            tok.save_pretrained(out)
    model.save_pretrained(out)
    tok.save_pretrained(out)
    (out / "recipe.json").write_text(
        json.dumps(recipe.__dict__ | {"tokens": recipe.steps * recipe.rows * recipe.length}, indent=1)
    )
    return out


if __name__ == "__main__":
    import sys

    pretrain(Path(sys.argv[1]), log=lambda line: print(line, flush=True))
