"""s1x's launcher: all cells at once, and each still ends as an ordinary Hydra job.

The evaluation itself has tests of its own; here a stand-in writes the files of an invented cell.
"""

import json
import sys
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from s1x.cell import Cell
from s1x.metrics.cell import cell_record

from .report.sweep import sample


class Evaluation:
    """Stands in for s1x.stages.evaluate; `fails` holds the numbers of cells that raise."""

    def __init__(self):
        self.calls, self.fails = [], ()

    def evaluate(self, cells, sweep, on_done):
        self.calls.append((cells, sweep))
        for cell in reversed(cells):  # cells end in any order
            if cell.job in self.fails:
                on_done(cell, ValueError(f"cell {cell.job} is broken"))
                continue
            lines = [sample(question, cell.cfg.method.get("max_thinking_tokens", 64), 0) for question in range(20)]
            budget = cell.cfg.method.get("max_thinking_tokens")
            meta = dict.fromkeys(("series", "model", "task", "method"), "x") | {"cell_id": f"cell-{cell.job}", "job": cell.job}
            meta |= {"seed": 0, "temperature": 0.0, "budget": budget, "overrides": cell.overrides}
            record = cell_record(lines, meta)
            (cell.directory / "samples_x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            (cell.directory / "cell.json").write_text(json.dumps(record))
            on_done(cell, record)

    def run(self, cfg):
        cell, records = Cell.of_job(cfg), []
        self.evaluate([cell], cell.sweep, lambda _, record: records.append(record))
        return records[0]["accuracy"]


@pytest.fixture
def evaluation(monkeypatch):
    stand_in = Evaluation()
    monkeypatch.setitem(sys.modules, "s1x.stages.evaluate", stand_in)
    return stand_in


QUIET = ("engine=scripted", "tracking=none", "hydra.sweep.dir=sweep", "hydra.run.dir=alone")


def test_all_cells_go_into_one_call_and_every_job_has_its_files(command, evaluation, tmp_path):
    status, said = command("-m", *QUIET, "method.max_thinking_tokens=16,64,256")
    assert (status, said) == (0, "")
    [(cells, sweep)] = evaluation.calls
    assert sweep == tmp_path / "sweep"
    assert [(c.job, c.directory, c.cfg.method.max_thinking_tokens) for c in cells] == [
        (number, sweep / str(number), max_thinking_tokens) for number, max_thinking_tokens in enumerate((16, 64, 256))
    ]
    for cell in cells:
        hydra = cell.directory / ".hydra"
        assert OmegaConf.load(hydra / "config.yaml") == cell.cfg
        assert list(OmegaConf.load(hydra / "overrides.yaml")) == cell.overrides
        assert f"method.max_thinking_tokens={cell.cfg.method.max_thinking_tokens}" in cell.overrides
        assert OmegaConf.load(hydra / "hydra.yaml").hydra.runtime.output_dir == str(cell.directory)
    assert len(json.loads((sweep / "summary.json").read_text())["cells"]) == 3
    assert (sweep / "multirun.yaml").is_file() and (sweep / "run.log").is_file() and (sweep / "report.html").is_file()


def test_a_failed_cell_fails_the_command_but_not_the_others(command, evaluation, tmp_path):
    evaluation.fails = (1,)
    status, said = command("-m", *QUIET, "method.max_thinking_tokens=16,64,256")
    assert status == 1 and "job 1 failed: cell 1 is broken" in said
    assert [c["job"] for c in json.loads((tmp_path / "sweep" / "summary.json").read_text())["cells"]] == [0, 2]


def test_a_failing_aggregate_fails_the_command(command, evaluation, monkeypatch):
    monkeypatch.setattr("s1x.report.aggregate.aggregate", lambda *_, **__: 1 / 0)
    status, said = command("-m", *QUIET, "method.max_thinking_tokens=16,64")
    assert status == 1 and "the results could not be put together: division by zero" in said


def test_all_mistakes_are_found_before_the_first_job(command, evaluation, tmp_path):
    status, said = command("-m", *QUIET, "method.max_thinking_tokens=16,-5,4000", "method.ignore_end=0,-1")
    assert status == 2 and evaluation.calls == [] and not (tmp_path / "sweep").exists()
    assert sorted(line.split(":")[0] for line in said.splitlines()) == [
        "method.ignore_end=-1", "method.max_thinking_tokens=-5", "method.max_thinking_tokens=4000",
    ]  # fmt: skip


def test_earlier_stages_run_first_and_a_failed_one_ends_its_job(command, evaluation, monkeypatch):
    order = []

    def train(cfg):
        order.append(cfg.seed)
        if cfg.seed == 2:
            raise RuntimeError("out of memory")

    monkeypatch.setitem(sys.modules, "s1x.stages.data", SimpleNamespace(run=train))
    status, said = command(
        "-m", *QUIET, "stage=[data,evaluate]", "data=tiny_s1k", "method.max_thinking_tokens=64", "seed=1,2,3"
    )
    assert status == 1 and "job 1 failed: out of memory" in said
    assert order == [1, 2, 3] and [[c.job for c in cells] for cells, _ in evaluation.calls] == [[0, 2]]


def test_other_launchers_run_one_cell_at_a_time(command, evaluation, tmp_path):
    status, said = command("-m", *QUIET, "hydra/launcher=basic", "method.max_thinking_tokens=16,64")
    assert (status, said) == (0, "")
    assert [[(c.job, c.directory, c.sweep) for c in cells] for cells, _ in evaluation.calls] == [
        [(n, tmp_path / "sweep" / str(n), tmp_path / "sweep")] for n in (0, 1)
    ]
    assert len(json.loads((tmp_path / "sweep" / "summary.json").read_text())["cells"]) == 2


def test_a_single_job_has_everything_in_its_own_directory(command, evaluation, tmp_path):
    assert command(*QUIET, "method.max_thinking_tokens=16") == (0, "")
    [([cell], sweep)] = evaluation.calls
    assert cell.directory == cell.sweep == sweep == tmp_path / "alone"
    assert {"cell.json", "summary.json", "report.html", ".hydra"} <= {file.name for file in sweep.iterdir()}


def test_interrupt_says_how_to_go_on(command, evaluation, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    ended = []
    monkeypatch.setattr(evaluation, "evaluate", interrupted)
    monkeypatch.setattr("os._exit", ended.append)
    _, said = command("-m", *QUIET, "method.max_thinking_tokens=16,64")
    assert ended == [130] and "the same command goes on from here" in said
