"""Fingerprints and model facts from files alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import s1x
from s1x.models import fingerprint as module
from s1x.models.device import resolve_device, resolve_dtype
from s1x.models.facts import model_facts
from s1x.models.fingerprint import fingerprint, sha256

CONFIG = {
    "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "vocab_size": 64, "tie_word_embeddings": True, "dtype": "float32",
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def model(tmp_path):
    """A folder with real safetensors weights (random) and a tokenizer file."""
    import numpy as np
    from safetensors.numpy import save_file

    def make(name: str, seed: int = 0, **config):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(CONFIG | config))
        (folder / "tokenizer.json").write_text("{}")
        weight = np.random.default_rng(seed).normal(size=(64, 32)).astype("float32")
        save_file({"model.embed_tokens.weight": weight, "model.norm.weight": weight[0]}, folder / "model.safetensors")
        return folder

    return make


def key(folder, **settings) -> str:
    settings = {"dtype": "float32", "packages": ["transformers"]} | settings
    return fingerprint("transformers", str(folder), **settings)


def test_same_content_same_fingerprint_wherever_it_lies(model):
    assert key(model("a")) == key(model("b"))
    assert key(model("c")).startswith("transformers-5/float32/")


def test_everything_that_decides_the_tokens_is_keyed(model):
    a = model("a")
    base = key(a)
    assert key(model("weights", seed=1)) != base
    assert key(model("config", rope_theta=5.0)) != base
    assert key(a, dtype="bfloat16") != base
    assert key(a, quantization="fp8") != base
    assert fingerprint("other", str(a), dtype="float32", packages=["transformers"]) != base
    assert key(a, packages=["no-such-package", "numpy"]) not in (base, key(a, packages=[]))
    other = model("tokenizer")
    (other / "tokenizer.json").write_text('{"version": "2"}')
    assert key(other) != base
    assert key(a, tokenizer=str(other)) == key(other)


@pytest.mark.parametrize(
    ("engine", "model", "settings", "was"),
    [
        ("transformers", "tiny-s1", {"dtype": "float32"}, "transformers-5/float32/717bcf1053be56b99dd0b0eb793bbc4b"),
        ("transformers", "tiny-base", {"dtype": "bfloat16"}, "transformers-5/bfloat16/9b3c05368e56297ffdc6da253c221001"),
        ("server", "tiny-s1", {"dtype": "served"}, "server-0/served/717bcf1053be56b99dd0b0eb793bbc4b"),
        ("server", "tiny-s1", {"dtype": "float32", "quantization": "fp8"}, "server-0/float32/24ea85e97f1eda44df3827ab256fc04f"),
    ],
)
def test_what_is_stored_is_found_again(engine, model, settings, was):
    """The keys that stores hold since there are stores: a change here is the loss of every token anybody has kept."""
    packages = {"transformers": ["transformers"]}.get(engine, [])
    path = Path(s1x.__file__).parent / "tiny" / "models" / model
    assert fingerprint(engine, str(path), packages=packages, **settings) == was


def test_hashes_are_remembered_until_the_file_changes(model, monkeypatch):
    file = model("a") / "model.safetensors"
    first = sha256(file)
    with monkeypatch.context() as patch:
        patch.setattr(module.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert sha256(file) == first
    file.write_bytes(file.read_bytes() + b"\0")
    assert sha256(file) != first
    assert len(json.loads(module._cache_file().read_text())) == 1


def test_a_broken_or_unwritable_cache_is_no_obstacle(model, monkeypatch, tmp_path):
    folder = model("a")
    base = key(folder)
    module._cache_file().write_text("{torn")
    assert key(folder) == base
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert key(folder) == base


def test_facts(model):
    facts = model_facts(str(model("a")))
    expected = {
        "context_length": 128, "layers": 2, "hidden_size": 32, "heads": 4, "kv_heads": 2, "head_dim": 8, "vocab_size": 64,
        "tied_embeddings": True, "dtype": "float32", "quantization": None, "parameters": 64 * 32 + 32,
    }  # fmt: skip
    assert {k: facts[k] for k in expected} == expected


def test_counted_parameters_agree_with_the_real_model(model):
    """Without safetensors headers the sizes in config.json are counted; Qwen2's q, k, v biases are the only omission."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    for tied in (True, False):
        real = Qwen2ForCausalLM(Qwen2Config(**(CONFIG | {"tie_word_embeddings": tied}))).num_parameters()
        folder = model(f"bin{tied}", tie_word_embeddings=tied)
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        assert real - model_facts(str(folder))["parameters"] == 2 * (32 + 2 * 16)


def test_missing_things_are_one_sentence(model, tmp_path):
    folder = model("a")
    (folder / "model.safetensors").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "encoder").mkdir()
    for path, words in [
        (folder, "no weights"),
        (tmp_path / "empty", "no config.json"),
        (tmp_path / "nowhere", "does not exist"),
    ]:
        with pytest.raises(FileNotFoundError, match=words):
            key(path)
    no_decoder = model("b")
    (no_decoder / "config.json").write_text('{"model_type": "x"}')
    with pytest.raises(ValueError, match="hidden_size"):
        model_facts(str(no_decoder))


def test_hub_id_without_a_network_fails_within_seconds(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(FileNotFoundError, match="no local folder"):
        key("some-org/some-model")
    assert time.monotonic() - started < 10


def test_hub_models_are_keyed_by_commit(model, monkeypatch, tmp_path):
    """A hub cache as huggingface_hub lays it out: refs name commits, snapshots hold the small files; no weights needed."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--org--name"
    commits = {"main": "a" * 40, "v2": "b" * 40}
    (repo / "refs").mkdir(parents=True)
    for ref, commit in commits.items():
        (repo / "refs" / ref).write_text(commit)
        (repo / "snapshots" / commit).mkdir(parents=True)
        (repo / "snapshots" / commit / "config.json").write_text(json.dumps(CONFIG))
    assert key("org/name") == key("org/name", revision="main") == key("org/name", revision="a" * 40)
    assert key("org/name", revision="v2") != key("org/name")
    assert model_facts("org/name")["context_length"] == 128


def test_device_and_dtype():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda")
    assert [resolve_dtype(None, "cpu"), resolve_dtype(None, "cuda"), resolve_dtype("bf16", "cpu")] == [
        "float32", "bfloat16", "bfloat16",
    ]  # fmt: skip


def test_neither_torch_nor_transformers_is_imported(model):
    code = (
        "import sys; from s1x.engines.transformers import TransformersEngine; "
        f"TransformersEngine({str(model('a'))!r}).fingerprint; print(sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
