"""Hand a command's tasks to a scheduler, and write down what was handed over.

`<directory>/submit/submit.json`: {command, submit, host, cells, time, tasks: {name: job}}, of submit=local also births: {name:
which process the job is}. Beside it each task has a directory, with `task.json` (command.py), and `logs` holds what it printed.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..cell import SUBMITTED
from ..errors import SettingError
from ..files import python_path, read_json, write_text
from ..models.device import cuda_devices
from ..processes import alive, birth
from . import slurm
from .command import POLL_SECONDS, STATE, Command, at_work, is_ours
from .tasks import Task, python, tasks

RECORD = "submit.json"
SEVERAL = {"train": "trainings", "shard": "shards"}
DAY = 24 * 60  # minutes
ENDING_SECONDS = 20.0  # that tasks may take which are called off
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}


def submit(jobs: Sequence[tuple[DictConfig, Sequence[str]]], directory: Path, setting: str) -> None:
    """Submit the command that has these jobs (configuration, overrides), and say so.

    Raises SettingError when the scheduler is not here or will not have it. Whatever is raised, none of its tasks goes on.
    """
    directory, cfg = directory.absolute(), jobs[0][0]
    own = OmegaConf.to_container(cfg.submit, resolve=True)
    wanted = tasks(jobs, directory, setting, sys.argv[1:])
    _check_here(own, wanted)
    for task in wanted:
        (directory / SUBMITTED / task.name / STATE).unlink(missing_ok=True)  # of an earlier submission
    record = {
        "command": shlex.join(["python", *sys.argv]),
        "submit": own["name"],
        "host": os.uname().nodename,
        "cells": sum("evaluate" in str(job.stage) for job, _ in jobs),
        "time": time.time(),
        "tasks": {},
    }
    try:
        os.environ["PYTHONPATH"] = python_path()  # for submit=local
        for group in grouped(wanted):
            executor = _executor(own, group, cfg.name, directory / SUBMITTED / "logs", record["tasks"])
            commands = [_command(task, own, directory) for task in group]
            _hand_over(executor, dict(zip((task.name for task in group), commands, strict=True)), record["tasks"])
            if own["name"] == "local":
                record["births"] = {name: birth(int(job)) for name, job in record["tasks"].items()}
            write_text(directory / SUBMITTED / RECORD, json.dumps(record, indent=1) + "\n")
    except BaseException as error:
        _call_off(own["name"], record["tasks"].values())
        if "submitit" in type(error).__module__:
            raise SettingError(f"submit={own['name']}: {_said(error)}") from error
        raise
    _tell(record, wanted, directory)


def grouped(wanted: Sequence[Task]) -> list[list[Task]]:
    """Trainings, shards, the report: each is handed over as one array."""
    kinds = [[task for task in wanted if task.kind == kind] for kind in ("train", "shard", "report")]
    return [kind for kind in kinds if kind]


def _check_here(own: dict[str, Any], wanted: Sequence[Task]) -> None:
    """All that can be said before the first task is handed over."""
    if find_spec("submitit") is None:
        raise SettingError(f"submit={own['name']}: submitit is not installed; pip install -e '.[slurm]'")
    if own["name"] == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise SettingError("submit=slurm: there is no sbatch here; type the command where jobs are submitted (a login node)")
    if own["name"] == "local":
        for group in grouped(wanted):
            for number, task in enumerate(group):
                _local_gpus(own, task.kind, number)


def check_free(directory: Path, setting: str) -> None:
    """Raises SettingError while tasks of an earlier submission to `directory` wait or run, for everybody but themselves: two
    could not share its directories, and a command that worked there meanwhile would be in the way of the report."""
    before = read_json(directory / SUBMITTED / RECORD)
    before = before if isinstance(before, dict) else {}
    jobs = before.get("tasks", {})
    if any(is_ours(directory / SUBMITTED / name) for name in jobs):
        return
    if before.get("submit") == "slurm":
        said = slurm.states(jobs.values())
        busy = [job for job in jobs.values() if said.get(job, ("COMPLETED",))[0] not in ENDED]
    else:
        host, births = before.get("host", os.uname().nodename), before.get("births", {})
        found = [at_work(directory / SUBMITTED / name, int(job), births.get(name), host) for name, job in jobs.items()]
        busy = [str(process) for process in found if process]
    if busy:
        how = "scancel" if before["submit"] == "slurm" else "kill"
        raise SettingError(f"{setting}={directory}: is under way already; wait until it ends, or {how} {' '.join(busy)} first")


def _command(task: Task, own: dict[str, Any], directory: Path) -> Command:
    place = directory / SUBMITTED
    local = own["name"] == "local"  # Slurm sees to the order itself
    return Command(
        [python(own), str(Path(sys.argv[0]).absolute()), *task.arguments],
        folder=os.getcwd(),
        place=str(place / task.name),
        needs=[str(place / name) for name in task.needs if local],
        after=[str(place / name) for name in task.after if local],
    )


def _executor(own: dict[str, Any], group: Sequence[Task], name: str, logs: Path, jobs: dict[str, str]) -> list[Any]:
    """An executor for each task of a group, or one for all."""
    import submitit

    logs.mkdir(parents=True, exist_ok=True)
    if own["name"] == "local":
        found = []
        for number, task in enumerate(group):
            executor = submitit.LocalExecutor(str(logs / task.name))
            gpus = _local_gpus(own, task.kind, number)
            executor.update_parameters(
                timeout_min=10_000 * DAY, gpus_per_node=len(gpus), visible_gpus=gpus, stderr_to_stdout=True
            )
            found.append(executor)
        return found
    executor = submitit.SlurmExecutor(str(logs / "%j"), max_num_timeout=own["requeues"], python=shlex.quote(python(own)))
    executor.update_parameters(**slurm_parameters(own, group, name, jobs))
    return [executor]


def slurm_parameters(own: dict[str, Any], group: Sequence[Task], name: str, jobs: dict[str, str]) -> dict[str, Any]:
    """What submitit is told of a group of tasks; `jobs` are those that were submitted before, by their tasks' names."""
    train = own["train"] if group[0].kind == "train" else {"nodes": 1, "gpus": None, "hours": None}
    gpus = own["gpus"] if train["gpus"] is None else train["gpus"]
    needs = sorted({jobs[task].split("_")[0] for task in group[0].needs}, key=int)
    after = sorted({jobs[task].split("_")[0] for task in group[0].after}, key=int)
    order = [f"afterok:{':'.join(needs)}"] * bool(needs) + [f"afterany:{':'.join(after)}"] * bool(after)
    srun = [f"--cpus-per-task={own['cpus']}"]  # which srun takes over from sbatch no more, from Slurm 22.05 on
    srun += [f"--container-image={own['container']}"] if own["container"] else []
    srun += [f"--container-mounts={own['mounts']}"] if own["mounts"] else []
    parameters = {
        "job_name": f"{name}-{group[0].kind}",
        "partition": own["partition"],
        "account": own["account"],
        "qos": own["qos"],
        "time": max(1, round(60 * (train["hours"] or own["hours"]))),
        "nodes": train["nodes"],
        "ntasks_per_node": 1,
        "gpus_per_node": gpus or None,
        "cpus_per_task": own["cpus"],
        "mem": _memory(own["memory"]) if own["memory"] else None,
        "dependency": ",".join(order) or None,
        "signal_delay_s": own["warning"],
        "array_parallelism": own["parallel"] or len(group),
        "stderr_to_stdout": True,
        "srun_args": srun,
        "setup": [*own["setup"], f"export PYTHONPATH={shlex.quote(python_path())}"],
        # a task that needs a training which failed never starts: it is not to wait for ever
        "additional_parameters": {"requeue": True, **({"kill-on-invalid-dep": "yes"} if order else {}), **own["arguments"]},
    }
    return {key: value for key, value in parameters.items() if value is not None} | {"wckey": None}


