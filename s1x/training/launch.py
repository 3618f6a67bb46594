"""Start the ranks of a training as children of this process, show what they report, and end them all when something ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import TrainingFailed
from ..files import python_path
from ..models.device import cuda_devices
from .ranks import Ranks
from .sft import Observe

POLL_SECONDS, GRACE_SECONDS = 0.2, 45.0  # grace: ranks write a checkpoint when told to stop; torchrun gives them 30 s


def run(job: dict[str, Any], ranks: Ranks, observe: Observe = lambda row: None) -> dict[str, Any] | None:
    """Run `job` on the ranks of this node; what happened, on the first node, and None on the others."""
    scratch = Path(job["folder"]) / f"ranks-{ranks.node_rank}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    file = scratch / "job.json"
    file.write_text(json.dumps(job | {"pid": os.getpid(), "host": os.uname().nodename}, indent=1), encoding="utf-8")
    log = scratch / "ranks.log"
    with log.open("w", encoding="utf-8") as output:
        agent = subprocess.Popen(
            ranks.command(file), stdout=output, stderr=subprocess.STDOUT, env=environment(ranks), start_new_session=True
        )
        try:
            _follow(agent, scratch / "progress.jsonl", observe)
        finally:
            _end(agent)
    if agent.returncode != 0:
        raise TrainingFailed(_reason(scratch, agent.returncode, log))
    facts = scratch / "facts.json"
    return json.loads(facts.read_text(encoding="utf-8")) if facts.is_file() else None


def environment(ranks: Ranks) -> dict[str, str]:
    """What torch, accelerate and DeepSpeed read from the environment of a rank."""
    own = {"PYTHONPATH": python_path()}
    if ranks.deepspeed:
        own["ACCELERATE_USE_DEEPSPEED"] = "true"
    if not cuda_devices():
        own |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": str(max(len(os.sched_getaffinity(0)) // ranks.processes, 1))}
    return os.environ | own


def _follow(agent: subprocess.Popen, progress: Path, observe: Observe) -> None:
    """Pass on every line of `progress` until the agent ends."""
    at = 0
    while True:
        ended = agent.poll() is not None
        if progress.is_file():
            with progress.open(encoding="utf-8") as lines:
                lines.seek(at)
                while (line := lines.readline()).endswith("\n"):
                    at = lines.tell()
                    observe(json.loads(line))
        if ended:
            return
        time.sleep(POLL_SECONDS)


def _end(agent: subprocess.Popen) -> None:
    """Ask the agent to end its ranks, then insist."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if agent.poll() is None:
            os.killpg(agent.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                agent.wait(GRACE_SECONDS)


def _reason(scratch: Path, status: int, log: Path) -> str:
    """One sentence from the error of the rank that failed first."""
    errors = sorted((json.loads(f.read_text(encoding="utf-8")) for f in scratch.glob("error-*.json")), key=lambda e: e["time"])
    if not errors:
        said = log.read_text(encoding="utf-8", errors="replace")
        killed = "; a rank may have been killed for lack of memory" if "SIGKILL" in said else ""
        return f"The training's ranks ended with status {status}{killed}; their log is {log}"
    first = errors[0]
    return f"The training failed on rank {first['rank']} ({first['host']}): {first['error']}; the log of all ranks is {log}"
