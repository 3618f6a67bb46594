"""Weights that are cut short, pointers, or not there: one sentence before anything is loaded or generated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from s1x.engines import vllm
from s1x.engines.server import ServerEngine
from s1x.engines.transformers import TransformersEngine
from s1x.models.weights import check_weights, header

TINY = Path(__file__).parents[2] / "s1x" / "tiny" / "models" / "tiny-s1"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 5000\n"


@pytest.fixture
def model(tmp_path):
    """A copy of the tiny model, in two safetensors files with an index when `parts`, or as pickled weights."""

    def make(kind: str = "whole") -> Path:
        folder = tmp_path / "model"
        shutil.copytree(TINY, folder)
        if kind == "whole":
            return folder
        (source,) = folder.glob("*.safetensors")
        if kind == "pickled":
            import torch
            from safetensors.torch import load_file as load

            torch.save(load(source), folder / "pytorch_model.bin")
        else:
            tensors = sorted(load_file(source).items())
            halves = {"model-00001-of-00002.safetensors": tensors[::2], "model-00002-of-00002.safetensors": tensors[1::2]}
            for name, half in halves.items():
                save_file(dict(half), folder / name, metadata={"format": "pt"})
            index = {"metadata": {}, "weight_map": {key: name for name, half in halves.items() for key, _ in half}}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        source.unlink()
        return folder

    return make


def spoil(file: Path, how: str) -> None:
    data = file.read_bytes()
    spoilt = {
        "no byte": b"",
        "four bytes": data[:4],
        "half a header": data[:300],
        "half": data[: len(data) // 2],
        "a byte less": data[:-1],
        "a byte more": data + b"x",
        "pointer": POINTER,
        "page": b"<!doctype html><html><head><title>404</title></head><body>Not found</body></html>" * 20,
        "nested": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    }
    file.write_bytes(spoilt[how])


FAULTS = {
    "no byte": "is cut short (0 bytes)",
    "four bytes": "is cut short (4 bytes)",
    "half a header": "is cut short (300 bytes)",
    "half": "is cut short: it has",
    "a byte less": "is cut short: it has",
    "a byte more": "is damaged: it has",
    "pointer": "is a Git LFS pointer in place of the weights; run git lfs pull there",
    "page": "is no safetensors file",
    "nested": "is no safetensors file",
}


@pytest.mark.parametrize("how", FAULTS)
def test_a_damaged_file_is_named(model, how):
    file = model() / "model.safetensors"
    check_weights(str(file.parent))
    spoil(file, how)
    with pytest.raises(ValueError) as error:
        check_weights(str(file.parent))
    said = str(error.value)
    assert said.startswith(f"model.path={file.parent}: model.safetensors {FAULTS[how]}") and "\n" not in said, said
    assert said.endswith("copy or download it again") and len(said) < 300


@pytest.mark.parametrize("how", ["half", "pointer", "missing", "index", "index of nothing"])
def test_a_part_that_is_damaged_or_missing_is_named(model, how):
    folder = model("parts")
    check_weights(str(folder))
    second, index = folder / "model-00002-of-00002.safetensors", folder / "model.safetensors.index.json"
    if how == "missing":
        second.unlink()
        said = "model.safetensors.index.json names model-00002-of-00002.safetensors, which cannot be found"
    elif how == "index":
        index.write_text('{"weight_map": {')
        said = "model.safetensors.index.json is damaged"
    elif how == "index of nothing":
        index.write_text('{"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors", "c": "x-3.safetensors"}}')
        said = "names x-1.safetensors and 2 more, which cannot be found"
    else:
        spoil(second, how)
        said = f"model-00002-of-00002.safetensors {FAULTS[how]}"
    with pytest.raises(ValueError, match="model.path=") as error:
        check_weights(str(folder))
    assert said in str(error.value)


@pytest.mark.parametrize("how", ["half", "a byte less", "pointer", "page", "no byte"])
def test_pickled_weights_too(model, how):
    folder = model("pickled")
    check_weights(str(folder))
    spoil(folder / "pytorch_model.bin", how)
    with pytest.raises(
        ValueError, match=r"model.path=.*: pytorch_model.bin is (cut short|a Git LFS pointer|no file of weights)"
    ):
        check_weights(str(folder))


def test_weights_of_other_names_and_what_is_not_loaded(model):
    folder = model()
    (folder / "consolidated.safetensors").write_bytes(POINTER)  # a copy that nobody loads
    (folder / "pytorch_model.bin").write_bytes(b"")
    check_weights(str(folder))
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    check_weights(str(folder))
    spoil(folder / "weights.safetensors", "a byte less")
    with pytest.raises(ValueError, match="weights.safetensors is cut short"):
        check_weights(str(folder))


def test_only_headers_are_read(tmp_path):
    """A file of a tebibyte, of which the disk has a page."""
    values = {"w": {"dtype": "U8", "shape": [1 << 40], "data_offsets": [0, 1 << 40]}}
    head = json.dumps(values).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(head).to_bytes(8, "little") + head)
    with pytest.raises(ValueError, match="cut short: it has .* speaks of 1,099,511,627"):
        header(file)
    with file.open("r+b") as opened:
        opened.truncate(8 + len(head) + (1 << 40))
    assert header(file) == values


@pytest.mark.parametrize("how", ["half", "pointer"])
def test_engines_say_it_before_they_load_and_a_server_needs_no_weights(model, how, monkeypatch):
    monkeypatch.setattr(vllm, "find_spec", lambda _: True)
    folder = model()
    whole = TransformersEngine(str(folder)).facts["parameters"]
    spoil(folder / "model.safetensors", how)
    for engine in (TransformersEngine, vllm.VllmEngine):
        with pytest.raises(ValueError, match="model.path=.*: model.safetensors is"):
            engine(str(folder))
    served = ServerEngine(str(folder), urls="http://127.0.0.1:9")
    assert 0.5 < served.facts["parameters"] / whole < 2  # from its sizes


@pytest.mark.parametrize("how", ["a byte less", "pointer"])
def test_a_whole_command_says_it_first(command, model, how, tmp_path):
    folder = model()
    spoil(folder / "model.safetensors", how)
    settings = (f"model.path={folder}", "model.name=mine", "tracking=none", "task.limit=2", "store.dir=store")
    for kind in (("hydra.run.dir=out",), ("-m", "seed=0,1", "hydra.sweep.dir=swept")):
        status, said = command(*kind, *settings)
        assert status in (1, 2) and "Traceback" not in said and FAULTS[how] in said, said
    assert not list((tmp_path / "store").glob("*/*.streams"))


def test_numbers_of_a_header_are_those_of_the_library(model):
    file = model() / "model.safetensors"
    found = {name: tuple(tensor["shape"]) for name, tensor in header(file).items()}
    assert found == {name: value.shape for name, value in load_file(file).items()} and np.prod(list(found.values())[0]) > 1
