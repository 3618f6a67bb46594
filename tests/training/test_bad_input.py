"""What a user may get wrong about a training: one sentence, exit status 2, and nothing heavy is loaded before it."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from s1x.training import extras

from .conftest import BASE

GOOD = [{"question": f"What is {i}+3?", "thinking": f"{i}+3={i + 3}\nSo {i + 3}.", "answer": str(i + 3)} for i in range(32)]
NO_FILTER = "data.quality.missing=null"


@pytest.fixture
def train(command, tmp_path, monkeypatch):
    """Trains on these records; returns the sentence it ends with. None of these mistakes needs what trains to be installed."""
    monkeypatch.setattr("s1x.training.extras.find_spec", lambda name: True)

    def call(records: list[dict], *overrides: str) -> str:
        file = tmp_path / "mine.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        status, errors = command(
            "stage=train",
            "train=tiny",
            "model=tiny_base",
            "data=local",
            "tracking=none",
            f"data.sources.local.path={file}",
            *overrides,
        )
        assert status == 2, errors
        return errors.strip().splitlines()[-1]

    return call


def without(column: str) -> list[dict]:
    return [{key: value for key, value in record.items() if key != column} for record in GOOD]


@pytest.mark.parametrize(
    ("records", "overrides", "sentence"),
    [
        (
            [],
            (),
            "data=local: there is no record to train on (0 in the pool); training needs records with the columns question, "
            "thinking, answer",
        ),
        (
            without("thinking"),
            (),
            "there is no record to train on (32 in the pool; quality: -32 missing); training needs records",
        ),
        (without("thinking"), (NO_FILTER,), "32 of 32 records have no thinking or an empty one"),
        (
            [*GOOD, GOOD[0] | {"question": "q", "thinking": "\n "}],
            (NO_FILTER,),
            "1 of 33 records have no thinking or an empty one",
        ),
        ([*GOOD, GOOD[0] | {"question": "q", "answer": None}], (NO_FILTER,), "1 of 33 records have no answer or an empty one"),
        (
            GOOD,
            ("train.device_batch_size=3",),
            "train.global_batch_size=16 is no multiple of 1 device x train.device_batch_size=3",
        ),
        (GOOD, ("distributed=zero3", "distributed.processes=3"), "is no multiple of 3 devices x train.device_batch_size=4"),
        (GOOD, ("distributed.processes=2",), "distributed=none: is for one process; choose distributed=zero3 for 2 devices"),
        (GOOD, ("distributed=zero3", "distributed.processes=1", "distributed.nodes=2"), "start the same command on each node"),
        (GOOD, ("data.sources.local.path=none.jsonl",), "data.sources.local.path=none.jsonl: there is no such file"),
        (GOOD, ("data=tiny_s2k",), "data=tiny_s2k: there is no such data; did you mean tiny_s1k?"),
        (GOOD, ("data.select.how=best",), "data.select.how=best: choose one of"),
        (GOOD, ("train.max_length=4096",), "train.max_length=4096: tiny-base has a context of 2,048 tokens"),
        (GOOD, ("train.lora={r: 4}",), "train.lora={'r': 4}: must be null or {r: 16, alpha: 32, dropout: 0.0}"),
        (GOOD, ("model.path=/nowhere",), "model.path=/nowhere does not exist"),
        (GOOD, ("train.dir=/proc/none",), "train.dir=/proc/none: "),
    ],
)
def test_it_is_one_sentence(train, records, overrides, sentence):
    assert sentence in train(records, *overrides)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("train.max_length=20",), "train.max_length=20: the prompt of record"),
        (("chat=think",), "chat=think: '</think>' is 4 tokens for this model's tokenizer; it must be one"),
    ],
)
def test_tokens_are_looked_at_before_the_model_is(train, overrides, sentence):
    assert sentence in train(GOOD, *overrides)


def test_no_space_is_said_before_anything_is_loaded(train, tmp_path):
    """A model of 64 billion parameters, as far as its header says, whose file holds nothing."""
    folder = tmp_path / "large"
    shutil.copytree(BASE, folder)
    header = json.dumps({"w": {"dtype": "F32", "shape": [250_000, 256_000], "data_offsets": [0, 0]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    sentence = train(GOOD, f"model.path={folder}")
    assert "GB are free there, and the model with two checkpoints takes about 1,792.0 GB" in sentence


def test_nothing_heavy_is_imported_for_a_sentence(tmp_path):
    code = (
        "import atexit, sys; import run\n"
        "atexit.register(lambda: print(sorted({'torch', 'transformers', 'trl', 'deepspeed', 'vllm'} & set(sys.modules))))\n"
        "sys.exit(run.main())"
    )
    words = ("stage=train", "train=tiny", "model=tiny_base", "data=tiny_s1k", "train.device_batch_size=3", "tracking=none")
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.returncode, done.stdout) == (2, "[]\n"), done.stderr


@pytest.mark.long
def test_a_missing_package_is_said_once_and_first(command, tmp_path, monkeypatch):
    monkeypatch.setattr("s1x.training.extras.find_spec", lambda name: None)
    words = ("tracking=none", "store.dir=store", "train.dir=models")
    said = "stage=train: trl is not installed; pip install -e '.[train]'\n"
    assert command("+experiment=data_ablation", *words) == (2, said)  # ten cells
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "models" / "tiny-base-mine-0123").mkdir(parents=True)
    (tmp_path / "models" / "tiny-base-mine-0123" / "DONE").touch()  # a training that is done needs none
    extras.check({"train": {"dir": str(tmp_path / "models"), "name": "tiny-base-mine"}, "distributed": None})
