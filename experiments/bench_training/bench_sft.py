"""How fast s1's recipe trains on this machine: tokens per second, model FLOPs utilization (MFU), memory against its estimate.

    python experiments/bench_training/bench_sft.py [--shape 1.5b] [--length 8192] [--steps 10] [--processes N] ...

A random-weight Qwen2.5 of the given shape and random tokens, through the train stage's own ranks, trainer and checkpoints.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from dataclasses import asdict
from pathlib import Path

import yaml
from omegaconf import OmegaConf

import s1x
from s1x.models.device import cuda_devices
from s1x.models.facts import model_facts
from s1x.training import launch, memory
from s1x.training.examples import UNLEARNED, Encoded
from s1x.training.ranks import Ranks
from s1x.training.settings import Settings
from s1x.training.watch import multiplied, peak_flops

PACKAGE = Path(s1x.__file__).parent
CONF = PACKAGE.parent / "conf"
PROMPT, WARM = 128, 2  # tokens of each example that are not learned; steps that are not counted
SHAPES = {  # of Qwen2.5-Instruct: hidden, layers, heads, kv heads, intermediate, vocabulary, tied embeddings
    "tiny": (128, 4, 4, 2, 384, 512, True),
    "0.5b": (896, 24, 14, 2, 4864, 151_936, True),
    "1.5b": (1536, 28, 12, 2, 8960, 151_936, True),
    "3b": (2048, 36, 16, 2, 11_008, 151_936, True),
    "7b": (3584, 28, 28, 4, 18_944, 152_064, False),
}


def main(shape: str, length: int, steps: int, processes: int, distributed: str, at_once: int) -> None:
    on_gpu = cuda_devices() > 0
    plain = yaml.safe_load((CONF / "train" / "s1.yaml").read_text()) | {
        "name": shape, "epochs": 1, "learning_rate": 1e-5, "device_batch_size": at_once, "max_length": length,
        "save_every": 10**6,
    }  # fmt: skip
    settings = Settings.of(plain, on_gpu)
    ranks = Ranks.of(group(distributed) | {"processes": processes})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        build(folder, shape, length)
        facts = model_facts(str(folder))
        needed = memory.of(settings, ranks, facts, length)
        print(
            f"Qwen2.5-{shape}: {facts['parameters']:,} parameters, {steps} steps of {settings.global_batch_size} examples of "
            f"{length:,} tokens, {ranks.devices} x {at_once} at a time, {settings.precision}, distributed={distributed}\n"
            f"expected per device: {needed}",
            flush=True,
        )
        random_examples(steps * settings.global_batch_size, length, facts["vocab_size"]).save(Path(place) / "examples.parquet")
        job = {
            "model": str(folder), "revision": None, "tokenizer": None, "settings": asdict(settings), "folder": place,
            "examples": f"{place}/examples.parquet", "devices": ranks.devices, "deepspeed": ranks.deepspeed, "identity": shape,
        }  # fmt: skip
        rows: list[dict] = []
        launch.run(job, ranks, rows.append)
    report(rows, facts, length, ranks.devices)


def group(name: str) -> dict:
    """conf/distributed/<name>.yaml with what it builds on."""
    node = OmegaConf.load(CONF / "distributed" / f"{name}.yaml")
    for base in [base for base in node.pop("defaults", []) if base != "_self_"]:
        node = OmegaConf.merge(OmegaConf.load(CONF / "distributed" / f"{base}.yaml"), node)
    return OmegaConf.to_container(node)


def build(folder: Path, shape: str, length: int) -> None:
    """Save a model of the shape with random weights, and a tokenizer (any would do: the examples are ids)."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    hidden, layers, heads, kv_heads, intermediate, vocabulary, tied = SHAPES[shape]
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    Qwen2ForCausalLM(Qwen2Config(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
        intermediate_size=intermediate, vocab_size=vocabulary, tie_word_embeddings=tied, max_position_embeddings=length,
    )).save_pretrained(folder)  # fmt: skip
    AutoTokenizer.from_pretrained(PACKAGE / "tiny" / "models" / "tiny-base").save_pretrained(folder)


def random_examples(n: int, length: int, vocabulary: int) -> Encoded:
    draw = random.Random(0)
    ids = [[draw.randrange(vocabulary) for _ in range(length)] for _ in range(n)]
    return Encoded(ids, [[UNLEARNED] * PROMPT + row[PROMPT:] for row in ids], cut=0, longest=length)


def report(rows: list[dict], facts: dict, length: int, devices: int) -> None:
    """Speed over the steps after the warm-up. Attention takes 12 x layers x width operations per pair of tokens that see each
    other: half of them.
    """
    counted = len(rows) - WARM
    seconds = rows[-1]["time"] - rows[WARM - 1]["time"]
    rate = (rows[-1]["num_tokens"] - rows[WARM - 1]["num_tokens"]) / seconds
    weights, attention = 6 * multiplied(facts), 6 * facts["layers"] * facts["heads"] * facts["head_dim"] * length
    peak = peak_flops()
    result = {
        "device": _device(),
        "devices": devices,
        "steps_counted": counted,
        "seconds_per_step": seconds / counted,
        "tokens_per_second": rate,
        "memory_gb": rows[-1]["memory_gb"],
        "mfu": peak and rate * weights / (devices * peak),
        "mfu_with_attention": peak and rate * (weights + attention) / (devices * peak),
    }
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in result.items()}, indent=1))


def _device() -> str:
    if not cuda_devices():
        return "CPU"
    import torch

    return torch.cuda.get_device_name(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="1.5b")
    parser.add_argument("--length", type=int, default=8192, help="tokens of each example")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--processes", type=int, default=max(cuda_devices(), 1), help="ranks, one per GPU")
    parser.add_argument("--distributed", choices=("zero2", "zero3", "zero3_offload"), default="zero3")
    parser.add_argument("--at-once", type=int, default=1, help="examples a device takes at a time")
    a = parser.parse_args()
    main(a.shape, a.length, a.steps, a.processes, a.distributed, a.at_once)
