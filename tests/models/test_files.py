"""What a model's folder may look like: contexts that are scaled, weights shipped twice, tokenizers from elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from s1x.engines.build import context_length
from s1x.errors import SettingError
from s1x.models.facts import model_facts
from s1x.models.fingerprint import fingerprint
from s1x.models.tokenizer import check_ids, load_tokenizer

ROOT = Path(__file__).parents[2]
TINY = ROOT / "s1x" / "tiny" / "models" / "tiny-s1"
SIZES = {
    "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 64, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Makes a folder with these settings and weight files: name -> {tensor: elements}."""

    def make(config=None, files=None, index=None) -> str:
        path = tmp_path / f"model{len(list(tmp_path.iterdir()))}"
        path.mkdir()
        (path / "config.json").write_text(json.dumps(SIZES | {"max_position_embeddings": 512} | (config or {})))
        (path / "tokenizer.json").write_text("{}")
        for name, tensors in (files or {"model.safetensors": {"w": 10}}).items():
            (path / name).parent.mkdir(exist_ok=True)
            if name.endswith("safetensors"):
                save_file({key: np.zeros(n, "float32") for key, n in tensors.items()}, path / name)
            else:
                (path / name).write_bytes(b"x")
        if index:
            (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        return str(path)

    return make


# --- how far a model reads: what vLLM 0.32's ModelConfig says, run on these settings, but for unscaled YaRN (the docstring) ---

YARN = {"rope_type": "yarn", "factor": 4.0}
LONG = {"type": "longrope", "long_factor": [1.0] * 4, "short_factor": [1.0] * 4}


@pytest.mark.parametrize(
    ("config", "usual", "longest"),
    [
        ({}, 512, 512),
        ({"rope_scaling": None}, 512, 512),
        ({"rope_scaling": YARN}, 2048, 2048),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}}, 2048, 2048),
        ({"rope_parameters": YARN | {"rope_theta": 1e4, "original_max_position_embeddings": 512}}, 2048, 2048),
        ({"rope_parameters": YARN | {"original_max_position_embeddings": 128}}, 512, 512),  # the number is scaled already
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, 2048, 2048),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.5}}, 1280, 1280),
        ({"rope_scaling": {"type": "linear", "factor": None}}, 512, 512),
        ({"rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]}}, 512, 512),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64}}, 512, 512),
        ({"rope_scaling": LONG, "original_max_position_embeddings": 128}, 128, 512),
        ({"rope_scaling": LONG | {"original_max_position_embeddings": 128}}, 512, 512),
        ({"model_type": "gemma3_text", "rope_scaling": {"rope_type": "linear", "factor": 8.0}}, 512, 512),
        (
            {"rope_parameters": {"full_attention": YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}},
            2048,
            2048,
        ),
        ({"model_max_length": 4096}, 4096, 4096),
        ({"max_position_embeddings": None, "seq_length": 300}, 300, 300),
    ],
)
def test_context_of_scaled_positions(folder, config, usual, longest):
    path = folder(config)
    facts = model_facts(path)
    assert (facts["context_length"], facts["longest_context"]) == (usual, longest)
    model = {"path": path, "revision": None}
    assert context_length({"max_model_len": None}, model) == usual
    assert context_length({"max_model_len": 9999}, model) == longest


def test_a_text_model_inside_another_scales_its_own_positions(folder):
    text = SIZES | {"max_position_embeddings": 256, "rope_scaling": YARN}
    assert model_facts(folder({"text_config": text}))["context_length"] == 1024


def test_no_context_at_all_is_a_sentence(folder):
    with pytest.raises(ValueError, match="config.json has no max_position_embeddings"):
        model_facts(folder({"max_position_embeddings": None}))


# --- weights shipped twice ---


@pytest.mark.parametrize(
    ("files", "index", "parameters"),
    [
        ({"model.safetensors": {"a": 10}, "consolidated.safetensors": {"b": 10}}, None, 10),
        ({"model-00001-of-00002.safetensors": {"a": 6}, "model-00002-of-00002.safetensors": {"b": 4},
          "consolidated-00001-of-00001.safetensors": {"x": 10}}, None, 10),
        ({"model-00001-of-00002.safetensors": {"a": 6}, "model-00002-of-00002.safetensors": {"b": 4},
          "all.safetensors": {"a": 6, "b": 4}},
         {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}, 10),
        ({"model.safetensors": {"a": 10}, "model-00001-of-00001.safetensors": {"a": 10}}, None, 10),
        ({"model.safetensors": {"a": 10}, "pytorch_model.bin": {}, "model-q8_0.gguf": {}}, None, 10),
        ({"model.safetensors": {"a": 10}, "original/consolidated.00.safetensors": {"b": 10}}, None, 10),
        ({"model.safetensors": {"a": 10}, "adapter_model.safetensors": {"lora": 3}}, None, 10),
        ({"consolidated.safetensors": {"b": 7}}, None, 7),
        ({"one.safetensors": {"a": 10}, "copy.safetensors": {"a": 10}}, None, 10),
    ],
)  # fmt: skip
def test_weights_shipped_twice_count_once(folder, files, index, parameters):
    assert model_facts(folder(files=files, index=index))["parameters"] == parameters


