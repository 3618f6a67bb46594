"""From configurations to engines."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from s1x.engines import build as module
from s1x.engines import vllm
from s1x.engines.build import build, context_length, needs_model
from s1x.streams.engine import Open

from . import models, tiny

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf" / "engine"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
GIVEN = {"model", "revision", "tokenizer", "stop_ids"}  # by what builds the engine
FOR_TESTS = {"scripted": {"ends", "first_id", "seed"}}


def configuration(name: str) -> dict:
    return OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))


@pytest.fixture
def model(tmp_path):
    return {"path": models.without_weights(tmp_path, vocabulary=40, padded=48, context=64), "revision": None, "tokenizer": None}


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_a_configuration_is_one_of_the_engine_and_the_other_way_round(name):
    node = configuration(name)
    known = set(inspect.signature(get_class(node["_target_"])).parameters) - GIVEN - FOR_TESTS.get(name, set())
    assert set(node) - set(module._OURS) == known and node["name"] == name


def test_server_from_its_configuration(model):
    engine = build(configuration("server") | {"version": "0.32.0"}, model)
    assert (engine.context_length, engine.capacity, engine.settings.model_id) == (64, 256, model["path"])
    assert engine.fingerprint.startswith("server-0.32/served/")
    engine.close()


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("scripted", "capacity", "abc", "a whole number"),
        ("scripted", "context_length", None, "a whole number"),
        ("scripted", "vocab", True, "a whole number"),
        ("transformers", "slots", 2.5, "a whole number"),
        ("transformers", "kv_cache_gib", [1], "a number or null"),
        ("transformers", "compile", "yes", "true or false"),
        ("vllm", "gpu_memory_utilization", "most", "a number or null"),
        ("vllm", "replicas", "two", "a whole number or null"),
        ("server", "in_flight", None, "a whole number"),
        ("server", "dtype", {"a": 1}, "text or null"),
    ],
)
def test_a_setting_of_another_type_is_a_sentence(model, name, key, value, words):
    shown = "null" if value is None else value
    for make in (build, context_length):
        with pytest.raises(ValueError) as error:
            make(configuration(name) | {key: value}, model)
        assert str(error.value) == f"engine.{key}={shown}: must be {words}"


def test_engines_that_cannot_be_made_say_why(model, monkeypatch):
    monkeypatch.setattr(vllm, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="engine=vllm needs vLLM: pip install"):
        build(configuration("vllm"), model)
    for target in ("s1x.engines.tgi.TgiEngine", "s1x.engines.vllm.Nothing", "nowhere", "", None):
        with pytest.raises(ValueError, match=f"engine._target_={target}: there is no such class"):
            build({"_target_": target}, model)
    with pytest.raises(ValueError, match="engine.slots=3: ScriptedEngine has no such setting; it has vocab, "):
        build(configuration("scripted") | {"slots": 3}, model)


def test_what_is_known_without_making_an_engine(model):
    assert [needs_model(configuration(name)) for name in ("scripted", "transformers", "vllm", "server")] == [
        False,
        True,
        True,
        True,
    ]
    assert context_length(configuration("scripted"), {"path": "nowhere", "revision": None}) == 2048
    for name in ("transformers", "vllm", "server"):
        assert context_length(configuration(name), model) == 64
        assert context_length(configuration(name) | {"max_model_len": 20}, model) == 20


def test_stop_ids_reach_whoever_wants_them(model):
    engine = build(configuration("scripted") | {"end_chance": 5000}, model, (7, 9))
    engine.open(Open((1, 2), 100, stop_ids=frozenset({7, 9})))
    ids = [i for chunks in iter(engine.poll, []) for chunk in chunks for i in chunk.ids]
    assert ids[-1] in (7, 9) and len(ids) < 50
    assert engine.fingerprint == "scripted-0-400-0-[(7, 5000), (9, 5000)]"


@pytest.mark.long
def test_an_engine_of_ones_own_is_a_class_and_a_yaml(tmp_path):
    """Nothing of s1x knows it: the YAML stands in a folder of the user's, the class where Python finds it."""
    (tmp_path / "conf" / "engine").mkdir(parents=True)
    (tmp_path / "conf" / "engine" / "parrot.yaml").write_text(
        "_target_: tests.engines.toy.Parrot\nname: parrot\nwords: 5\ncontext_length: 2048\n"
    )
    settings = (
        f"hydra.searchpath=[file://{tmp_path}/conf]", "engine=parrot", "engine.words=2", "task=tiny_math", "task.limit=2",
        f"model.path={tiny.MODEL}", f"store.dir={tmp_path}/store", "tracking=none", f"hydra.run.dir={tmp_path}/out",
    )  # fmt: skip
    done = subprocess.run([sys.executable, "run.py", *settings], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "cell.json").read_text())
    assert record["flops"] is None  # nothing is known of a model
    assert json.loads((tmp_path / "out" / "run.json").read_text())["decode_tokens"] > 0
