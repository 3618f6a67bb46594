"""A finished sweep gets one budget more: only the difference is generated, whoever runs it and how."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import NO_LOCAL
from .test_resume import ROOT

pytestmark = pytest.mark.long
SWEEP = ["-m", "engine=scripted", "task.limit=20", "tracking=none", "model=tiny_s1"]


def swept(place: Path, store: str, budgets: str, name: str, *more: str) -> int:
    """Tokens that a sweep over `budgets` has generated."""
    settings = [f"method.max_thinking_tokens={budgets}", f"store.dir={place / store}", f"hydra.sweep.dir={place / name}"]
    subprocess.run(
        [sys.executable, "run.py", *SWEEP, *settings, *more, *NO_LOCAL], cwd=ROOT, check=True, capture_output=True, timeout=300
    )
    return json.loads((place / name / "run.json").read_text())["decode_tokens"]


def test_one_budget_more_costs_the_difference_with_any_launcher(tmp_path):
    whole = swept(tmp_path, "whole", "32,64,256", "all")
    first = swept(tmp_path, "store", "32,64", "first")
    assert 0 < first < whole
    assert swept(tmp_path, "store", "32,64,256", "more", "hydra/launcher=basic") == whole - first
    assert swept(tmp_path, "store", "32,64,256", "again") == 0
    samples = {path.parent.name: path.read_text() for path in (tmp_path / "all").glob("*/samples_*")}
    assert len(samples) == 3
    for name in ("more", "again"):
        assert {path.parent.name: path.read_text() for path in (tmp_path / name).glob("*/samples_*")} == samples
