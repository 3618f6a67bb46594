"""Real trainings for tests: the command of one, where its model is, what it logged, and ending processes in the middle."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..conftest import NO_LOCAL

ROOT = Path(__file__).parents[2]
TWENTY = ("data.select.n=160", "train.epochs=2", "train.save_every=3", "train.max_length=256")  # 20 steps, short ones
TWO = ("distributed=zero3", "distributed.processes=2")
LORA = "train.lora={r: 4, alpha: 8, dropout: 0.0}"


def command(place: Path, *overrides: str) -> list[str]:
    """A training of 4 steps on 64 records, with a checkpoint after each; everything it writes is under `place`."""
    return [
        sys.executable, str(ROOT / "run.py"), "+experiment=tiny_sft", "data=tiny_random_1k", "data.select.n=64",
        "train.epochs=1", "train.save_every=1", "tracking=none", f"store.dir={place / 'store'}",
        f"train.dir={place / 'models'}", f"hydra.run.dir={place / 'out'}", f"hydra.sweep.dir={place / 'sweep'}",
        *NO_LOCAL, *overrides,
    ]  # fmt: skip


def run(place: Path, *overrides: str, status: int = 0) -> str:
    """Run the command to its end; what it printed."""
    done = subprocess.run(command(place, *overrides), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == status, done.stdout
    return done.stdout


def start(place: Path, *overrides: str) -> subprocess.Popen:
    """Start the command in a process group of its own, as a shell does; its output goes to `place`/output."""
    place.mkdir(parents=True, exist_ok=True)
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # shells let what they start with & ignore Ctrl-C
    with (place / "output").open("w") as output:
        process = subprocess.Popen(
            command(place, *overrides),
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=heed,
        )
    atexit.register(process.kill)  # what a failed test leaves; its ranks follow
    return process


def wait_for(there: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 300) -> None:
    """Until `there()` is true; fails when the process ends before."""
    end = time.monotonic() + seconds
    while not there():
        assert process is None or process.poll() is None, "it ended before"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def checkpoint(place: Path, step: int) -> Callable[[], list[Path]]:
    return lambda: list(place.glob(f"models/*/checkpoints/checkpoint-{step}/COMPLETE"))


def model(place: Path) -> Path:
    """The folder of the one finished model."""
    (folder,) = [f.parent for f in (place / "models").glob("*/DONE")]
    return folder


def facts(place: Path) -> dict:
    return json.loads((model(place) / "training.json").read_text())


def losses(place: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (model(place) / "log.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict:
    from safetensors.torch import load_file

    return {k: v for file in sorted(folder.glob("*.safetensors")) for k, v in load_file(file).items()}


def furthest(a: dict, b: dict) -> float:
    """The largest difference of any weight of two models."""
    assert a.keys() == b.keys()
    return max((a[k] - b[k]).abs().max().item() for k in a)


def children(pid: int) -> list[int]:
    """All processes below `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
