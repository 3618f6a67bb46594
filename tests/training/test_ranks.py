from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml

from s1x.errors import SettingError
from s1x.training.ranks import Ranks

ZERO3 = {
    "name": "zero3",
    "processes": None,
    "nodes": None,
    "node_rank": None,
    "rendezvous": None,
    "device_memory": None,
    "deepspeed": {"zero_optimization": {"stage": 3}},
}


def test_one_node(tmp_path):
    ranks = Ranks.of(ZERO3 | {"processes": 8}, slurm={})
    assert (ranks.devices, ranks.stage, ranks.offload) == (8, 3, False)
    words = " ".join(ranks.command(Path("job.json"))[1:])
    assert words == "-m torch.distributed.run --standalone --nproc-per-node=8 -m s1x.training.rank job.json"


def test_several_nodes_by_hand():
    ranks = Ranks.of(ZERO3 | {"processes": 8, "nodes": 2, "node_rank": 1, "rendezvous": "gpu-1:29500"}, slurm={})
    assert ranks.devices == 16
    words = ranks.command(Path("job.json"))
    assert {"--nnodes=2", "--node-rank=1", "--master-addr=gpu-1", "--master-port=29500"} <= set(words)


def test_several_nodes_from_slurm(tmp_path, monkeypatch):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\n[ \"$3\" = 'gpu-[1-2]' ] && printf 'gpu-1\\ngpu-2\\n'\n")
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    slurm = {"SLURM_JOB_NUM_NODES": "2", "SLURM_NODEID": "1", "SLURM_JOB_NODELIST": "gpu-[1-2]", "SLURM_JOB_ID": "7"}
    ranks = Ranks.of(ZERO3 | {"processes": 4}, slurm)
    assert (ranks.nodes, ranks.node_rank, ranks.rendezvous) == (2, 1, "gpu-1:29507")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"nodes": 2}, "distributed.nodes=2: start the same command on each node"),
        ({"nodes": 2, "node_rank": 2, "rendezvous": "a:1"}, "distributed.node_rank=2: must be 0 to 1"),
        ({"nodes": 2, "node_rank": 0, "rendezvous": "a"}, "distributed.rendezvous=a: must be HOST:PORT"),
        ({"processes": 0.5}, "distributed.processes=0.5"),
        ({"name": "none", "processes": 2, "deepspeed": None}, "choose distributed=zero3 for 2 devices"),
    ],
)
def test_what_cannot_start_is_a_sentence(changes, sentence):
    with pytest.raises(SettingError, match=sentence):
        Ranks.of(ZERO3 | changes, slurm={})


def test_the_four_configurations_compose(composed):
    stages = {}
    for name in ("none", "zero2", "zero3", "zero3_offload"):
        from omegaconf import OmegaConf

        ranks = Ranks.of(OmegaConf.to_container(composed(f"distributed={name}").distributed), slurm={})
        stages[name] = (ranks.stage, ranks.offload)
    assert stages == {"none": (None, False), "zero2": (2, False), "zero3": (3, False), "zero3_offload": (3, True)}
    assert yaml.safe_load((Path(__file__).parents[2] / "conf/distributed/zero3.yaml").read_text())["name"] == "zero3"
