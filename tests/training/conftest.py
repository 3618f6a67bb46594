"""A small data set, the shipped tokenizer, and settings that a test changes one of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import s1x
from s1x.training.settings import Settings

from .runs import run

BASE = Path(s1x.__file__).parent / "tiny" / "models" / "tiny-base"
CONF = Path(s1x.__file__).parents[1] / "conf"


@pytest.fixture
def settings():
    """Settings of conf/train/s1.yaml with some changed: settings(epochs=1)."""

    def make(on_gpu: bool = True, **changes) -> Settings:
        plain = yaml.safe_load((CONF / "train" / "s1.yaml").read_text())
        return Settings.of(plain | {"name": "model", "learning_rate": float(plain["learning_rate"])} | changes, on_gpu)

    return make


@pytest.fixture(scope="session")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BASE)


@pytest.fixture(scope="session")
def records():
    """The first 40 records of the tiny pool, all whole."""
    from experiments.data_pipeline import pool as maker

    whole = [r for r in maker.build(seed=3, n=60) if r["thinking"].endswith(".\n")]
    return whole[:40]


@pytest.fixture(scope="session")
def four_steps(tmp_path_factory):
    """A finished training of four steps in one process: (where, what was printed)."""
    place = tmp_path_factory.mktemp("four")
    return place, run(place)
