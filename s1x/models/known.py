"""Sizes of models that have a file in conf/model or conf/scorer, for plans that are made without the network.

Source: their config.json on the hub. Parameters are what these sizes add up to, layer by layer, which is what their safetensors
headers say (GLM-4.6's without its layer for a second next token, Magistral's without its part for pictures).
"""

from __future__ import annotations

from typing import Any

_SIZES = (
    *("parameters", "layers", "hidden_size", "heads", "kv_heads", "head_dim", "intermediate_size", "vocab_size"),
    "context_length",
)
_QWEN25_1B = (1_543_714_304, 28, 1536, 12, 2, 128, 8960, 151_936, 32_768)
_QWEN25_3B = (3_085_938_688, 36, 2048, 16, 2, 128, 11_008, 151_936, 32_768)
_QWEN25_7B = (7_615_616_512, 28, 3584, 28, 4, 128, 18_944, 152_064, 32_768)
_QWEN25_14B = (14_770_033_664, 48, 5120, 40, 8, 128, 13_824, 152_064, 32_768)
_QWEN25_32B = (32_763_876_352, 64, 5120, 40, 8, 128, 27_648, 152_064, 32_768)
_QWEN3_4B = (4_022_468_096, 36, 2560, 32, 8, 128, 9728, 151_936, 40_960)
_QWEN3_30B = (30_532_122_624, 48, 2048, 32, 4, 128, 6144, 151_936, 40_960)
_PHI4 = (14_659_507_200, 40, 5120, 40, 10, 128, 17_920, 100_352, 32_768)
_LONG = 131_072  # tokens of context
_2507 = 262_144

_TABLE: dict[str, tuple[int, ...]] = {
    "Qwen/Qwen2.5-1.5B-Instruct": _QWEN25_1B,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN25_7B,
    "Qwen/Qwen2.5-14B-Instruct": _QWEN25_14B,
    "Qwen/Qwen2.5-32B-Instruct": _QWEN25_32B,
    "simplescaling/s1-32B": _QWEN25_32B,
    "simplescaling/s1.1-1.5B": _QWEN25_1B,
    "simplescaling/s1.1-3B": _QWEN25_3B,
    "simplescaling/s1.1-7B": _QWEN25_7B,
    "simplescaling/s1.1-14B": _QWEN25_14B,
    "simplescaling/s1.1-32B": _QWEN25_32B,
    "simplescaling/token-conditional-control": _QWEN25_32B,
    "simplescaling/step-conditional-control": _QWEN25_32B,
    "Qwen/QwQ-32B": (*_QWEN25_32B[:-1], 40_960),
    "Qwen/Qwen3-0.6B": (596_049_920, 28, 1024, 16, 8, 128, 3072, 151_936, 40_960),
    "Qwen/Qwen3-1.7B": (1_720_574_976, 28, 2048, 16, 8, 128, 6144, 151_936, 40_960),
    "Qwen/Qwen3-4B": _QWEN3_4B,
    "Qwen/Qwen3-8B": (8_190_735_360, 36, 4096, 32, 8, 128, 12_288, 151_936, 40_960),
    "Qwen/Qwen3-14B": (14_768_307_200, 40, 5120, 40, 8, 128, 17_408, 151_936, 40_960),
    "Qwen/Qwen3-32B": (32_762_123_264, 64, 5120, 64, 8, 128, 25_600, 151_936, 40_960),
    "Qwen/Qwen3-30B-A3B": _QWEN3_30B,
    "Qwen/Qwen3-4B-Thinking-2507": (*_QWEN3_4B[:-1], _2507),
    "Qwen/Qwen3-30B-A3B-Thinking-2507": (*_QWEN3_30B[:-1], _2507),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": (1_777_088_000, *_QWEN25_1B[1:-1], _LONG),  # its output has a table of its own
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": (*_QWEN25_7B[:-1], _LONG),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": (*_QWEN25_14B[:-1], _LONG),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": (*_QWEN25_32B[:-1], _LONG),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": (8_030_261_248, 32, 4096, 32, 8, 128, 14_336, 128_256, _LONG),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": (70_553_706_496, 80, 8192, 64, 8, 128, 28_672, 128_256, _LONG),
    "openai/gpt-oss-20b": (20_914_757_184, 24, 2880, 64, 8, 64, 2880, 201_088, _LONG),
    "openai/gpt-oss-120b": (116_829_156_672, 36, 2880, 64, 8, 64, 2880, 201_088, _LONG),
    "ByteDance-Seed/Seed-OSS-36B-Instruct": (36_151_104_512, 64, 5120, 80, 8, 128, 27_648, 155_136, 524_288),
    "microsoft/Phi-4-reasoning": _PHI4,
    "microsoft/Phi-4-reasoning-plus": _PHI4,
    "mistralai/Magistral-Small-2509": (23_572_403_200, 40, 5120, 32, 8, 128, 32_768, 131_072, _LONG),
    "nvidia/NVIDIA-Nemotron-Nano-9B-v2": (8_888_227_328, 56, 4480, 40, 8, 128, 15_680, 131_072, _LONG),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (31_577_940_288, 52, 2688, 32, 2, 128, 1856, 131_072, 262_144),
    "zai-org/GLM-4.6": (352_797_829_024, 92, 5120, 96, 8, 128, 12_288, 151_552, 202_752),
    "HuggingFaceTB/SmolLM3-3B": (3_075_098_624, 36, 2048, 16, 4, 128, 11_008, 128_256, 65_536),
    "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data": (8_030_261_248, 32, 4096, 32, 8, 128, 14_336, 128_256, _LONG),
    "peiyi9979/math-shepherd-mistral-7b-prm": (7_241_732_096, 32, 4096, 32, 8, 128, 14_336, 32_000, 32_768),
    # latent attention keeps 512 + 64 numbers of a token for all heads together
    "moonshotai/Kimi-K2-Thinking": (1_026_408_232_448, 61, 7168, 64, 1, 288, 18_432, 163_840, 262_144),
}
_BESIDE: dict[
    str, dict[str, Any]
] = {  # quantization: of the published weights. kv_layers: those of attention, where not all are
    "openai/gpt-oss-20b": {"quantization": "mxfp4"},
    "openai/gpt-oss-120b": {"quantization": "mxfp4"},
    "moonshotai/Kimi-K2-Thinking": {"quantization": "int4"},
    "nvidia/NVIDIA-Nemotron-Nano-9B-v2": {"kv_layers": 4},
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": {"kv_layers": 6},
}
KNOWN: dict[str, dict[str, Any]] = {
    path: dict(zip(_SIZES, sizes, strict=True)) | {"quantization": None} | _BESIDE.get(path, {})
    for path, sizes in _TABLE.items()
}
