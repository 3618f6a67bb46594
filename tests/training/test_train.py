"""The train stage for real, on a few records and the shipped base model: one process, found again, killed and gone on with."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal

import pytest

pytest.importorskip("trl")
from ..tracking.reading import read_run  # noqa: E402
from .runs import LORA, ROOT, checkpoint, command, facts, furthest, losses, model, run, start, wait_for, weights  # noqa: E402

pytestmark = pytest.mark.deepspeed  # of the same slow family: each starts trl
BASE = ROOT / "s1x/tiny/models/tiny-base"


def test_a_training_leaves_a_model_that_loads_with_card_and_log(four_steps):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, output = four_steps
    assert "data=tiny_random_1k: 64 examples (4,000 in the pool; " in output
    assert "4 steps of 16 examples on 1 device; memory per device about" in output
    folder = model(place)
    assert all((folder / name).is_file() for name in ("config.json", "tokenizer.json", "README.md", "DONE"))
    assert {f.name for f in folder.iterdir() if f.is_dir()} == set()  # no checkpoint, nothing of the ranks
    assert not (folder / "examples.parquet").exists()
    record = facts(place)
    assert record["steps"] == 4 and record["data"]["examples"] == 64 and record["content"]["train"]["epochs"] == 1
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3, 4] and rows[-1]["loss"] < rows[0]["loss"]
    assert "| Steps | 4 of 16 examples (1 epochs) |" in (folder / "README.md").read_text()
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() == 854_144
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_the_same_training_is_found_again_and_another_seed_is_another(four_steps):
    place, _ = four_steps
    assert "trained already" in run(place)
    assert "trained already" not in run(place, "train.seed=1", "plan=true")


def test_killed_at_any_moment_it_goes_on_to_the_same_weights(four_steps, tmp_path):
    step = random.choice([1, 2])
    process = start(tmp_path)
    wait_for(checkpoint(tmp_path, step), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run(tmp_path)
    assert facts(tmp_path)["resumed_at"] >= step
    assert losses(tmp_path) == losses(four_steps[0])  # the same examples in the same order
    ours, whole = weights(model(tmp_path)), weights(model(four_steps[0]))
    assert ours.keys() == whole.keys() and all((ours[k] == whole[k]).all() for k in whole)  # bit for bit


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_told_to_stop_it_writes_a_checkpoint_first(four_steps, tmp_path, number):
    process = start(tmp_path, "train.save_every=2")
    wait_for(checkpoint(tmp_path, 2), process)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    said = (tmp_path / "output").read_text()
    assert "with a checkpoint first" in said and said.endswith("the same command goes on from here.\n")
    assert checkpoint(tmp_path, 3)()
    run(tmp_path, "train.save_every=2")
    assert facts(tmp_path)["resumed_at"] == 3
    ours, whole = weights(model(tmp_path)), weights(model(four_steps[0]))
    assert all((ours[k] == whole[k]).all() for k in whole)


def test_ctrl_c_stops_and_a_checkpoint_of_another_training_is_refused(tmp_path):
    process = start(tmp_path)
    wait_for(checkpoint(tmp_path, 1), process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    assert "Stopped." in (tmp_path / "output").read_text()
    (folder,) = tmp_path.glob("models/*/checkpoints")

    output = run(tmp_path, "distributed=zero3", "distributed.processes=2", status=2).splitlines()[-1]
    assert "1 device, no DeepSpeed) than this one" in output and "go on with the same devices, or remove" in output
    other = tmp_path / "models" / json.loads(run_id(tmp_path, "train.seed=1"))
    shutil.copytree(folder, other / "checkpoints")
    output = run(tmp_path, "train.seed=1", f"hydra.run.dir={tmp_path / 'other'}", status=2).splitlines()[-1]
    assert f"was written by another training ({folder.parent.name}, 1 device" in output and str(other) in output


def run_id(place, *overrides: str) -> str:
    """The name of a training's folder, as JSON: from a process, since Hydra works once in each."""
    import subprocess
    import sys

    code = (
        "import json, sys; from hydra import compose, initialize_config_dir\n"
        "from s1x.composition import BASE, register; register()\n"
        "from s1x.training import job\n"
        f"with initialize_config_dir({str(ROOT / 'conf')!r}, **BASE): cfg = compose('config', sys.argv[1:])\n"
        "print(json.dumps(job.source(cfg, job.settings_of(cfg)).training.id))"
    )
    words = [word for word in command(place, *overrides)[2:] if not word.startswith("hydra.")]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_lora_trains_adapters_and_saves_the_merged_model(tmp_path):
    from transformers import AutoModelForCausalLM

    run(tmp_path, LORA)
    AutoModelForCausalLM.from_pretrained(model(tmp_path))
    merged, base = weights(model(tmp_path)), weights(BASE)
    changed = {k for k in base if not (merged[k] == base[k]).all()}
    assert merged.keys() == base.keys() and changed and all("proj.weight" in k for k in changed)


def test_two_sweeps_that_want_the_same_model_train_it_once_and_evaluate_it(four_steps, tmp_path):
    sweep = (
        "hydra.mode=MULTIRUN",
        "stage=[train,evaluate]",
        "method.max_thinking_tokens=16,32",
        "task.limit=8",
        "tracking=wandb_offline",
    )
    both = [start(tmp_path / name, *sweep, f"train.dir={tmp_path / 'models'}") for name in ("a", "b")]
    assert [process.wait(200) for process in both] == [0, 0]
    outputs = [(tmp_path / name / "output").read_text() for name in ("a", "b")]
    assert sum("trained in" in output for output in outputs) == 1 and all("trained already" in output for output in outputs)
    assert furthest(weights(model(tmp_path)), weights(model(four_steps[0]))) == 0

    for name in ("a", "b"):
        cells = json.loads((tmp_path / name / "sweep" / "summary.json").read_text())["cells"]
        assert [cell["model"] for cell in cells] == ["tiny-s1", "tiny-s1"] and cells[0]["n_questions"] == 8
        assert all((tmp_path / name / "sweep" / job / "training.json").is_file() for job in "01")

    runs = [read_run(file) for file in tmp_path.glob("*/sweep/wandb/offline-run-*/*.wandb")]
    (training,) = [run for run in runs if run["type"] == "train"]
    assert training["name"] == model(tmp_path).name and len(training["logged"]) == 4
    numbers = training["logged"][-1]
    assert numbers["train/loss"] == losses(tmp_path)[-1] and numbers["train/memory_gb"] > 0.1
    assert {"train/grad_norm", "train/learning_rate", "train/tokens_per_second", "train/num_tokens"} <= numbers.keys()
    evaluations = [run for run in runs if run["type"] == "eval"]
    assert len(evaluations) == 4 and all(run["config"]["training"] == training["name"] for run in evaluations)
    assert training["group"] in {run["group"] for run in evaluations}
    assert "training.json" in training["artifacts"][training["name"]]
    assert {(tuple(run["used"]), run["digests"][training["name"]]) for run in evaluations} == {
        ((training["name"],), training["digests"][training["name"]])
    }
