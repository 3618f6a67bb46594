"""What TRL costs on a CPU: a few steps of the tiny recipe through the train stage's own code, and as a plain PyTorch loop.

    python experiments/bench_training/bench_sft.py [steps] [examples at a time ...]

Both see the same batches in the same order from the same weights; the last losses are printed so that one can see it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import yaml

import s1x
from s1x.chat import ChatFormat
from s1x.tiny import pool
from s1x.training import sft
from s1x.training.examples import encode_all, order
from s1x.training.settings import Settings

BASE = Path(s1x.__file__).parent / "tiny" / "models" / "tiny-base"
CONF = Path(s1x.__file__).parents[1] / "conf" / "train"


def main(steps: int, at_once: list[int]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BASE)
    records = [r for r in pool.build(n=40 * steps) if len(r["thinking"]) > 700][:16 * steps]
    encoded = encode_all(records, tokenizer, ChatFormat(), max_length=2048, name="pool")
    tokens = sum(map(len, encoded.input_ids))
    print(f"{len(encoded)} examples, {tokens:,} tokens, {steps} steps of 16")
    for size in at_once:
        plain = {k: v for name in ("s1", "tiny") for k, v in yaml.safe_load((CONF / f"{name}.yaml").read_text()).items()}
        plain.pop("defaults")
        numbers = {"name": "bench", "epochs": 1, "device_batch_size": size, "learning_rate": 1.5e-3, "save_every": 10**6}
        settings = Settings.of(plain | numbers, on_gpu=False)
        for name, run in (("plain loop", plain_loop), ("TRL", through_trl)):
            seconds, loss = run(settings, encoded)
            print(f"{name:>10}, {size:2} at a time: {tokens / seconds:7,.0f} tokens/s, {seconds:5.1f} s, last loss {loss:.4f}")


def through_trl(settings: Settings, encoded) -> tuple[float, float]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        encoded.save(Path(folder) / "examples.parquet")
        job = {"model": str(BASE), "revision": None, "tokenizer": None, "settings": asdict(settings), "folder": folder,
               "examples": f"{folder}/examples.parquet", "devices": 1, "deepspeed": None}
        return sft.train(job, rows.append)["seconds"], rows[-1]["loss"]


def plain_loop(settings: Settings, encoded) -> tuple[float, float]:
    import torch
    from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=settings.betas, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, settings.warmup_steps(len(encoded)), settings.steps(len(encoded)))
    lengths = [len(ids) for ids in encoded.input_ids]
    indices = order(lengths, epochs=1, batch=16, seed=settings.seed)
    began = time.monotonic()
    for start in range(0, len(indices), 16):
        members = [{"input_ids": encoded.input_ids[i], "labels": encoded.labels[i]} for i in indices[start:start + 16]]
        learned = sum(label != -100 for m in members for label in m["labels"])
        total = 0.0
        for at in range(0, 16, settings.device_batch_size):
            inputs = sft.batch(members[at:at + settings.device_batch_size])
            hidden = model.model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state[:, :-1]
            mask = inputs["labels"][:, 1:] != -100
            logits = model.lm_head(hidden[mask])
            loss = torch.nn.functional.cross_entropy(logits, inputs["labels"][:, 1:][mask], reduction="sum") / learned
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    return time.monotonic() - began, total


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6, [int(a) for a in sys.argv[2:]] or [4, 16])
