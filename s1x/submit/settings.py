"""Who does the work (`conf/submit`), checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import SettingError

STAGES = ("data", "train", "evaluate")  # that can be submitted


def submits(cfg: Mapping[str, Any]) -> bool:
    """Whether the command hands its work to others."""
    return cfg["submit"]["name"] != "none" and not cfg["plan"]


def makes_results(cfg: Mapping[str, Any]) -> bool:
    """Whether the command makes results here: it neither submits nor is one of several shards."""
    return not submits(cfg) and cfg["submit"]["shard"] is None


def check_here(cfg: Mapping[str, Any]) -> None:
    """For what runs the jobs of a sweep. Raises SettingError where it should have been submitted."""
    if submits(cfg):
        raise SettingError(f"submit={cfg['submit']['name']}: needs hydra/sweeper=s1x and hydra/launcher=s1x, the defaults")


def check(submit: Mapping[str, Any], stages: Sequence[str], plain: Mapping[str, Any]) -> None:
    """Check the plain `submit` node of a job with these stages; `plain` are all its settings.

    Raises SettingError with the first problem found.
    """
    for key, (valid, words) in RANGES.items():
        node, _, name = key.rpartition(".")
        value = (submit[node] if node else submit).get(name) if not node or node in submit else None
        if not valid(value) and not (value is None and (node or name) not in submit):
            raise SettingError(f"submit.{key}={value}: must be {words}")
    name, shards, shard = submit["name"], submit["shards"], submit["shard"]
    if name == "none" and shard is None and shards > 1:
        raise SettingError(
            f"submit.shards={shards}: submit=none does all of them here; add submit=slurm or submit=local, or "
            f"submit.shard=0 to {shards - 1} for one of them"
        )
    if name == "none" and shard is None:
        return
    if name != "none" and shard is not None:
        raise SettingError(f"submit.shard={shard}: submit={name} starts all shards; leave it out, or leave out submit={name}")
    if shard is not None and shard >= shards:
        raise SettingError(f"submit.shard={shard}: must be 0 to {shards - 1}, since submit.shards={shards}")
    if odd := [stage for stage in stages if stage not in STAGES]:
        raise SettingError(f"stage={odd[0]}: is done at once, where it is typed; leave out submit.*")
    if "evaluate" not in stages and shard is not None:
        raise SettingError(f"submit.shard={shard}: shards are of an evaluation; leave it out, or evaluate")
    if shards > 1 and "evaluate" in stages and plain["store"]["dir"] is None:
        raise SettingError("store.dir=null: shards hand over what they decoded in the store; set store.dir")
    _check_training(submit, stages, plain["distributed"])


def _check_training(submit: Mapping[str, Any], stages: Sequence[str], distributed: Mapping[str, Any]) -> None:
    """On how many nodes a training runs is said in one place."""
    nodes = submit.get("train", {}).get("nodes", 1)
    if "train" not in stages or submit["name"] == "none":
        return
    if nodes > 1 and distributed["deepspeed"] is None:
        raise SettingError(
            f"submit.train.nodes={nodes}: distributed={distributed['name']} is for one process; choose distributed=zero3"
        )
    if distributed["deepspeed"] is not None and distributed["nodes"] not in (None, nodes):
        raise SettingError(
            f"distributed.nodes={distributed['nodes']}: submit={submit['name']} decides where a training runs; set "
            "submit.train.nodes and leave it out"
        )


Check = Callable[[Any], bool]


def _whole(low: int) -> Check:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low


def _positive(v: Any) -> bool:
    return isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < float("inf")


def _or_null(check: Check) -> Check:
    return lambda v: v is None or check(v)


def _lines(v: Any) -> bool:
    return isinstance(v, list) and all(isinstance(line, str) for line in v)


RANGES: dict[str, tuple[Check, str]] = {
    "shards": (_whole(1), "a whole number, 1 or more"),
    "shard": (_or_null(_whole(0)), "null or a whole number, 0 or more"),
    "gpus": (_or_null(_whole(0)), "a whole number, 0 or more, or null"),
    "cpus": (_whole(1), "a whole number, 1 or more"),
    "hours": (_positive, "a number of hours, more than 0"),
    "memory": (_or_null(_positive), "null or a number of GB, more than 0"),
    "parallel": (_or_null(_whole(1)), "null or a whole number, 1 or more"),
    "requeues": (_whole(0), "a whole number, 0 or more"),
    "warning": (_whole(1), "a whole number of seconds, 1 or more"),
    "setup": (_lines, "a list of shell lines"),
    "arguments": (lambda v: isinstance(v, dict), "options of sbatch, such as {constraint: h100}"),
    "train.nodes": (_whole(1), "a whole number, 1 or more"),
    "train.gpus": (_or_null(_whole(0)), "a whole number, 0 or more, or null"),
    "train.hours": (_or_null(_positive), "null or a number of hours, more than 0"),
}
