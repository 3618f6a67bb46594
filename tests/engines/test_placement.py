"""On how many GPUs an engine is spread, on nodes that were written down.

Numbers by hand from s1-32B's config.json: 32.76 billion parameters, 64 layers, 40 heads, 8 of keys and values, 128 numbers a
head, 32,768 tokens of context.
"""

from __future__ import annotations

import json
import struct

import pytest

from s1x.engines import build as building
from s1x.engines import vllm
from s1x.engines.placement import GIB, Need, choices, choose, place, placed
from s1x.models.known import KNOWN

from . import tiny
from .test_build import configuration

S1 = KNOWN["simplescaling/s1-32B"]
H100, H200 = 79.1 * GIB, 139.8 * GIB  # what the driver says of "80 GB" and "141 GB"
BF16, FP32 = (Need.of(S1, dtype, 32_768) for dtype in ("bfloat16", "float32"))


def test_what_s1_32b_needs():
    assert BF16.weights / 1e9 == pytest.approx(65.5, abs=0.05) and FP32.weights == 2 * BF16.weights
    assert BF16.kv_token == 2 * 64 * 8 * 128 * 2 == 256 * 1024 and FP32.kv_token == 512 * 1024
    assert BF16.kv_token * 32_768 == 8 * GIB  # one stream of the whole context


@pytest.mark.parametrize(
    ("devices", "size", "need", "tensor"),
    [
        (8, H100, BF16, 2),
        (8, H100, FP32, 4),
        (4, H100, BF16, 2),
        (4, H100, FP32, 4),
        (8, H200, BF16, 2),
        (8, H200, FP32, 4),
        (2, H200, FP32, 2),
        (1, H200, BF16, 1),
        (1, H100, BF16, 1),
        (3, H100, BF16, 2),  # of three only two part the heads evenly
        (16, H100, FP32, 4),
    ],
)
def test_nodes(devices, size, need, tensor):
    chosen = choose(need, devices, size)
    assert chosen.tensor == tensor and chosen.tokens >= need.context
    held = chosen.tensor * 0.9 * size
    assert need.weights + chosen.tokens * need.kv_token <= held


def test_one_h100_holds_five_chains_and_eight_gib_of_cache():
    chosen = choose(BF16, 1, H100)
    assert chosen.cache / GIB == pytest.approx(8, abs=0.3)
    assert chosen.tokens // 6_500 == 5


@pytest.mark.parametrize(
    ("need", "devices", "size", "said"),
    [
        (FP32, 1, H100, "does not fit on 1 GPU of 79 GiB: it has 122.1 GiB of weights"),
        (BF16, 1, 40 * GIB, "does not fit on 1 GPU of 40 GiB"),
        (FP32, 2, 64 * GIB, "does not fit on 2 GPUs"),
        (Need.of(S1, "bfloat16", 131_072), 1, H100, r"one stream of 131,072 tokens 32.0 GiB; .*engine.max_model_len=33\d\d\d"),
    ],
)
def test_what_cannot_fit_is_a_sentence(need, devices, size, said):
    with pytest.raises(ValueError, match=f"engine.tensor_parallel_size=null: .*{said}"):
        choose(need, devices, size)


def test_heads_are_parted_evenly():
    assert choices(BF16, 40) == [1, 2, 4, 8, 40]  # 5, 10 and 20 part 40 heads, but not 8
    assert choices(Need(1, 1, 1, heads=14, kv_heads=2), 8) == [1, 2]  # Qwen2.5-0.5B
    assert choices(Need(1, 1, 1, heads=12, kv_heads=4), 12) == [1, 2, 4, 12]
    assert choices(Need(1, 1, 1, heads=64, kv_heads=8), 16) == [1, 2, 4, 8, 16]  # gpt-oss-20b


def test_more_devices_than_heads_hold_copies():
    few = Need(1e9, 1024, 1000, heads=8, kv_heads=2)
    two, four = (place(few, n, 1, 10e9, 0.9) for n in (2, 4))
    assert four.cache > two.cache and four.tokens == int(four.cache / 512)  # each holds one head of two, and not half of one


def test_pipeline_stages_share_weights_and_cache():
    one, two = place(FP32, 4, 1, H100, 0.9), place(FP32, 4, 2, H100, 0.9)
    assert two.weights == one.weights / 2 and two.tokens > 2 * one.tokens
    assert choose(FP32, 8, H100, pipeline=2).tensor == 2
    with pytest.raises(ValueError, match="engine.pipeline_parallel_size=4 needs 4 GPUs; there are 2"):
        choose(FP32, 2, H100, pipeline=4)


def settings(**changed) -> dict:
    return configuration("vllm") | {"dtype": "bfloat16"} | changed