def test_parts_that_are_missing_are_counted_from_the_sizes(folder):
    whole = model_facts(folder(files={"pytorch_model.bin": {}}))["parameters"]
    some = folder(
        files={"model-00001-of-00002.safetensors": {"a": 6}}, index={"a": "model-00001-of-00002.safetensors", "b": "no"}
    )
    assert model_facts(some)["parameters"] == whole > 6


# --- a revision is the model's alone ---


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub cache: org/model at two commits, acme/tok with a tokenizer and nothing else; no network."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def add(name: str, commit: str, ref: str, *files: str) -> Path:
        repo = cache / f"models--{name.replace('/', '--')}"
        (repo / "refs").mkdir(parents=True, exist_ok=True)
        (repo / "refs" / ref).write_text(commit)
        snapshot = repo / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in files:
            shutil.copy(TINY / file, snapshot / file)
        return snapshot

    add("org/model", "a" * 40, "main", "config.json", "tokenizer.json", "tokenizer_config.json")
    add("org/model", "b" * 40, "old", "config.json", "tokenizer.json", "tokenizer_config.json")
    add("acme/tok", "c" * 40, "main", "tokenizer.json", "tokenizer_config.json")
    return add


def test_a_revision_is_the_models_alone(hub):
    def key(**settings):
        return fingerprint("transformers", "org/model", dtype="float32", **settings)

    assert key(revision="old", tokenizer="acme/tok") != key(tokenizer="acme/tok")
    assert key(revision="b" * 40, tokenizer="acme/tok") == key(revision="old", tokenizer="acme/tok")
    assert key(revision="old", tokenizer="org/model") == key(revision="old")  # the same repository: one revision
    with pytest.raises(FileNotFoundError, match="^model.tokenizer=acme/none is no local folder"):
        key(tokenizer="acme/none")


def test_the_tokenizer_of_another_repository_loads_beside_a_revision(hub, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "transformers.AutoTokenizer.from_pretrained", lambda path, revision=None, **_: asked.append((str(path), revision))
    )
    for tokenizer in ("acme/tok", str(TINY), "org/model", None):
        load_tokenizer({"path": "org/model", "revision": "aaa", "tokenizer": tokenizer})
    assert asked == [("acme/tok", None), (str(TINY), None), ("org/model", "aaa"), ("org/model", "aaa")]


# --- a tokenizer that is larger than the embedding ---


def test_ids_that_the_embedding_lacks_are_named():
    check_ids("m", 402, 403)
    with pytest.raises(SettingError, match="model.path=m: its tokenizer writes id 404, and the model knows only 403"):
        check_ids("m", 404, 403)


@pytest.fixture
def larger(tmp_path):
    """tiny-s1 with a smaller embedding than its tokenizer: its last `lacking` ids have no row."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def make(lacking: int, extra: tuple[str, ...] = ()) -> Path:
        path = tmp_path / f"larger{lacking}"
        tokenizer = AutoTokenizer.from_pretrained(TINY)
        tokenizer.add_tokens(list(extra), special_tokens=True)
        model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
        model.resize_token_embeddings(max(tokenizer.get_vocab().values()) + 1 - lacking)
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    return make


def evaluate(model: Path, tmp_path: Path, *settings: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "run.py", f"model.path={model}", "task.limit=2", "method.max_thinking_tokens=8", "tracking=none"]
    return subprocess.run(
        [*command, f"store.dir={tmp_path}/store", f"hydra.run.dir={tmp_path}/out", *settings],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.long
def test_a_prompt_with_ids_the_model_lacks_is_a_sentence_before_anything_loads(larger, tmp_path):
    done = evaluate(larger(200), tmp_path)
    assert done.returncode == 2 and "its tokenizer writes id" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.long
def test_delimiters_that_the_model_lacks_are_named_too(larger, tmp_path):
    model = larger(2, ("<think>", "</think>"))
    done = evaluate(model, tmp_path, "chat=think", "chat.answer_stop=['<|im_end|>']")
    assert done.returncode == 2 and "set model.tokenizer to the one it was made with" in done.stderr, done.stderr


@pytest.mark.long
def test_added_tokens_that_nobody_writes_do_no_harm(larger, tmp_path):
    """As Gemma 3 has it: one more token in the tokenizer than rows, for pictures."""
    done = evaluate(larger(1, ("<image_soft_token>",)), tmp_path)
    assert done.returncode == 0, done.stderr
