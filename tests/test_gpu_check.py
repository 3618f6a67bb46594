"""scripts/gpu_check.sh, on an engine that is known to resume: the check itself must be able to say yes, and no."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REKEYED = """
import dataclasses
import s1x.engines.parts as parts
whole = parts.rest
def rest(request, ids):  # as if a resumed stream got a seed of its own
    left = whole(request, ids)
    return dataclasses.replace(left, sampling=dataclasses.replace(left.sampling, noise=left.sampling.noise + len(ids)))
parts.rest = rest
"""


def check(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    command = ["bash", "scripts/gpu_check.sh", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable} | variables
    )


@pytest.mark.long
def test_equal_streams_are_called_equal():
    done = check("--engine", "transformers", "--streams", "6", "--tokens", "40")
    assert done.returncode == 0 and "VERDICT: EQUAL" in done.stdout, done.stdout + done.stderr
    assert "6 streams of 40 tokens, resumed in" in done.stdout


@pytest.mark.long
def test_streams_with_other_noise_are_called_different(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(REKEYED)
    done = check("--engine", "transformers", "--streams", "6", "--tokens", "40", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 1 and "VERDICT: DIFFERENT" in done.stdout, done.stdout + done.stderr


def test_what_it_cannot_tell_is_said():
    done = check()
    assert done.returncode == 2 and "VERDICT: CANNOT TELL" in done.stdout
    assert check("--help").stdout.startswith("scripts/gpu_check.sh") and check("--models", "x").returncode == 2
    assert check("--model").returncode == 2 and "VERDICT: CANNOT TELL" in check("--model", "nowhere/").stdout
