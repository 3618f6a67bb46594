"""The status stage: how far a directory is, whoever works in it, and when it will end.

    python run.py stage=status report.of=DIR

It reads files alone (progress.json of each process, submit/submit.json), and asks Slurm about the jobs that were submitted.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ..cell import SUBMITTED
from ..errors import SettingError
from ..evaluation.pace import PROGRESS
from ..files import read_json
from ..processes import alive
from ..report.load import job_directories
from ..submit import slurm
from ..submit.command import STATE, at_it
from ..submit.submission import RECORD

SILENT_SECONDS = 60.0  # after which a process that says nothing is said to be silent; it speaks every 5 s
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING")


@dataclass
class Line:
    """What is known of one task: its state, what else there is to say, and its progress.json."""

    name: str
    state: str  # done, running, waiting, stopped, failed, silent
    words: str
    progress: dict[str, Any]


def run(cfg: DictConfig) -> None:
    """Print it. Raises SettingError when `report.of` is no directory."""
    named = cfg.report.of
    if not isinstance(named, str):
        raise SettingError(f"report.of={named}: stage=status needs the directory of a run or sweep: report.of=DIR")
    directory = Path(named).expanduser()
    if not directory.is_dir():
        raise SettingError(f"report.of={named}: there is no such directory")
    now = time.time()
    record = read_json(directory / SUBMITTED / RECORD)
    written, cells = counted(directory, record)
    whole = written >= cells > 0
    found = submitted(directory, record, now) if record else [here(directory, whole, now)]
    if record:
        print(record["command"])
    width = max(len(line.name) for line in found)
    for line in found:
        print(f"{line.name:{width}}  {line.state:8} {line.words}".rstrip())
    print(f"Cells written: {written:,} of {cells:,}.")
    again = any(line.state in ("waiting", "running") for line in found)  # what is written is of the run before
    print(summed(found, whole and not again, now))


def counted(directory: Path, record: dict[str, Any] | None) -> tuple[int, int]:
    """Cells that are written, and all."""
    jobs = [job for job in job_directories(directory) if (job / ".hydra").is_dir() or (job / "cell.json").is_file()]
    return sum((job / "cell.json").is_file() for job in jobs), record["cells"] if record else len(jobs)


def here(directory: Path, whole: bool, now: float) -> Line:
    """A command that was not submitted: it says itself how far it is. A cell of a sweep leaves that to the sweep."""
    progress = read_json(directory / PROGRESS) or {}
    state = "done" if whole and not progress else own_state(progress, now)
    return Line("here", state, words(progress, now), progress)


def submitted(directory: Path, record: dict[str, Any], now: float) -> list[Line]:
    """Each task, from its own files and from Slurm."""
    asked = slurm.states(record["tasks"].values()) if record["submit"] == "slurm" else {}
    here = os.uname().nodename
    local = record["submit"] == "local" and record.get("host", here) == here  # its processes can be asked
    found = []
    for name, job in record["tasks"].items():
        place = directory / SUBMITTED / name
        task = read_json(place / STATE) or {}
        progress = read_json((directory if name == "report" else place) / PROGRESS) or {}
        if not task or progress.get("began", 0) < task.get("began", 0):
            progress = {}  # of the run before it
        queued, reason = asked.get(job, ("", ""))
        there = (at_it(task) if task else alive(int(job), record.get("births", {}).get(name))) if local else None
        state = task_state(task, progress, queued, there, now)
        more = [f"job {job}"]
        if restarts := task.get("restarts"):
            more.append(f"started {restarts + 1} times")
        if state == "waiting" and (why := reason if queued else task_waits(task)):
            more.append(why)
        if state == "failed" and (why := task_failed(task, queued)):
            more.append(why)
        if state in ("failed", "silent", "stopped") and queued not in ("", "RUNNING", *WAITING):
            more.append(queued)
        said = words(progress if state in ("running", "silent") else progress and progress | {"state": state}, now)
        found.append(Line(name, state, ", ".join([said] * bool(said) + more), progress))
    return found


def task_waits(task: dict[str, Any]) -> str:
    return f"for {', '.join(Path(place).name for place in task['waits'])}" if task.get("waits") else ""


def task_failed(task: dict[str, Any], queued: str) -> str:
    if task.get("state") == "left out":
        return "another task that it needs has failed"
    if "status" in task:
        return f"status {task['status']}"
    return "" if queued else "its process is gone"  # killed, or with its machine


def task_state(task: dict[str, Any], progress: dict[str, Any], queued: str, there: bool | None, now: float) -> str:
    """`queued` is what Slurm says, "" where it says nothing; `there` whether its process is, where this machine knows."""
    said = task.get("state")
    if said == "done":
        return "done"
    if said in ("failed", "left out"):
        return "failed"
    if there is False and said in (None, "waiting", "running"):
        return "failed"
    if queued in WAITING or said == "waiting" or not task and there is not None:
        return "waiting"
    if queued == "RUNNING":
        return "running"
    if queued:  # Slurm says that it has ended, and it has not said so itself
        return "failed"
    if said == "running" and there is not None:
        return "running"
    if said == "running":  # nobody can be asked
        return own_state(progress, now) if progress else "silent"
    return said or "missing"


def own_state(progress: dict[str, Any], now: float) -> str:
    if not progress:
        return "missing"
    return "silent" if progress["state"] == "running" and now - progress["said"] > SILENT_SECONDS else progress["state"]


def words(progress: dict[str, Any], now: float) -> str:
    if not progress:
        return ""
    parts = [f"{progress['traces']:,} of {progress['total']:,} traces, {progress['tokens']:,} tokens decoded"]
    if progress["state"] == "running":
        parts.append(f"{progress['tokens_per_second']:,.0f} tokens/s")
        if now - progress["said"] > SILENT_SECONDS:
            parts.append(f"last seen {when(progress['said'])} on {progress['host']}")
        elif progress["seconds_left"] is not None:
            parts.append(f"until {when(progress['said'] + progress['seconds_left'])}")
    return ", ".join(parts)


def when(moment: float) -> str:
    local, today = time.localtime(moment), time.localtime()
    return time.strftime("%H:%M" if local[:3] == today[:3] else "%Y-%m-%d %H:%M", local)


def summed(found: list[Line], whole: bool, now: float) -> str:
    """All of it in a sentence: what is done, at what pace, when the rest will be, and what nobody is at work on."""
    if whole:
        return "Done."
    shares = [line for line in found if line.name.startswith("shard-")] or found[-1:]
    known = [line.progress for line in shares if line.progress]
    if not known:
        return "Nothing is decoded yet."
    traces = sum(progress["traces"] for progress in known)
    total = round(
        sum(progress["total"] for progress in known) * len(shares) / len(known)
    )  # the others are taken to be like them
    parts = [
        f"Decoded: {traces:,} of {total:,} traces"
        if len(known) == len(shares)
        else f"Decoded: {traces:,} of about {total:,} traces"
    ]
    running = [line.progress for line in shares if line.state == "running" and line.progress]
    if running:
        parts.append(f"{sum(progress['tokens_per_second'] for progress in running):,.0f} tokens/s")
    ends = [
        (progress["total"] - progress["traces"], progress["seconds_left"]) for progress in running if progress["seconds_left"]
    ]
    if ends:  # whoever is ready takes over what waits
        seconds = max(*(left for _, left in ends), (total - traces) / sum(traces / left for traces, left in ends))
        parts.append(f"the rest by about {when(now + seconds)}")
    elif traces < total:
        parts.append("when it will end is not known yet")
    if lost := [line.name for line in shares if line.state in ("failed", "silent", "missing", "stopped")]:
        report = len(found) > 1 and found[-1].state in ("waiting", "running")
        who = "the report decodes what they left" if report else "the same command goes on"
        parts.append(f"nobody is at work on {', '.join(lost)} ({who})")
    return "; ".join(parts) + "."
