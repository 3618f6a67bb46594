"""From configurations to engines."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from s1x.engines import vllm
from s1x.engines.build import build
from s1x.engines.server import ServerEngine
from s1x.engines.transformers import TransformersEngine

from . import models

CONF = Path(__file__).parents[2] / "conf" / "engine"
CLASSES = {"transformers": TransformersEngine, "vllm": vllm.VllmEngine, "server": ServerEngine}


@pytest.fixture
def model(tmp_path):
    return {"path": models.without_weights(tmp_path, vocabulary=40, padded=48, context=64), "revision": None, "tokenizer": None}


@pytest.mark.parametrize("name", CLASSES)
def test_every_setting_of_a_configuration_is_one_of_the_engine(name):
    settings = set(OmegaConf.load(CONF / f"{name}.yaml")) - {"name", "replicas"}
    known = set(inspect.signature(CLASSES[name]).parameters) - {"model", "revision", "tokenizer"}
    assert settings <= known
    assert known - settings <= {"kv_memory_gib"}


def test_server_from_its_configuration(model):
    engine = build(OmegaConf.to_container(OmegaConf.load(CONF / "server.yaml")), model)
    assert (engine.context_length, engine.capacity, engine.model_id) == (64, 256, model["path"])
    assert engine.fingerprint.startswith("server-0/served/")
    engine.close()


def test_engines_that_cannot_be_made_say_why(model, monkeypatch):
    monkeypatch.setattr(vllm, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="engine=vllm needs vLLM: pip install"):
        build(OmegaConf.to_container(OmegaConf.load(CONF / "vllm.yaml")), model)
    with pytest.raises(ValueError, match="engine=tgi: there is no such engine; choose one of transformers, vllm, server"):
        build({"name": "tgi"}, model)
