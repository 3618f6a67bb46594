"""W&B: offline files with one run per cell and one for the sweep; nothing leaves the machine; errors stay warnings."""

import json
import logging
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from s1x import tracking
from s1x.cell import Cell

ROOT = Path(__file__).parents[1]
RECORD = {
    "cell_id": "bf-32",
    "series": "forcing",
    "model": "tiny-s1",
    "task": "tiny_math",
    "method": "budget_forcing",
    "seed": 0,
    "temperature": 0.0,
    "budget": 32,
    "accuracy": 0.25,
    "thinking_tokens": {"mean": 31.5, "p95": 32.0},
}
SUMMARY = {
    "cells": [RECORD, RECORD | {"cell_id": "bf-auto", "budget": None, "accuracy": 0.5}],
    "metrics": [{"model": "tiny-s1", "task": "tiny_math", "series": "forcing", "scaling": {"value": 12.5}}],
    "cost": {"sharing_ratio": 5.0, "run": {"wall_s": 3.0}},
}
SCRIPT = """
import sys
from pathlib import Path
def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        print("looked up", arguments, file=sys.stderr)
sys.addaudithook(refuse)
from tests.test_tracking import RECORD, SUMMARY
from tests.conftest import CONF, NO_LOCAL
from hydra import compose, initialize_config_dir
from s1x import tracking
from s1x.cell import Cell
with initialize_config_dir(str(CONF), **BASE):
    cfg = compose("config", [*NO_LOCAL, "name=mine", "seed=3"])
sweep = Path(sys.argv[1])
for job in range(2):
    tracking.log_cell(Cell(cfg, sweep / str(job), sweep, job, [f"job={job}"]), RECORD | {"cell_id": f"cell-{job}"})
tracking.finish_sweep(cfg, SUMMARY, sweep)
"""


def records(file: Path):
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


def read_run(file: Path) -> dict:
    run = {"summary": {}, "logged": []}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"group": record.run.run_group, "type": record.run.job_type, "name": record.run.display_name}
            run["config"] = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "summary":
            run["summary"] |= values(record.summary.update)
        elif kind == "history":
            run["logged"].append(values(record.history.item))
    return run


def values(items) -> dict:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_offline_files_hold_one_run_per_cell_and_one_for_the_sweep(tmp_path):
    sweep = tmp_path / "2026-01-01_00-00-00"
    sweep.mkdir()
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}  # a home without a login
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(sweep)], env=home, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")  # quiet, and no host was looked up

    runs = [read_run(file) for file in (sweep / "wandb").glob("offline-run-*/*.wandb")]
    assert {run["group"] for run in runs} == {"mine-2026-01-01_00-00-00"}
    cells = sorted((run for run in runs if run["type"] == "eval"), key=lambda run: run["name"])
    assert [run["name"] for run in cells] == ["cell-0", "cell-1"]
    for job, run in enumerate(cells):
        assert run["config"]["seed"] == 3 and run["config"]["overrides"] == [f"job={job}"]
        assert run["summary"]["accuracy"] == 0.25 and run["summary"]["thinking_tokens.mean"] == 31.5
    (whole,) = [run for run in runs if run["type"] == "aggregate"]
    assert len(runs) == 3
    assert whole["summary"]["cost.sharing_ratio"] == 5.0
    assert whole["summary"]["tiny-s1/tiny_math/forcing.scaling.value"] == 12.5
    assert [row["accuracy"] for row in whole["logged"] if "accuracy" in row] == [0.25, 0.5]
    (table,) = sweep.glob("wandb/offline-run-*/files/media/table/points*.json")
    assert len(json.loads(table.read_text())["data"]) == 2


def test_none_writes_nothing_and_imports_nothing(composed, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "_thread", lambda: pytest.fail("tracking=none must not start anything"))
    cfg = composed("tracking=none")
    tracking.start_sweep(cfg, tmp_path)
    tracking.log_cell(Cell(cfg, tmp_path, tmp_path), RECORD)
    tracking.finish_sweep(cfg, SUMMARY, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_errors_become_warnings(composed, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tracking, "_init", lambda *_, **__: 1 / 0)
    with caplog.at_level(logging.WARNING):
        tracking.log_cell(Cell(composed("tracking=wandb_offline"), tmp_path, tmp_path), RECORD)
        tracking.finish_sweep(composed("tracking=wandb_offline"), SUMMARY, tmp_path)
    assert caplog.text.count("W&B: ZeroDivisionError") == 2 and "tracking=none turns W&B off" in caplog.text
