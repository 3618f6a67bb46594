"""Sizes that plans know without the network: transformers' own classes, made without weights, have as many parameters."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from s1x.engines.placement import GIB, Need, choose
from s1x.models.known import KNOWN

from ..conftest import CONF

OWN = {  # transformers' class, and what of config.json a table of sizes does not need
    "Qwen/Qwen3-0.6B": ("Qwen3", {"tie_word_embeddings": True}),
    "Qwen/Qwen3-1.7B": ("Qwen3", {"tie_word_embeddings": True}),
    "Qwen/Qwen3-4B": ("Qwen3", {"tie_word_embeddings": True}),
    "Qwen/Qwen3-8B": ("Qwen3", {}),
    "Qwen/Qwen3-14B": ("Qwen3", {}),
    "Qwen/Qwen3-32B": ("Qwen3", {}),
    "Qwen/Qwen3-30B-A3B": ("Qwen3Moe", {"num_experts": 128, "moe_intermediate_size": 768}),
    "Qwen/Qwen2.5-1.5B-Instruct": ("Qwen2", {"tie_word_embeddings": True}),
    "simplescaling/s1.1-3B": ("Qwen2", {"tie_word_embeddings": True}),
    "Qwen/Qwen2.5-7B-Instruct": ("Qwen2", {}),
    "Qwen/Qwen2.5-14B-Instruct": ("Qwen2", {}),
    "Qwen/Qwen2.5-32B-Instruct": ("Qwen2", {}),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": ("Qwen2", {}),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": ("Llama", {}),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": ("Llama", {}),
    "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data": ("Llama", {}),
    "peiyi9979/math-shepherd-mistral-7b-prm": ("Mistral", {}),
    "openai/gpt-oss-20b": ("GptOss", {"num_local_experts": 32}),
    "openai/gpt-oss-120b": ("GptOss", {"num_local_experts": 128}),
    "ByteDance-Seed/Seed-OSS-36B-Instruct": ("SeedOss", {"attention_out_bias": False}),
    "microsoft/Phi-4-reasoning": ("Phi3", {"pad_token_id": 0}),
    "mistralai/Magistral-Small-2509": ("Mistral", {}),
    "HuggingFaceTB/SmolLM3-3B": ("SmolLM3", {"tie_word_embeddings": True, "pad_token_id": 0}),
    "zai-org/GLM-4.6": (
        "Glm4Moe",
        {
            "n_routed_experts": 160,
            "n_shared_experts": 1,
            "moe_intermediate_size": 1536,
            "first_k_dense_replace": 3,
            "attention_bias": True,
            "use_qk_norm": True,
        },
    ),
}


@pytest.mark.parametrize("path", OWN)
def test_they_are_what_a_model_of_these_sizes_has(path):
    import torch
    import transformers

    kind, more = OWN[path]
    sizes = KNOWN[path]
    config = getattr(transformers, f"{kind}Config")(
        num_hidden_layers=sizes["layers"],
        hidden_size=sizes["hidden_size"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv_heads"],
        head_dim=sizes["head_dim"],
        intermediate_size=sizes["intermediate_size"],
        vocab_size=sizes["vocab_size"],
        **({"tie_word_embeddings": False} | more),
    )
    with torch.device("meta"):
        model = getattr(transformers, f"{kind}ForCausalLM")(config)
    counted = sum({id(p): p.numel() for p in model.parameters()}.values())
    assert abs(counted - sizes["parameters"]) < 1e-4 * counted  # biases of routers are buffers here and there


@pytest.mark.parametrize(
    ("path", "billions"),
    [("moonshotai/Kimi-K2-Thinking", 1026), ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 31.6),
     ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 8.89), ("Qwen/QwQ-32B", 32.8)],
)  # fmt: skip
def test_others_have_what_their_authors_say(path, billions):
    assert KNOWN[path]["parameters"] / 1e9 == pytest.approx(billions, rel=0.005)


def test_every_model_of_the_configuration_that_is_on_the_hub_is_known():
    """Scorers with a value head are not: how wide it is, their config.json does not say."""
    files = [*(CONF / "model").glob("*.yaml"), *(CONF / "scorer").glob("*.yaml")]
    nodes = [node for node in (OmegaConf.to_container(OmegaConf.load(file)) for file in files) if node.get("name") != "none"]
    paths = {(node.get("model") or node)["path"] for node in nodes if "mark" not in node or node.get("labels")}
    assert {path for path in paths if not path.startswith(("$", "."))} == set(KNOWN)


@pytest.mark.parametrize(
    ("path", "token", "devices"),
    [
        ("Qwen/Qwen3-8B", 2 * 36 * 8 * 128 * 2, 1),
        ("openai/gpt-oss-120b", 2 * 36 * 8 * 64 * 2, 2),
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 2 * 4 * 8 * 128 * 2, 1),  # four layers of attention
        ("moonshotai/Kimi-K2-Thinking", 61 * 576 * 2, None),
        ("zai-org/GLM-4.6", 2 * 92 * 8 * 128 * 2, None),
    ],
)
def test_where_they_stand_on_a_node_of_h100s(path, token, devices):
    need = Need.of(KNOWN[path], "bfloat16", KNOWN[path]["context_length"])
    assert need.kv_token == token
    if devices:
        assert choose(need, 8, 79 * GIB).tensor == devices
    else:
        with pytest.raises(ValueError, match="does not fit on 8 GPUs"):
            choose(need, 8, 79 * GIB)
