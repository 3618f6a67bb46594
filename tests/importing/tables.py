"""Tables to import, and the cells that came of it."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from s1x.importing.cells import write
from s1x.importing.reading import read
from s1x.importing.settings import Import

OF = {"model": "m", "task": "t"}


def rows(questions: int = 6, samples: int = 1, shift: int = 0) -> list[dict[str, Any]]:
    """Answers of a made-up model: right on all but every third question; `shift` moves which."""
    return [
        {"question": q, "sample": s, "correct": (q + s + shift) % 3 > 0, "thinking_tokens": 10 * q + s, **OF}
        for q in range(questions)
        for s in range(samples)
    ]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """CSV, TSV, JSON or parquet, by its name."""
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def settings(**typed: Any) -> dict[str, Any]:
    """`import.*` as typed: settings(format="table", files="a.csv", columns={"question": "id"})."""
    return OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(Import), typed))


def imported(directory: Path, *, vote: Any = None, **typed: Any) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The cells of an import without its report."""
    write(read(settings(**typed)), directory, settings(**typed), vote=vote)
    return cells(directory)


def cells(directory: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """(record, sample lines) of each cell below a directory."""
    found = []
    for path in sorted(directory.rglob("cell.json")):
        (samples,) = path.parent.glob("samples_*.jsonl")
        lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
        found.append((json.loads(path.read_text(encoding="utf-8")), lines))
    return found
