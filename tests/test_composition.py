"""What begins as a sweep by itself, and that nothing else does."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from s1x.composition import named, swept
from s1x.hints import CONF


@pytest.mark.parametrize(
    "typed",
    [
        ["+experiment=budget_sweep"],
        ["+experiment=budget_sweep.yaml", "scale=paper"],
        ["++experiment=search", "plan=true"],
        ["task.limit=3", "+experiment=wait_sweep", "debug=true"],
    ],
)
def test_an_experiment_with_grids_is_a_sweep(typed):
    assert swept(typed) == [*typed, "--multirun"]


@pytest.mark.parametrize(
    "typed",
    [
        [],
        ["method.max_thinking_tokens=64"],
        ["+experiment=bench_engine"],  # has no grids
        ["+experiment=nowhere"],
        ["+experiment=a,b"],
        ["+experiment=[budget_sweep,wait_sweep]"],
        ["+experiment=budget_sweep", "+experiment=wait_sweep"],
        *(
            ["+experiment=budget_sweep", *asked]
            for asked in (["-m"], ["--multirun"], ["--cfg", "job"], ["--cfg=job"], ["--help"])
        ),
        *(
            ["+experiment=budget_sweep", *asked]
            for asked in (["-c", "job"], ["--info"], ["hydra.mode=RUN"], ["++hydra.mode=RUN"])
        ),
    ],
)
def test_nothing_else_is(typed):
    assert swept(typed) == typed


@pytest.mark.parametrize("option", [["--config-dir", "mine"], ["--config-dir=mine"], ["-cd", "mine"]])
def test_so_is_an_experiment_of_ones_own(tmp_path, monkeypatch, option):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text("hydra: {sweeper: {grids: [{seed: '0,1'}]}}\n")
    monkeypatch.chdir(tmp_path)
    assert swept([*option, "+experiment=own"]) == [*option, "+experiment=own", "--multirun"]


@pytest.mark.parametrize("name", ["majority_voting(budget_forcing)", "budget forcing (a b)", "f(a, b)", "it's (x)"])
def test_names_of_series_are_typed_as_tables_have_them(name):
    (typed,) = named([f"report.baseline={name}"])
    assert OverridesParser.create().parse_override(typed).value() == name
    assert named([typed, "seed=1"]) == [typed, "seed=1"]


def test_no_experiment_chooses_hydras_mode():
    """Hydra 1.4 refuses it."""
    for file in (CONF / "experiment").glob("*.yaml"):
        assert OmegaConf.select(OmegaConf.load(file), "hydra.mode") is None, file.name
