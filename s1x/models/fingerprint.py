"""The key of everything that decides what a model writes: a hash of its files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import files
from . import files as model_files


def fingerprint(
    engine: str,
    model: str,
    *,
    revision: str | None = None,
    tokenizer: str | None = None,
    dtype: str,
    quantization: str | None = None,
    packages: Sequence[str] = (),
    version: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> str:
    """A readable key of everything that decides what a model writes: `engine-version/dtype/hash`.

    The hash covers the weights (hub id and commit, or sha256 of the weight files and config.json), the tokenizer files, the
    quantization and further `arguments` of the engine; the key says the engine as well, and its version (`version_key`): the
    given one, or that of the first of `packages` that is installed (0: none). Batch sizes and parallelism are not part of it.
    """
    where = model_files.locate(model, revision)
    if where.hub:
        parts = [f"hub {where.hub} {where.commit}"]
    else:
        parts = [f"{f.name} {sha256(f)}" for f in (where.folder / "config.json", *model_files.weights(where.folder))]
    home = model_files.locate_tokenizer(tokenizer, where)
    parts += [f"{name} {sha256(home / name)}" for name in model_files.TOKENIZER_FILES if (home / name).is_file()]
    parts.append(f"quantization {quantization or model_files.quantization(model_files.config(where.folder))}")
    if arguments:
        parts.append(f"arguments {json.dumps(arguments, sort_keys=True, default=str)}")
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return f"{engine}-{version_key(version or _installed(packages))}/{dtype}/{digest}"


def version_key(version: str) -> str:
    """What of a version decides tokens: the major number, and the minor one while that is 0 (a 0.x may change anything)."""
    major, _, rest = version.partition(".")
    return f"{major}.{rest.partition('.')[0]}" if major == "0" and rest else major


def _installed(packages: Sequence[str]) -> str:
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "0"


def sha256(file: Path) -> str:
    """The file's sha256 (hex), remembered by path, size and times in the user's cache folder."""
    file = file.resolve()
    stat = file.stat()
    key = f"{file}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}"  # nobody can set the last one back
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
        known = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write_cache(known: dict[str, str]) -> None:
    """Whole or not at all, as processes stand side by side. Where it cannot be written, every process hashes anew."""
    try:
        files.write_text(_cache_file(), json.dumps(known))
    except OSError:
        return
