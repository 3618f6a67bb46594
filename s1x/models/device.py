"""What a model runs on: the device, the dtype of its weights, CPU threads. Known without importing torch."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from functools import cache
from pathlib import Path

_SMALL = 20_000_000  # parameters; below, handing work to other threads costs more than it saves (19 against 25 ms a step)


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


@cache
def device_memory() -> float:
    """Bytes of one device: of the smallest visible GPU, or of this machine for a process without one."""
    if not cuda_devices():
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    driver, sizes = ctypes.CDLL("libcuda.so.1"), []
    for number in range(cuda_devices()):
        device, size = ctypes.c_int(0), ctypes.c_size_t(0)
        if (
            driver.cuDeviceGet(ctypes.byref(device), number) == 0
            and driver.cuDeviceTotalMem_v2(ctypes.byref(size), device) == 0
        ):
            sizes.append(size.value)
    return float(min(sizes, default=0))


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


def free_memory(device: str) -> float:
    """Bytes that keys and values may take: most of what is free on the CUDA device, or half of the main memory."""
    if device == "cuda":
        import torch

        return 0.85 * torch.cuda.mem_get_info()[0]
    return 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
