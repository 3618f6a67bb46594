"""`engine.arguments` and `engine.lora`: vLLM's own settings (fields of EngineArgs), those that are s1x's, and what is keyed."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..models.fingerprint import sha256
from ..models.weights import check_file

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # of LoRA adapters, that vLLM makes room for
SETTINGS = {  # of vLLM -> the setting of s1x that sets it
    "model": "model.path",
    "revision": "model.revision",
    "tokenizer": "model.tokenizer",
    "kv_cache_memory_bytes": "engine.kv_cache_gib",
    "data_parallel_size": "engine.replicas",
    "lora_modules": "engine.lora",
    "enable_lora": "engine.lora",
    "max_lora_rank": "engine.lora",
} | {
    name: f"engine.{name}"
    for name in (
        "trust_remote_code", "dtype", "max_model_len", "quantization", "max_num_seqs", "tensor_parallel_size",
        "pipeline_parallel_size", "gpu_memory_utilization", "enforce_eager", "block_size", "stream_interval", "seed",
    )
}  # fmt: skip
FIXED = {  # what this engine is made for
    "skip_tokenizer_init": "ids go in and come out",
    "enable_prefix_caching": "answers stand on the thinking that is cached",
    "scheduling_policy": "answers overtake thinking",
    "disable_log_stats": "s1x counts itself",
    "generation_config": "sampling is that of the configuration alone",
    "override_generation_config": "sampling is that of the configuration alone (sampling.*)",
    "hf_token": "a secret does not belong into a configuration; log in to the hub instead",
    "logprobs_mode": "log-probabilities are the model's own, untempered",
}
TOKENLESS = {  # settings that change no token, so that streams are found again without them
    "what is written, logged and measured beside the tokens": (
        "aggregate_engine_logging", "show_hidden_metrics_for_version", "otlp_traces_endpoint", "collect_detailed_traces",
        "per_request_spec_decode_metrics", "kv_cache_metrics", "kv_cache_metrics_sample", "custom_histogram_buckets",
        "cudagraph_metrics", "enable_layerwise_nvtx_tracing", "enable_mfu_metrics", "enable_logging_iteration_details",
        "jit_monitor_mode", "jit_monitor_verbose", "ray_workers_use_nsight", "profiler_config", "logging_config", "log_level",
        "log_config_file", "use_tqdm_on_load", "served_model_name", "kv_events_config", "max_logprobs",
    ),
    "how the same weights come from the disk or the hub": (
        "download_dir", "safetensors_load_strategy", "safetensors_prefetch_num_threads", "safetensors_prefetch_block_size",
        "max_parallel_loading_workers", "pt_load_map_location",
    ),
    "where processes run and how they find one another": (
        "distributed_executor_backend", "master_addr", "master_port", "nnodes", "node_rank", "distributed_timeout_seconds",
        "cpu_distributed_timeout_seconds", "numa_bind", "numa_bind_nodes", "numa_bind_cpus", "device_ids", "shutdown_timeout",
    ),
    "where the same numbers are kept": (
        "cpu_offload_gb", "num_gpu_blocks_override", "kv_offloading_size", "kv_offloading_backend", "enable_sleep_mode",
        "enable_cumem_allocator",
    ),
    "how much is computed together, which no fingerprint holds (as max_num_seqs)": (
        "max_num_batched_tokens", "max_num_scheduled_tokens", "max_num_active_seqs", "max_num_queued_reqs",
        "max_num_queued_tokens", "long_prefill_token_threshold", "enable_chunked_prefill", "prefill_schedule_interval",
        "async_scheduling",
    ),
}  # fmt: skip
_TOKENLESS = frozenset(name for names in TOKENLESS.values() for name in names)


def checked(arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments as they are. Raises ValueError for one that s1x sets, or that the installed vLLM does not have."""
    if not isinstance(arguments or {}, Mapping):
        raise ValueError(
            f"engine.arguments={arguments}: must be settings of vLLM with their values, such as {{kv_cache_dtype: fp8}}."
        )
    arguments, known = dict(arguments or {}), names()
    for name, value in arguments.items():
        if name in SETTINGS:
            raise ValueError(f"engine.arguments.{name}={value}: s1x sets this itself; use {SETTINGS[name]}.")
        if name in FIXED:
            raise ValueError(f"engine.arguments.{name}={value}: s1x sets this itself ({FIXED[name]}); leave it out.")
        if known and name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "its EngineArgs lists them."
            raise ValueError(f"engine.arguments.{name}={value}: the installed vLLM has no such setting; {hint}")
    return arguments


def keyed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those that may change a token, which are all but the ones known not to."""
    return {name: value for name, value in arguments.items() if name not in _TOKENLESS}


def names() -> list[str]:
    """The fields of the installed vLLM's EngineArgs, from its source (importing it takes seconds); [] where that cannot be."""
    spec = find_spec("vllm")
    try:
        source = (Path(spec.origin or "").parent / "engine" / "arg_utils.py").read_text(encoding="utf-8") if spec else ""
        classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "EngineArgs"]
    except (OSError, SyntaxError):
        return []
    return [
        node.target.id
        for c in classes
        for node in c.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


def adapter(lora: str | None) -> dict[str, Any] | None:
    """What a LoRA adapter is known by, and the rank to make room for. Raises ValueError when there is none."""
    if lora is None:
        return None
    folder = Path(lora).expanduser()
    files = [folder / "adapter_config.json", *sorted(folder.glob("adapter_model.*"))]
    if len(files) < 2 or not files[0].is_file():
        raise ValueError(f"engine.lora={lora}: must be a folder with adapter_config.json and adapter_model.safetensors.")
    for file in files[1:]:
        try:
            check_file(file)
        except ValueError as error:
            raise ValueError(f"engine.lora={lora}: {error}") from None
    rank = json.loads(files[0].read_text(encoding="utf-8")).get("r", 8)
    fits = next((r for r in _RANKS if r >= rank), None)
    if fits is None:
        raise ValueError(f"engine.lora={lora}: its rank is {rank}; vLLM takes {_RANKS[-1]} at most.")
    return {"key": [sha256(file) for file in files], "rank": fits}
