"""How many ranks a training has, where they run, and the command that starts those of this node."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..models.device import cuda_devices

DEFAULT_PORT = 29500


@dataclass(frozen=True)
class Ranks:
    """`processes` ranks on each of `nodes` nodes; this is node `node_rank`, and all meet at `rendezvous` (host:port)."""

    processes: int
    nodes: int = 1
    node_rank: int = 0
    rendezvous: str | None = None
    deepspeed: dict[str, Any] | None = None

    @property
    def devices(self) -> int:
        return self.processes * self.nodes

    @property
    def stage(self) -> int | None:
        """The ZeRO stage, None without DeepSpeed."""
        return self.deepspeed["zero_optimization"]["stage"] if self.deepspeed else None

    @property
    def offload(self) -> bool:
        return bool(self.deepspeed) and "offload_optimizer" in self.deepspeed["zero_optimization"]

    @classmethod
    def of(cls, distributed: Mapping[str, Any], slurm: Mapping[str, str] = os.environ) -> Ranks:
        """From the plain `distributed` node, filled up from the Slurm job this runs in, if any.

        Raises SettingError when several nodes are asked for and this one's rank or their meeting point is not known.
        """
        nodes = distributed["nodes"] or int(slurm.get("SLURM_JOB_NUM_NODES", 1))
        processes = distributed["processes"] or max(cuda_devices(), 1)
        for key, value in (("nodes", nodes), ("processes", processes)):
            if not isinstance(value, int) or value < 1:
                raise SettingError(f"distributed.{key}={value}: must be null or a whole number, 1 or more")
        if distributed["deepspeed"] is None and processes * nodes > 1:
            raise SettingError(
                f"distributed={distributed['name']}: is for one process; choose distributed=zero3 for "
                f"{processes * nodes} devices"
            )
        if nodes == 1:
            return cls(processes, deepspeed=distributed["deepspeed"])
        rank = distributed["node_rank"] if distributed["node_rank"] is not None else slurm.get("SLURM_NODEID")
        meet = distributed["rendezvous"] or _first_slurm_node(slurm)
        if rank is None or meet is None:
            raise SettingError(
                f"distributed.nodes={nodes}: start the same command on each node with distributed.node_rank=0 to {nodes - 1} "
                "and distributed.rendezvous=HOST:PORT of a node that all can reach, or start it with srun in a Slurm job"
            )
        if not 0 <= int(rank) < nodes:
            raise SettingError(f"distributed.node_rank={rank}: must be 0 to {nodes - 1} for {nodes} nodes")
        if not re.fullmatch(r"[^:\s]+:\d+", meet):
            raise SettingError(f"distributed.rendezvous={meet}: must be HOST:PORT")
        return cls(processes, nodes, int(rank), meet, distributed["deepspeed"])

    def command(self, job: Path) -> list[str]:
        """What starts the ranks of this node on a job file."""
        where = ["--standalone"]
        if self.nodes > 1:
            host, _, port = self.rendezvous.rpartition(":")
            where = [
                f"--nnodes={self.nodes}",
                f"--node-rank={self.node_rank}",
                "--rdzv-backend=static",
                f"--master-addr={host}",
                f"--master-port={port}",
            ]
        return [
            sys.executable,
            "-m",
            "torch.distributed.run",
            *where,
            f"--nproc-per-node={self.processes}",
            "-m",
            "s1x.training.rank",
            str(job),
        ]


def _first_slurm_node(slurm: Mapping[str, str]) -> str | None:
    if "SLURM_JOB_NODELIST" not in slurm:
        return None
    try:
        names = subprocess.run(
            ["scontrol", "show", "hostnames", slurm["SLURM_JOB_NODELIST"]], capture_output=True, text=True, check=True
        ).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{names[0]}:{DEFAULT_PORT + int(slurm.get('SLURM_JOB_ID', 0)) % 10000}" if names else None
