"""plan=true: on how many GPUs an engine would stand, and how much fits; no model, no GPU, no network."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from s1x.cell import Cell
from s1x.evaluation import plan

from ..test_sweeper import cells  # noqa: F401
from .test_experiments import planned  # noqa: F401


def said_of(found) -> list[str]:
    """What plan=true says of the memory of cells that read 6,000 tokens for each of 30 questions."""
    return plan.memory(plan.groups([plan.Row(cell, 30, 180_000, 30, 180_000, squares=30 * 6000.0**2) for cell in found]))


@pytest.mark.long
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), "s1-32B: bfloat16 on 2 of 8 GPUs of 79 GiB (replicas 1 x tensor 2 x pipeline 1), 30.5 GiB"),
        (("compat=s1",), "float32 on 4 of 8 GPUs"),
        (("engine.replicas=4",), "bfloat16 on 8 of 8 GPUs of 79 GiB (replicas 4 x tensor 2 x pipeline 1)"),
        (("engine.replicas=2", "engine.tensor_parallel_size=4"), "bfloat16 on 8 of 8 GPUs"),
        (
            ("scale.plan.devices=1",),
            "room for 33,065 tokens. At once: 4 streams of 6,809 tokens, 1 of the whole context. About",
        ),
        (("scale.plan.devices=1", "compat=s1"), "the model does not fit on 1 GPU of 79 GiB: it has 122.1 GiB of weights"),
        (("scale.plan.devices=4", "scale.plan.device_gib=139.8"), "on 2 of 4 GPUs of 140 GiB"),
        (("engine.tensor_parallel_size=3",), "engine.tensor_parallel_size=3: must part 40 attention heads"),
        (("engine.replicas=4", "engine.tensor_parallel_size=4"), "engine.replicas=4 of 4 GPUs each need 16; there are 8"),
    ],
)
def test_what_the_papers_command_needs(planned, overrides, said):  # noqa: F811
    lines = said_of(planned("budget_sweep", "scale=paper", *overrides))
    assert said in " ".join(lines)


def test_a_model_of_ones_own_is_measured_by_its_files(planned, tmp_path):  # noqa: F811
    config = {
        "model_type": "qwen2", "hidden_size": 896, "num_attention_heads": 14, "num_key_value_heads": 2, "num_hidden_layers": 24,
        "intermediate_size": 4864, "vocab_size": 151_936, "max_position_embeddings": 32_768, "tie_word_embeddings": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    lines = said_of(planned("wait_sweep", "scale=paper", f"model.path={tmp_path}", "model.name=mine"))
    assert [line.split(", room")[0] for line in lines][0].startswith("mine: bfloat16 on 1 of 8 GPUs")
    # 0.49 billion parameters; 2 x 24 layers x 2 heads x 64 x 2 bytes of keys and values a token
    assert "0.9 GiB of weights" in lines[0] and "256 streams of" in lines[0]


def test_what_is_not_known_is_said(planned):  # noqa: F811
    (line,) = said_of(planned("wait_sweep", "scale=paper", "model.path=acme/other", "model.name=other"))
    assert line.startswith("other: sizes that are not known here, so neither is whether it fits (a folder with its config.json")


def test_a_laptop_says_what_it_holds(planned):  # noqa: F811
    (tiny, base) = said_of(planned("budget_sweep"))
    assert tiny.startswith("tiny-s1: float32 in this machine of") and "At once: 64 streams of 390 tokens" in tiny
    assert base.startswith("tiny-base: ")


FAMILIES = [
    *("qwen3-0.6b", "qwen3-4b-thinking-2507", "qwq-32b", "r1-distill-llama-70b", "gpt-oss-120b", "seed-oss-36b", "glm-4.6"),
    *("phi-4-reasoning", "magistral-small", "nemotron-3-nano-30b-a3b", "smollm3-3b", "kimi-k2-thinking", "s1.1-3b"),
]


@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_is_planned_and_placed_without_the_network(composed, model):
    cell = Cell(composed(f"model={model}", "scale=paper", "task.limit=3"), Path(), Path())
    (row,) = plan.estimate([cell])
    assert row.tokens > 3 * 1000 and row.streams == 6  # of three questions, thinking and answers
    (line,) = said_of([cell])
    assert "of 8 GPUs of 79 GiB" in line or "the model does not fit on 8 GPUs of 79 GiB" in line
