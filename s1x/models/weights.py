"""Whether a model's weights are all there, by names, sizes and headers alone: a damaged file would be noticed minutes later.

Formats: safetensors (8 bytes of length, a JSON header, data up to its last offset), PyTorch's zip files, and index files that
name the parts of either. A copy from Git without LFS has a pointer of some 130 bytes in a weight's place.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import files

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_HEADER_BYTES = 100_000_000  # the longest that safetensors reads
_POINTER = b"version https://git-lfs"
_AGAIN = "copy or download it again"


def check_weights(model: str, revision: str | None = None) -> None:
    """Raises ValueError with one sentence where a weight file that loading needs is missing, cut short or none.

    Of a hub model only what is in the local cache is looked at: loading fetches the rest.
    """
    where = files.locate(model, revision)
    try:
        for file in needed(where.folder, complete=where.hub is None):
            check_file(file)
    except ValueError as error:
        raise ValueError(f"model.path={model}: {error}") from None


def needed(folder: Path, complete: bool = True) -> list[Path]:
    """The weight files that loading reads. Raises ValueError where `complete` and a part is missing."""
    if (whole := folder / "model.safetensors").is_file():
        return [whole]
    if (found := files.checkpoint(folder)) and not (folder / INDEXES[0]).is_file():
        return found
    for name in INDEXES:
        if (folder / name).is_file() and not (folder / name.removesuffix(".index.json")).is_file():
            parts = _parts(folder / name)
            missing = [part.name for part in parts if not part.is_file()]
            if missing and complete:
                names = missing[0] if len(missing) == 1 else f"{missing[0]} and {len(missing) - 1} more"
                raise ValueError(f"{name} names {names}, which cannot be found; {_AGAIN}")
            return [part for part in parts if part.name not in missing]
    return files.weights(folder)


def _parts(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [index.parent / name for name in sorted(names)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{index.name} is damaged; {_AGAIN}") from None


def check_file(file: Path) -> None:
    """Raises ValueError, which names the file, where it is cut short, a Git LFS pointer, or something else."""
    with file.open("rb") as opened:
        start = opened.read(len(_POINTER))
    if start == _POINTER:
        raise ValueError(f"{file.name} is a Git LFS pointer in place of the weights; run git lfs pull there, or {_AGAIN}")
    if file.suffix == ".safetensors":
        header(file)
    elif start[:2] == b"PK" and not zipfile.is_zipfile(file):  # the directory of a zip file is its end
        raise ValueError(f"{file.name} is cut short; {_AGAIN}")
    elif start[:2] not in (b"PK", b"\x80\x02"):  # PyTorch before 1.6 wrote bare pickles, whose length nothing tells
        raise ValueError(f"{file.name} is no file of weights; {_AGAIN}")


def header(file: Path) -> dict[str, Mapping[str, Any]]:
    """Tensor -> {dtype, shape, data_offsets} of a safetensors file. Raises ValueError, which names it, where it is damaged."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        whole = 8 <= 8 + length <= size and length <= _HEADER_BYTES
        found = _parse(opened.read(length)) if whole else None
    if found is None:
        cut = size < 8 or not whole and length <= _HEADER_BYTES
        raise ValueError(f"{file.name} is {'cut short' if cut else 'no safetensors file'} ({size:,} bytes); {_AGAIN}")
    end = 8 + length + max((tensor["data_offsets"][1] for tensor in found.values()), default=0)
    if size != end:
        what = "cut short" if size < end else "damaged"
        raise ValueError(f"{file.name} is {what}: it has {size:,} bytes, and its header speaks of {end:,}; {_AGAIN}")
    return found


def _parse(data: bytes) -> dict[str, Mapping[str, Any]] | None:
    try:
        tensors = {name: tensor for name, tensor in json.loads(data).items() if name != "__metadata__"}
        if all(isinstance(t["data_offsets"][1], int) and isinstance(t["shape"], list) for t in tensors.values()):
            return tensors
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        pass
    return None
