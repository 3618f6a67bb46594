"""Sweeps are unions of grids; the command line replaces and crosses; every experiment expands at every scale."""

from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from s1x.errors import SettingError

from .conftest import NO_LOCAL

CONF = Path(__file__).parents[1] / "conf"
EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
SCALES = sorted(file.stem for file in (CONF / "scale").glob("*.yaml"))
ON_GPUS = ("native_controls", "model_size")  # studies that have no tiny models


def at_scales(names):
    """Each experiment at each scale that it has."""
    return [(name, scale) for name in names for scale in SCALES if scale == "paper" or name not in ON_GPUS]


@pytest.fixture
def cells(composed):
    """The cells of a sweep as dictionaries of overrides: cells(grids or None for the experiment's, *command line)."""
    from hydra._internal.callbacks import Callbacks
    from hydra_plugins.s1x_sweeps.sweeper import GridSweeper

    def expand(grids, *arguments, params=None):
        loader = GlobalHydra.instance().hydra.config_loader
        config = loader.load_configuration("config", [*NO_LOCAL, *arguments], run_mode=RunMode.MULTIRUN)
        if grids is not None:
            config.hydra.sweeper.grids = grids
        own = config.hydra.sweeper
        sweeper = GridSweeper(max_batch_size=None, params=params or own.params, grids=own.grids)
        sweeper.hydra_context = HydraContext(config_loader=loader, callbacks=Callbacks())
        sweeper.config = config
        found = sweeper.cells(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))
        configs = [job.config for job in found.values()]
        assert [c.hydra.job.num for c in configs] == list(range(len(found)))
        return [dict(o.split("=", 1) for o in overrides if o not in NO_LOCAL) for overrides in found], configs

    return expand


def test_a_union_of_grids(cells):
    grids = [{"method.max_thinking_tokens": "32,64", "seed": [1, 2]}, {"method": "none", "model": "tiny_base"}]
    found, configs = cells(grids)
    assert [(c.get("method.max_thinking_tokens"), c.get("seed")) for c in found[:4]] == [
        ("32", "1"),
        ("32", "2"),
        ("64", "1"),
        ("64", "2"),
    ]
    assert found[4] == {"method": "none", "model": "tiny_base"}
    assert configs[4].model.name == "tiny-base" and configs[1].method.max_thinking_tokens == 32 and configs[1].seed == 2


@pytest.mark.parametrize(
    "overrides",
    [
        ["method.max_thinking_tokens=32", "method.ignore_end=2", "seed=3"],
        ["task.limit=4", "method=majority_voting", "method.n=8", "method.inner.max_thinking_tokens=64", "model=tiny_base"],
        ["+chat.arguments.enable_thinking=false", "method.string='a, b=c'", "sampling.temperature=1", "name=other"],
        [
            "~scale.budgets",
            "hydra.job.chdir=true",
            "+hydra.job.env_set.A=1",
            "engine=scripted",
            "engine.capacity=2",
            "task.limit=4",
        ],
        ["sampling.temperature=0.7", "sampling={temperature: 0.5, top_p: 0.9}", "store={dir: foo}", "store.dir=bar"],
        ["store.dir=foo", "tracking=none", "task={name: bar}"],
        ["task.limit=4", "task.limit=5", "+engine.arguments={a: {b: [1, 2]}}", "data=tiny_full", "data.name=mine"],
        [],
    ],
)
def test_a_job_is_what_hydra_composes(composed, overrides):
    """Hydra's own way, file by file, is much slower."""
    from hydra_plugins.s1x_sweeps._jobs import Composer

    loader = GlobalHydra.instance().hydra.config_loader
    overrides = ["+experiment=budget_sweep", *overrides]
    typed = [*NO_LOCAL, "+experiment=budget_sweep", "hydra.sweep.dir=x", "+hydra.job.env_set.B=${seed}"]
    sweep = loader.load_configuration("config", typed, run_mode=RunMode.MULTIRUN)
    composer = Composer(HydraContext(config_loader=loader, callbacks=None), sweep)
    for _ in range(2):  # the second time it is a copy
        ours, theirs = composer.load(overrides), loader.load_sweep_config(sweep, overrides)
        assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(theirs)
        assert str(ours.hydra.overrides.task) == str(overrides) or any(o.startswith(("hydra", "+hydra")) for o in overrides)
        assert OmegaConf.is_struct(ours) and OmegaConf.is_struct(ours.method) and not OmegaConf.is_readonly(ours.hydra)
        ours.task.limit = 77  # of no other job


