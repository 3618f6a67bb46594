"""sweeps/: a W&B sweep and a Hydra grid of the same name mean the same cells."""

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from s1x.config import validate
from s1x.evaluation.naming import keyed
from s1x.stages import stages

SWEEPS = Path(__file__).parents[2] / "sweeps"
NAMES = sorted(path.stem for path in SWEEPS.glob("*.yaml"))


def of_wandb(name: str) -> list[list[str]]:
    """What each run of the W&B sweep is typed as, by the agent's own code."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    sweep = yaml.safe_load((SWEEPS / f"{name}.yaml").read_text())
    assert sweep["program"] == "run.py" and sweep["method"] == "grid" and sweep["metric"]["name"] == "accuracy"
    python, program, *fixed, own = sweep["command"]
    assert (python, program, own) == ("python", "run.py", "${args_no_hyphens}")
    values = {key: given.get("values", [given.get("value")]) for key, given in sweep["parameters"].items()}
    runs = (dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values()))
    commands = ({"args": {key: {"value": value} for key, value in run.items()}} for run in runs)
    return [[*fixed, *create_sweep_command_args(command)["args_no_hyphens"]] for command in commands]


def of_hydra(name: str) -> tuple[list[list[str]], int]:
    """What each cell of the grid is typed as, and how many the file says there are."""
    text = (SWEEPS / f"{name}.sh").read_text()
    said = int(re.search(r"(\d+) cells", text)[1])
    line = next(part for part in text.replace("\\\n", " ").splitlines() if part.startswith("exec "))
    *start, last = shlex.split(line)[1:]
    assert start[:3] == ["python", "run.py", "-m"] and last == "$@"
    typed = OverridesParser.create().parse_overrides(start[3:])
    choices = [
        [f"{o.key_or_group}={value}" for value in o.sweep_string_iterator()] if o.is_sweep_override() else [o.input_line]
        for o in typed
    ]
    return [list(chosen) for chosen in itertools.product(*choices)], said


@pytest.mark.long
def test_every_sweep_is_there_for_both():
    assert NAMES == sorted(path.stem for path in SWEEPS.glob("*.sh")) and len(NAMES) >= 12
    for name in NAMES:
        cells, said = of_hydra(name)
        assert len(cells) == len(of_wandb(name)) == said, name
        assert f"`{name}`" in (SWEEPS / "README.md").read_text()


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_both_mean_the_same_cells(name, composed):
    def meant(typed):
        cfg = composed(*typed)
        if "train" in stages(cfg):  # checked with everything else
            pytest.importorskip("trl")
        validate(cfg)
        assert cfg.name == name
        return json.dumps([stages(cfg), keyed(cfg)], sort_keys=True)

    cells = {meant(typed) for typed in of_hydra(name)[0]}
    runs = {meant(typed) for typed in of_wandb(name)}
    assert cells == runs and len(cells) == len(of_wandb(name))
