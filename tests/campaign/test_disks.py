"""Full disks: a sentence, and once there is room the same command goes on to the same results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import NO_LOCAL

pytestmark = pytest.mark.campaign
ROOT = Path(__file__).parents[2]


@pytest.fixture
def disk(tmp_path):
    """A disk of its own: `disk(kib)` gives it that size."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no permission to mount a tmpfs")

    def resize(kib: int) -> Path:
        subprocess.run(["mount", "-o", f"remount,size={kib}k", str(place)], check=True)
        return place

    yield resize
    subprocess.run(["umount", "-l", str(place)], check=True)


def run(store: Path, out: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            sys.executable, "run.py", "+experiment=wait_sweep", "engine=scripted", "task.limit=40", "tracking=none",
            f"store.dir={store}", f"hydra.sweep.dir={out}", *NO_LOCAL,
        ],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("kib", [16, 100, 500, 1100])
def test_results(tmp_path, disk, kib):
    out = disk(kib) / "out"
    full = run(tmp_path / "store", out)
    assert full.returncode == 1 and "Traceback" not in full.stdout
    assert "No space left on device; free some, and the same command goes on" in full.stdout.splitlines()[-1]
    disk(1 << 17)
    again = run(tmp_path / "store", out)
    assert again.returncode == 0, again.stdout
    whole = run(tmp_path / "store", tmp_path / "whole")
    assert whole.returncode == 0
    for file in (tmp_path / "whole").glob("*/samples_*.jsonl"):
        assert (out / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("kib", [8, 40, 100])
def test_the_store(tmp_path, disk, kib):
    store = disk(kib) / "store"
    full = run(store, tmp_path / "out")
    assert full.returncode == 1 and "Traceback" not in full.stdout
    assert full.stdout.splitlines()[-1].startswith("store.dir=") and "No space left on device" in full.stdout.splitlines()[-1]
    disk(1 << 17)
    assert run(store, tmp_path / "out").returncode == 0
