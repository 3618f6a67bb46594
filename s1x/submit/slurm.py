"""What Slurm says of jobs, from squeue and scontrol. sacct is not asked: many clusters have no accounting."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress

SECONDS = 20.0  # that a controller may take to answer


def states(jobs: Iterable[str]) -> dict[str, tuple[str, str]]:
    """State and reason of jobs and array tasks (`7`, `7_1`) that Slurm knows: those in the queue, and those that ended a few
    minutes ago. Empty where there is no Slurm, or no answer."""
    wanted = list(jobs)
    if not wanted:
        return {}
    found = {}
    for line in _ask("squeue", "-h", "-r", "-o", "%i|%T|%r", "-j", ",".join(wanted)).splitlines():
        job, _, rest = line.partition("|")
        state, _, reason = rest.partition("|")
        found[job] = state, reason
    for number in {job.split("_")[0] for job in wanted if job not in found}:
        for line in _ask("scontrol", "-o", "show", "job", number).splitlines():
            said = dict(re.findall(r"(\w+)=(\S*)", line))
            job = f"{said['ArrayJobId']}_{said['ArrayTaskId']}" if "ArrayTaskId" in said else said.get("JobId", "")
            found.setdefault(job, (said.get("JobState", ""), said.get("Reason", "")))
    return {job: found[job] for job in wanted if job in found}


def cancel(jobs: Iterable[str]) -> None:
    if numbers := sorted({job.split("_")[0] for job in jobs}):
        _ask("scancel", *numbers)


def _ask(*words: str) -> str:
    """What a command of Slurm prints; nothing when it cannot be asked."""
    with suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS).stdout
    return ""