def test_settings_reach_the_arithmetic():
    assert placed(settings(), S1, 8, H100).tensor == 2
    assert placed(settings(dtype=None), S1, 8, H100) == placed(settings(), S1, 8, H100)  # bfloat16 on a GPU
    assert placed(settings(dtype="float32"), S1, 8, H100).tensor == 4
    assert placed(settings(quantization="fp8"), S1, 8, H100).tensor == 2
    assert placed(settings(quantization="awq"), S1, 8, H200).tensor == 1
    assert placed(settings(max_model_len=8192), S1, 1, H100).tokens >= 32_000
    halved = placed(settings(tensor_parallel_size=2, arguments={"kv_cache_dtype": "fp8_e4m3"}), S1, 2, H100)
    assert halved.tokens == pytest.approx(2 * placed(settings(tensor_parallel_size=2), S1, 2, H100).tokens, abs=2)
    with pytest.raises(ValueError, match="tensor_parallel_size=3: must part 40 attention heads .* valid are 1, 2, 4, 8, 40"):
        placed(settings(tensor_parallel_size=3), S1, 8, H100)


@pytest.mark.parametrize(("devices", "replicas"), [(8, 4), (8, 2), (4, 2)])
def test_devices_are_replicas_times_tensor_times_pipeline(monkeypatch, devices, replicas):
    made = {}
    monkeypatch.setattr(building, "cuda_devices", lambda: devices)
    monkeypatch.setattr(building, "device_memory", lambda: H100)
    monkeypatch.setattr(building, "model_facts", lambda *_: S1)
    monkeypatch.setattr(building, "Replicas", lambda make, n, devices: made.update(make=make, n=n, devices=devices))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    model = {"path": "simplescaling/s1-32B", "revision": None, "tokenizer": None}
    building.build(settings(replicas=replicas), model)
    assert made["n"] == replicas and made["devices"] == [f"{2 * i},{2 * i + 1}" for i in range(replicas)]
    assert made["make"].args[0]["tensor_parallel_size"] == 2  # what each of them is told


def test_the_engine_chooses_where_there_are_gpus(monkeypatch, tmp_path, caplog):
    """A config of s1-32B's sizes, and devices that are said to be there; nothing is loaded."""
    caplog.set_level("INFO")
    config = {
        "model_type": "qwen2", "hidden_size": 5120, "num_attention_heads": 40, "num_key_value_heads": 8,
        "num_hidden_layers": 64, "intermediate_size": 27_648, "vocab_size": 152_064, "max_position_embeddings": 32_768,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    monkeypatch.setattr(vllm, "find_spec", lambda _: True)
    monkeypatch.setattr(vllm, "device_memory", lambda: H100)
    for devices, dtype, expected in ((8, None, 2), (8, "float32", 4), (1, "bfloat16", 1)):
        monkeypatch.setattr(vllm, "cuda_devices", lambda devices=devices: devices)
        engine = vllm.VllmEngine(str(tmp_path), dtype=dtype)
        assert engine.arguments["tensor_parallel_size"] == expected
    assert "engine.tensor_parallel_size=2 is chosen: 30.5 GiB of weights and" in caplog.text
    assert "engine.replicas=4 would use all 8 GPUs" in caplog.text
    with pytest.raises(ValueError, match="engine.tensor_parallel_size=null: the model does not fit on 1 GPU"):
        vllm.VllmEngine(str(tmp_path), dtype="float32")


@pytest.mark.parametrize(
    ("heads", "kv_heads", "wrong", "valid"),
    [(40, 8, 3, "1, 2, 4, 8, 40"), (40, 8, 5, "1, 2, 4, 8, 40"), (14, 2, 4, "1, 2, 14"), (16, 16, 6, "1, 2, 4, 8, 16")],
)
@pytest.mark.parametrize("devices", [0, 8])
def test_a_number_that_does_not_part_the_heads_is_refused_before_the_engine_starts(
    monkeypatch, tmp_path, devices, heads, kv_heads, wrong, valid
):
    """By the engine, in the words of plan=true."""
    config = {
        "model_type": "qwen2", "hidden_size": 64 * heads, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "num_hidden_layers": 2, "intermediate_size": 64, "vocab_size": 64, "max_position_embeddings": 512,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    monkeypatch.setattr(vllm, "find_spec", lambda _: True)
    monkeypatch.setattr(vllm, "cuda_devices", lambda: devices)
    model = {"path": str(tmp_path), "revision": None, "tokenizer": None}
    with pytest.raises(ValueError) as planned:
        placed(settings(tensor_parallel_size=wrong), building.facts_of(settings(), model), 8, H100)
    with pytest.raises(ValueError) as refused:
        vllm.VllmEngine(str(tmp_path), tensor_parallel_size=wrong)
    assert str(refused.value) == str(planned.value)
    assert f"tensor_parallel_size={wrong}: must part {heads} attention heads" in str(refused.value)
    assert f"valid are {valid} and null" in str(refused.value)
    right = vllm.VllmEngine(str(tmp_path), tensor_parallel_size=2)
    assert right.arguments["tensor_parallel_size"] == 2


def test_without_a_gpu_it_is_one(monkeypatch):
    monkeypatch.setattr(vllm, "find_spec", lambda _: True)
    assert vllm.VllmEngine(tiny.MODEL).arguments["tensor_parallel_size"] == 1
