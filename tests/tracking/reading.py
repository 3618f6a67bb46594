"""W&B's offline files, read back."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(file: Path) -> Iterator[Any]:
    """The records of a W&B file: after 7 bytes, blocks of 32 KiB of pieces (1 whole, 2 first, 3 middle, 4 last)."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, piece = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield Record.FromString(piece)
            piece = b""


def read_run(file: Path) -> dict[str, Any]:
    """`{id, name, group, type, tags, config, summary, logged, artifacts: {name: files}, used: [names], digests}`; digests are
    those of both kinds of artifacts."""
    run: dict[str, Any] = {"summary": {}, "logged": [], "artifacts": {}, "used": [], "digests": {}, "config": {}}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"group": record.run.run_group, "type": record.run.job_type, "name": record.run.display_name}
            run |= {"id": record.run.run_id, "tags": list(record.run.tags)}
            run["config"] |= values(record.run.config.update)
        elif kind == "config":
            run["config"] |= values(record.config.update)
        elif kind == "summary":
            run["summary"] |= values(record.summary.update)
        elif kind == "history":
            run["logged"].append(values(record.history.item))
        elif kind == "artifact" and record.artifact.type != "run_table":
            made = record.artifact
            run["digests"][made.name] = made.digest
            if made.use_after_commit:
                run["used"].append(made.name)
            else:
                run["artifacts"][made.name] = [entry.path for entry in made.manifest.contents]
    return run


def values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def runs_of(sweep: Path) -> list[dict[str, Any]]:
    return [read_run(file) for file in sorted((sweep / "wandb").glob("*run-*/*.wandb"))]


def table(sweep: Path, run: str, key: str) -> list[dict[str, Any]]:
    """The rows of a table that a run logged."""
    (file,) = sweep.glob(f"wandb/*run-*-{run}/files/media/table/{key}_*.json")
    found = json.loads(file.read_text(encoding="utf-8"))
    return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
