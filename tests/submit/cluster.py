"""A real Slurm on this one machine: a controller and two nodes, as processes of ours that need no munge and no cgroups."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
MpiDefault=none
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=10
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
"""


def missing() -> list[str]:
    """Programs of Slurm that are not on this machine."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Cluster:
    """`environment` is that of its users. Nodes are called as the machine is and localhost: names that resolve."""

    def __init__(self, place: Path):
        host = os.uname().nodename.split(".")[0]
        self.place, self.processes = place, []
        self.environment = os.environ | {"SLURM_CONF": str(place / "slurm.conf")}
        controller, *ports = free_ports(3)
        nodes = dict(zip((host, "localhost"), ports, strict=True))
        lines = [f"NodeName={n} NodeHostname={host} NodeAddr=127.0.0.1 Port={p} CPUs=2" for n, p in nodes.items()]
        lines.append("PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
        (place / "state").mkdir(parents=True)
        place.chmod(0o755)
        (place / "slurm.conf").write_text(CONF.format(host=host, port=controller, place=place) + "\n".join(lines) + "\n")
        for number, words in enumerate((["slurmctld", "-D"], *(["slurmd", "-D", "-N", node] for node in nodes))):
            with (place / f"said-{number}.log").open("w") as log:
                process = subprocess.Popen(words, env=self.environment, stdout=log, stderr=log, start_new_session=True)
            self.processes.append(process)
        wait_for(lambda: self.ask("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(len(nodes)), 30, self.report)

    def ask(self, *words: str) -> str:
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=30).stdout

    def state(self, job: str) -> str:
        """PENDING, RUNNING, ...; "" for a job that has left the queue."""
        return self.ask("squeue", "-h", "-r", "-j", job, "-o", "%T").strip()

    def start_now(self, job: str) -> None:
        """A job that was queued again is held back for two minutes; not this one."""
        wait_for(lambda: self.state(job) == "PENDING", 60, self.report)
        time.sleep(3)  # until its node has cleaned up: a job that begins before fails to start
        self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")

    def report(self) -> str:
        logs = [*sorted(self.place.glob("*.log"))]
        return self.ask("squeue") + "".join(f"\n== {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def stop(self) -> None:
        """Its jobs first: a controller that goes before them leaves processes behind."""
        self.ask("scancel", *self.ask("squeue", "-h", "-o", "%A").split())
        with_patience(lambda: not self.ask("squeue", "-h"), 30)
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def with_patience(there: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def wait_for(there: Callable[[], object], seconds: float, said: Callable[[], str]) -> None:
    """`seconds` are more than enough on a quiet machine; three times as long is waited."""
    assert with_patience(there, 3 * seconds), f"it takes too long\n{said()}"