def _memory(gb: float) -> str:
    """For sbatch, which takes whole numbers alone; 0 would be all of a node."""
    return f"{int(gb)}GB" if gb == int(gb) else f"{math.ceil(1024 * gb)}MB"


def _local_gpus(own: dict[str, Any], kind: str, number: int) -> tuple[int, ...]:
    """Which GPUs of this machine a task sees: shards have their own, a training and the report come alone."""
    devices = cuda_devices()
    if kind != "shard":
        if (own["gpus"] or 0) > devices:
            raise SettingError(f"submit.gpus={own['gpus']}: is more than the GPUs of this machine, which has {devices}")
        return tuple(range(devices if own["gpus"] is None else own["gpus"]))
    each = devices // own["shards"] if own["gpus"] is None else own["gpus"]
    if own["shards"] * each > devices or devices and own["gpus"] is None and not each:
        needed = own["shards"] * max(each, 1)
        raise SettingError(f"submit.shards={own['shards']}: need {needed} GPUs of this machine, which has {devices}")
    return tuple(range(number * each, (number + 1) * each))


def _hand_over(executors: list[Any], commands: dict[str, Command], jobs: dict[str, str]) -> None:
    """Submit the commands of these tasks; `jobs` gets each one's id as soon as there is one."""
    if len(executors) == 1 and len(commands) > 1:
        with executors[0].batch():
            submitted = [executors[0].submit(command) for command in commands.values()]
        jobs |= dict(zip(commands, (job.job_id for job in submitted), strict=True))
        return
    with _on_their_own():
        for executor, (name, command) in zip(executors, commands.items(), strict=True):
            jobs[name] = executor.submit(command).job_id


def _call_off(name: str, jobs: Collection[str]) -> None:
    """End what was handed over: nobody would know of it. Processes are told until they hear it: while they begin, submitit
    ignores SIGTERM for a moment."""
    if name == "slurm":
        slurm.cancel(jobs)
        return
    end = time.monotonic() + ENDING_SECONDS
    while (left := [int(job) for job in jobs if alive(int(job))]) and time.monotonic() < end:
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        time.sleep(POLL_SECONDS)


@contextmanager
def _on_their_own() -> Iterator[None]:
    """Processes that begin here go on when the terminal is closed, and hold open no pipe that this command writes to: it would
    seem to go on as long as they do."""
    sys.stdout.flush()
    heard, null = signal.signal(signal.SIGHUP, signal.SIG_IGN), os.open(os.devnull, os.O_WRONLY)
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in kept:
            os.dup2(null, number)
        yield
    finally:
        for number, own in kept.items():
            os.dup2(own, number)
            os.close(own)
        os.close(null)
        signal.signal(signal.SIGHUP, heard)


def _said(error: BaseException) -> str:
    """What sbatch printed, in a line."""
    lines = [line.removeprefix("sbatch: error: ") for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines) or "it will not have it"


def _tell(record: dict[str, Any], wanted: Sequence[Task], directory: Path) -> None:
    jobs = record["tasks"]
    parts = []
    for group in grouped(wanted):
        ids = [jobs[task.name] for task in group]
        several = len(group) > 1
        what = f"{len(group)} {SEVERAL[group[0].kind]}" if several else group[0].name
        parts.append(f"{what} ({ids[0]}{f' to {ids[-1]}' if several else ''})")
    print(f"Submitted: {', then '.join(parts)} -> {directory}")
    print(f"How far it is: python run.py stage=status report.of={directory}")