def test_a_grid_that_adds_a_setting_is_replaced_by_what_is_typed(cells):
    found, configs = cells([{"+chat.arguments.foo": [1, 2]}], "+chat.arguments.foo=3")
    assert [config.chat.arguments.foo for config in configs] == [3] and len(found) == 1


def test_what_speaks_of_its_job_is_said_when_the_job_is_made(cells):
    """Later it would be what the job says that runs then; and a time is the moment that the directory is called after."""
    from hydra_plugins.s1x_sweeps._jobs import Job

    own = ("seed=${hydra:job.num}", "name=at-${now:%S-%f}", "+chat.arguments.jobs=[a, '${hydra:job.num}']")
    _, configs = cells([{"method.max_thinking_tokens": [8, 16, 32]}], *own)
    names = [config.name for config in configs]
    tasks = [Job(config).task for config in configs]
    assert [task.seed for task in tasks] == [task.chat.arguments.jobs[1] for task in tasks] == [0, 1, 2]
    assert [task.name for task in tasks] == names


def test_a_sweep_takes_all_cells_to_one_stage(command):
    for typed in (["stage=evaluate,bench"], ["stage=[evaluate,bench]", "seed=0,1"]):
        status, said = command("-m", "engine=scripted", *typed)
        assert status == 2 and said.startswith("stage=bench,evaluate: each takes all cells of a sweep"), said


def test_identical_cells_run_once(cells):
    again = {"method.ignore_end": 0, "method.max_thinking_tokens": 128}
    found, _ = cells([{"method.max_thinking_tokens": "32,64"}, {"method.max_thinking_tokens": "64,128"}, again])
    assert [c["method.max_thinking_tokens"] for c in found] == ["32", "64", "128"]  # ignore_end=0 is the default


def test_values_come_from_the_scale(cells):
    grid = [{"method.max_thinking_tokens": "${scale.budgets}"}]
    for scale in SCALES:
        _, configs = cells(grid, f"scale={scale}")
        assert [c.method.max_thinking_tokens for c in configs] == configs[0].scale.budgets
    with pytest.raises(SettingError, match="run once for each"):
        cells(grid, "scale=laptop,paper")


def test_the_command_line_replaces_a_key_in_every_grid(cells):
    grids = [{"method.max_thinking_tokens": "32,64"}, {"method.ignore_end": "1,2", "seed": 5}]
    found, configs = cells(grids, "seed=7", "method.max_thinking_tokens=99")
    assert [(c.method.max_thinking_tokens, c.method.ignore_end, c.seed) for c in configs] == [
        (99, 0, 7),
        (99, 1, 7),
        (99, 2, 7),
    ]


def test_the_command_line_is_crossed_with_the_grids(cells):
    _, configs = cells([{"method.max_thinking_tokens": "32,64"}], "task=tiny_math,tiny_mc")
    assert {(c.task.name, c.method.max_thinking_tokens) for c in configs} == {
        (t, m) for t in ("tiny_math", "tiny_mc") for m in (32, 64)
    }


def test_a_grid_that_the_command_line_does_not_fit_is_left_out(cells, caplog):
    grids = [{"method.max_thinking_tokens": "32,64"}, {"method": "none"}]
    found, _ = cells(grids, "method.string=Hmm")
    assert [c.get("method.max_thinking_tokens") for c in found] == ["32", "64"]
    assert "Left out, since the command line does not fit it: method=none (method.string: there is no such" in caplog.text
    with pytest.raises(SettingError, match="^method.string: there is no such setting; "):  # one reason for all
        cells([{"method": "none"}, {"method": "none", "seed": 1}], "method.string=Hmm")


