"""Fixtures for everything that goes through Hydra."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import run
from s1x.callbacks import failures
from s1x.composition import BASE, register

CONF = Path(__file__).parents[1] / "conf"
register()
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11 has it from 3.11.4 on
NO_LOCAL = ["~local"] if (CONF / "local" / "machine.yaml").exists() else []  # tests are the same on every machine


def pytest_addoption(parser):
    parser.addoption(
        "--full-campaign", action="store_true", help="with -m campaign: all of it, which takes long, and its figures are kept"
    )


@pytest.fixture
def composed():
    """Composes a job's configuration: composed("scale=paper", "seed=1")."""
    with initialize_config_dir(str(CONF), **BASE):
        yield lambda *overrides: compose("config", [*NO_LOCAL, *overrides])


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs `python run.py ...` in this process, in an empty directory; returns (exit status, what it printed to stderr).
    `command.out` is what it printed to stdout."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments, *NO_LOCAL])
        monkeypatch.setattr(run, "running", False)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # run.py sets it; here it is undone afterwards
        failures.clear()
        try:
            status = run.main()
        except SystemExit as exit:
            status = exit.code
        printed = capsys.readouterr()
        call.out = printed.out
        return status, printed.err

    return call


@pytest.fixture
def read_only(tmp_path):
    """A disk of its own; called, it can be read only."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("no permission to mount a tmpfs")
    yield place, lambda: subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    subprocess.run(["umount", "-l", str(place)], check=True)
