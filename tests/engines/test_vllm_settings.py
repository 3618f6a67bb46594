"""Settings of vLLM, each in an engine of its own (`-m vllm`): an engine that is closed takes others of its process along."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from s1x.engines import vllm_arguments
from s1x.engines.transformers import TransformersEngine
from s1x.engines.vllm import VllmEngine
from s1x.streams.engine import Open
from s1x.streams.types import Sampling

from . import tiny
from .sweep import write

pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = pytest.mark.vllm

PREFIX = (1, 30, 31, 32)


def changed(folder: Path, **config) -> str:
    """The tiny model with other settings in its config.json."""
    shutil.copytree(tiny.MODEL, folder)
    settings = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(settings))
    return str(folder)


def both(model: str, requests, **settings) -> tuple[list[list[int]], list[list[int]]]:
    """What vLLM and the embedded engine write."""
    ours, theirs = TransformersEngine(model, device="cpu"), VllmEngine(model, max_num_seqs=8, kv_cache_gib=0.5, **settings)
    assert ours.context_length == theirs.context_length
    written = write(theirs, requests), write(ours, requests)
    theirs.close()
    ours.close()
    return written


def test_yarn_reads_as_far_as_its_factor(tmp_path):
    """512 positions, factor 4: vLLM and transformers agree on tokens far behind 512."""
    rope = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 512}
    model = changed(tmp_path / "yarn", max_position_embeddings=512, rope_parameters=rope)
    one, other = both(model, [Open(PREFIX, 900), Open(tuple(3 + i % 300 for i in range(1900)), 500)])
    assert one == other and [len(ids) for ids in one] == [900, 148]


def test_an_adapter_writes_what_its_merged_weights_write(tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    folder, merged = tmp_path / "lora", changed(tmp_path / "merged")
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"})
    )
    torch.manual_seed(0)
    weights, adapter = load_file(tmp_path / "merged" / "model.safetensors"), {}
    for layer in range(4):
        name = f"layers.{layer}.self_attn.q_proj"
        a, b = torch.randn(4, 128) * 0.2, torch.randn(128, 4) * 0.2
        adapter |= {f"base_model.model.model.{name}.lora_{k}.weight": m for k, m in (("A", a), ("B", b))}
        weights[f"model.{name}.weight"] += 2 * b @ a  # lora_alpha / r
    save_file(adapter, folder / "adapter_model.safetensors")
    save_file(weights, tmp_path / "merged" / "model.safetensors", metadata={"format": "pt"})
    expected = write(TransformersEngine(merged, device="cpu"), [Open(PREFIX, 60)])
    with_adapter, without = both(tiny.MODEL, [Open(PREFIX, 60)], lora=str(folder))
    assert with_adapter == expected != without


def test_settings_of_vllm_that_we_name_are_there():
    there = set(vllm_arguments.names())
    assert len(there) > 100 and "speculative_config" in there
    assert set(vllm_arguments.SETTINGS) - {"lora_modules"} <= there
    assert set(vllm_arguments.FIXED) <= there
    assert {name for names in vllm_arguments.TOKENLESS.values() for name in names} <= there
    with pytest.raises(ValueError, match="did you mean speculative_config"):
        vllm_arguments.checked({"speculative_confg": {}})


def test_speculation_is_a_setting_and_changes_no_greedy_token():
    """In a process of its own: vLLM's CPU build does not start again after it."""
    settings = "speculative_config: {method: ngram, num_speculative_tokens: 3, prompt_lookup_max: 3}"
    code = (
        "import sys, yaml; from s1x.engines.vllm import VllmEngine; from s1x.streams.engine import Open\n"
        f"engine = VllmEngine({tiny.MODEL!r}, max_num_seqs=8, kv_cache_gib=0.5, arguments=yaml.safe_load({settings!r}))\n"
        f"engine.open(Open({PREFIX}, 200))\n"
        "ids = [i for chunks in iter(engine.poll, []) for chunk in chunks for i in chunk.ids]\n"
        "assert engine.llm.vllm_config.speculative_config.method == 'ngram'; engine.close(); print(ids)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(done.stdout.splitlines()[-1])] == write(
        TransformersEngine(tiny.MODEL, device="cpu"), [Open(PREFIX, 200)]
    )


def test_one_seed_is_for_the_runner_that_keys_its_noise_by_position(caplog):
    """The CPU build runs model runner V1: said, and parts get seeds of their own."""

    engine = VllmEngine(tiny.MODEL, max_num_seqs=8, kv_cache_gib=0.5, positional_seeds=True)
    request = Open(PREFIX, 30, Sampling(1.0, noise=5))
    assert write(engine, [request]) == write(engine, [request])
    assert "vLLM runs its model runner V1 here" in caplog.text
    assert engine.fingerprint != VllmEngine(tiny.MODEL).fingerprint
    engine.close()
