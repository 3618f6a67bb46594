"""Full disks: a sentence, and once there is room the same command goes on to the same results."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .commands import Hang, run
from .study import Study

pytestmark = pytest.mark.campaign
WORDS = "No space left on device"


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[int], Path]]:
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


def test_full_disks(tmp_path, disk, size, count):
    """Of the results, and of the store; of any size up to what is needed."""
    tally, rng, study = count("full disks"), random.Random(6), Study(tmp_path / "study")
    needed = {name: _kib(study.place("whole").home / name) for name in ("out", "store")}
    for number in range(size(4, 20)):
        small = "out" if number % 2 == 0 else "store"
        room = disk(1 << 17)
        subprocess.run(["rm", "-rf", *map(str, room.iterdir())], check=True)
        disk(max(8, int(needed[small] * rng.random() * 0.8)))
        place = study.place(f"full{number}")
        setattr(place, small, room / small)
        place.arguments[-2:] = [f"store.dir={place.store}", f"hydra.sweep.dir={place.out}"]
        faults: dict[str, str | None] = {}
        try:
            full = run(place.arguments, tmp_path / f"full{number}.log")
            faults["traceback"] = full.traceback()
            if full.status != 1 or WORDS not in full.said():
                faults["other"] = f"it ended with {full.status}: {full.said()[-1000:]}"
            disk(1 << 17)
            _, found = study.again(place, tmp_path / f"full{number}.again.log")
            faults |= {kind: text for kind, text in found.items() if text}
        except Hang as hang:
            faults["hang"] = str(hang)
        tally.trial("of results" if small == "out" else "of the store", **faults)
    tally.check(size(4, 20))


def _kib(folder: Path) -> int:
    return sum(-(-path.stat().st_size // 4096) * 4 for path in folder.rglob("*") if path.is_file())
