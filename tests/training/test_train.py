"""The train stage for real, on a few records and the shipped base model: one process, found again, killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("trl")
from safetensors.torch import load_file  # noqa: E402

pytestmark = pytest.mark.deepspeed  # of the same slow family: each starts trl
ROOT = Path(__file__).parents[2]


def command(tmp_path: Path, *overrides: str) -> list[str]:
    """A training of 4 steps on 64 records, checkpoints after each."""
    return [
        sys.executable, str(ROOT / "run.py"), "+experiment=tiny_sft", "data=tiny_random_1k", "data.select.n=64",
        "train.epochs=1", "train.save_every=1",
        "tracking=none", f"store.dir={tmp_path / 'store'}", f"train.dir={tmp_path / 'models'}",
        f"hydra.run.dir={tmp_path / 'out'}", *overrides,
    ]


def run(tmp_path: Path, *overrides: str) -> str:
    done = subprocess.run(command(tmp_path, *overrides), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def model(tmp_path: Path) -> Path:
    (folder,) = [f.parent for f in (tmp_path / "models").glob("*/DONE")]
    return folder


def weights(folder: Path):
    return {k: v for file in sorted(folder.glob("*.safetensors")) for k, v in load_file(file).items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("trained")
    return place, run(place)


def test_a_training_leaves_a_model_that_loads_with_card_and_log(trained):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, output = trained
    assert "4 steps of 16 examples on 1 device; memory per device about" in output
    folder = model(place)
    assert all((folder / name).is_file() for name in ("config.json", "tokenizer.json", "README.md", "DONE"))
    assert not list(folder.glob("checkpoint*"))
    record = json.loads((folder / "training.json").read_text())
    assert record["steps"] == 4 and record["data"]["examples"] == 64 and record["content"]["train"]["epochs"] == 1
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3, 4] and rows[-1]["loss"] < rows[0]["loss"]
    assert "| Steps | 4 of 16 examples (1 epochs) |" in (folder / "README.md").read_text()
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() == 854_144
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_the_same_training_is_found_again_and_another_seed_is_another(trained):
    place, _ = trained
    assert "trained already" in run(place)
    assert "trained already" not in run(place, "train.seed=1", "plan=true")


def test_killed_at_any_moment_it_goes_on_to_the_same_weights(trained, tmp_path):
    place, _ = trained
    process = subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    while not list(tmp_path.glob("models/*/checkpoints/checkpoint-2/COMPLETE")):
        assert process.poll() is None, "it ended before its second checkpoint"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run(tmp_path)
    assert json.loads((model(tmp_path) / "training.json").read_text())["resumed_at"] >= 2
    ours, whole = weights(model(tmp_path)), weights(model(place))
    assert ours.keys() == whole.keys() and all((ours[k] == whole[k]).all() for k in whole)  # bit for bit


def test_lora_trains_adapters_and_saves_the_merged_model(tmp_path):
    from transformers import AutoModelForCausalLM

    run(tmp_path, "train.lora={r: 4, alpha: 8, dropout: 0.0}")
    AutoModelForCausalLM.from_pretrained(model(tmp_path))
    merged, base = weights(model(tmp_path)), weights(ROOT / "s1x/tiny/models/tiny-base")
    changed = {k for k in base if not (merged[k] == base[k]).all()}
    assert merged.keys() == base.keys() and changed and "model.embed_tokens.weight" not in changed