def test_a_value_for_each_scale(cells):
    grids = [{"method.max_thinking_tokens": {"laptop": "32,64", "paper": [500]}, "seed": 5}]
    for scale, values in {"laptop": [32, 64], "paper": [500]}.items():
        _, configs = cells(grids, f"scale={scale}")
        assert [(c.method.max_thinking_tokens, c.seed) for c in configs] == [(value, 5) for value in values]
    with pytest.raises(SettingError, match="^scale=paper: run has values of seed for laptop only$"):
        cells([{"seed": {"laptop": 1}}], "scale=paper")
    _, configs = cells([{"train.lora": {"r": 4}}])  # any other mapping is a value
    assert configs[0].train.lora == {"r": 4}


def test_a_grid_may_not_make_up_settings(cells):
    with pytest.raises(SettingError, match="^method.nope: there is no such setting; "):
        cells([{"+method.nope": 1}])


def test_a_wrong_grid_is_an_error(cells):
    with pytest.raises(HydraException, match="nope"):
        cells([{"method.max_thinking_tokens": 32}, {"method.nope": 1}])


def test_without_grids_it_is_the_basic_sweeper(cells):
    found, _ = cells(None, "seed=0,1", "method.max_thinking_tokens=range(10,40,10)")
    assert [(c["seed"], c["method.max_thinking_tokens"]) for c in found] == [(s, m) for s in "01" for m in ("10", "20", "30")]
    _, configs = cells(None, "seed=3", params={"method.max_thinking_tokens": "8,16", "seed": "1,2"})
    assert [(c.method.max_thinking_tokens, c.seed) for c in configs] == [(8, 3), (16, 3)]
    with pytest.raises(SettingError, match="list them"):
        cells(None, "seed=interval(0,3)")


@pytest.mark.parametrize("typed", ["method.max_thinking_tokens=glob(*)", "seed=range(5,0)", "data=glob(nothing*)"])
def test_a_sweep_over_nothing_is_a_sentence(command, tmp_path, typed):
    sentence = ": stands for no value at all; name one or several, or leave it out\n"
    assert command("-m", typed) == (2, typed + sentence) and not any(tmp_path.iterdir())
    key, _, value = typed.partition("=")
    assert command("-m", f"hydra.sweeper.grids=[{{seed:1}},{{{key}:'{value}'}}]") == (2, typed + sentence)
    assert command("-m", f"hydra.sweeper.grids=[{{{key}:[]}}]") == (2, f"{key}=[]{sentence}")


VALUES = ["Wait", "Wait, let me see", "it's", "", "\n", "16", "null", "a=b", None, True, 3, 0.5, [1, "a b"]]


@pytest.mark.parametrize("value", VALUES)
def test_literals_survive_hydra(composed, value):
    from hydra_plugins.s1x_sweeps.sweeper import literal

    composed()  # a parser needs Hydra's functions
    override = OverridesParser.create().parse_override(f"key={literal(OmegaConf.create([value])[0])}")
    assert override.value() == value or str(override.value()) == value


TOOLS = ("bench", "tiny", "real")


@pytest.mark.parametrize(
    ("name", "scale"),
    [pytest.param(*pair, marks=[pytest.mark.slow] * (not pair[0].startswith(TOOLS))) for pair in at_scales(EXPERIMENTS)],
)
def test_every_experiment_expands(cells, name, scale):
    """The studies in scripts/ci_hydra.sh; otherwise tests/experiments/test_experiments.py composes them."""
    _, configs = cells(None, f"+experiment={name}", f"scale={scale}")
    assert len(configs) >= 1
    assert {c.name for c in configs} == {name}  # its sweeps are kept under its own name
    for config in configs:
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_shows_its_command(name):
    lines = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_" and f"run.py +experiment={name}" in lines[1]


def test_budget_sweep_is_what_the_paper_ran(cells):
    _, configs = cells(None, "+experiment=budget_sweep", "scale=paper")
    forced = [c for c in configs if c.method._target_.endswith(".budget_forcing")]
    assert [c.method.max_thinking_tokens for c in forced] == [500, 1000, 2000, 4000, 8000, 16000] + ["auto"] * 5
    assert [c.method.ignore_end for c in forced] == [0] * 7 + [1, 2, 4, 6]
    assert [(c.model.name, c.method.thinking) for c in configs if c not in forced] == [("Qwen2.5-32B-Instruct", False)]
