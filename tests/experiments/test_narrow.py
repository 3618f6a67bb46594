"""Every table of every experiment at 80 columns: no line too long, no word broken, no column lost. Those of plans are checked
where experiments are planned (test_experiments.py)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from s1x.report import listings, tables

from ..report.narrow import WIDTH, check
from ..report.sweep import write_sweep
from ..test_sweeper import ON_GPUS
from .test_experiments import PLANNED

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in PLANNED
        if name not in ("data_ablation", "sample_efficiency", "sequence_length", "equal_tokens", *ON_GPUS)
    ],
)
def test_reports(command, tmp_path, name):
    """On invented tokens; those that train first have their tables in test_ablation.py, equal_tokens in test_experiments.py."""
    few = ("task.limit=4", "scale.max_tries=3", "scale.samples=4")
    own = ("engine=scripted", "tracking=none", "store.dir=null", "hydra.sweep.dir=out", "stage=evaluate")
    assert command(f"+experiment={name}", *few, *own, "report.baseline=")[0] == 0
    check(tables.of_summary(json.loads((tmp_path / "out" / "summary.json").read_text())))


def test_the_figures_of_benchmarks():
    heads = ("way", "commands", "decoded", "prefilled", "cached", "prepare s", "start s", "generate s", "close s", "sum s")
    rows = [[way, "30", "1,234,567", "234,567", "123,456", *["1,234.5"] * 5] for way in ("s1", "alone", "shared")]
    check([listings.plain(heads, rows, "One sweep of 12 cells, 3,840 traces, three ways.")])


@pytest.mark.long
def test_what_is_printed(tmp_path):
    """All of it, sentences included; of what is to be copied (paths, commands) alone lines may be longer."""
    write_sweep(tmp_path / "a", questions=40)
    for line in (
        ["stage=report", "report.of=a"],
        ["stage=list", "report.of=a"],
        ["+experiment=data_ablation", "scale=paper", "plan=true"],
        ["stage=data", "data=tiny_s1k"],
    ):
        done = subprocess.run([sys.executable, str(ROOT / "run.py"), *line], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told = [
            text for text in done.stdout.splitlines() if not re.match("The ranks of|Report:|Figure:|[\\d,]+ records in", text)
        ]
        assert told and max(map(len, told)) <= WIDTH, max(told, key=len)
