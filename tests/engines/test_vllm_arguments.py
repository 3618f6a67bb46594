"""vLLM's own settings: which reach it, which are s1x's, which are keyed. vLLM itself is asked in test_vllm.py."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from s1x.engines import vllm_arguments
from s1x.engines.build import build
from s1x.engines.vllm_arguments import FIXED, SETTINGS, TOKENLESS, checked, keyed

from . import tiny
from .test_build import CONF, ROOT, configuration

MODEL = {"path": tiny.MODEL, "revision": None, "tokenizer": None}
FIELDS = ["model", "kv_cache_dtype", "speculative_config", "max_num_batched_tokens", "hf_overrides", "download_dir"]


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """As if a vLLM with these fields were installed: its source is read, never imported."""
    source = "class Other:\n    no: int\n\nclass EngineArgs:\n" + "".join(f"    {name}: str = 'x'\n" for name in FIELDS)
    (tmp_path / "vllm" / "engine").mkdir(parents=True)
    (tmp_path / "vllm" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "vllm" / "engine" / "arg_utils.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def engine(**settings):
    return build(configuration("vllm") | settings, MODEL)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kv_cache_dtyp": "fp8"}, "kv_cache_dtyp=fp8: the installed vLLM has no such setting; did you mean kv_cache_dtype"),
        ({"speculative": {}}, "did you mean speculative_config"),
        ({"zzz": 1}, "its EngineArgs lists them"),
        ({"no": 1}, "has no such setting"),
        ({"model": "other"}, "engine.arguments.model=other: s1x sets this itself; use model.path"),
        ({"quantization": "fp8"}, "use engine.quantization"),
        ({"tensor_parallel_size": 2}, "use engine.tensor_parallel_size"),
        ({"kv_cache_memory_bytes": 5}, "use engine.kv_cache_gib"),
        ({"enable_lora": True}, "use engine.lora"),
        ({"enable_prefix_caching": False}, r"s1x sets this itself \(.*cached\); leave it out"),
        ({"generation_config": "auto"}, "s1x sets this itself"),
        ({"hf_token": "secret"}, "a secret does not belong"),
    ],
)  # fmt: skip
def test_what_is_not_to_be_set_is_a_sentence_before_vllm_is_imported(installed, arguments, said):
    with pytest.raises(ValueError, match=said):
        engine(arguments=arguments)


def test_settings_that_are_no_mapping(installed):
    for wrong in (["kv_cache_dtype=fp8"], "fp8", 3):
        with pytest.raises(ValueError, match="engine.arguments=.*: must be settings of vLLM with their values"):
            engine(arguments=wrong)


def test_they_reach_vllm_and_the_fingerprint(installed):
    plain = engine()
    speculative = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}
    some = engine(arguments={"kv_cache_dtype": "fp8", "speculative_config": speculative})
    assert some.arguments["kv_cache_dtype"] == "fp8" and some.arguments["speculative_config"] == speculative
    assert some.fingerprint != plain.fingerprint == engine(arguments={}).fingerprint == engine(arguments=None).fingerprint
    other = engine(arguments={"speculative_config": speculative | {"num_speculative_tokens": 4}, "kv_cache_dtype": "fp8"})
    assert other.fingerprint not in (some.fingerprint, plain.fingerprint)
    same = engine(arguments={"speculative_config": dict(reversed(speculative.items())), "kv_cache_dtype": "fp8"})
    assert same.fingerprint == some.fingerprint


def test_settings_that_change_no_token_are_not_keyed(installed):
    plain = engine()
    quiet = engine(arguments={"max_num_batched_tokens": 4096, "download_dir": "/scratch"})
    assert quiet.arguments["max_num_batched_tokens"] == 4096 and quiet.fingerprint == plain.fingerprint
    assert keyed({"max_num_batched_tokens": 1, "hf_overrides": {}}) == {"hf_overrides": {}}


def test_positions_that_are_scaled_by_an_override_count(installed):
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 2048}
    assert engine(arguments={"hf_overrides": {"rope_parameters": yarn}}).context_length == 8192
    assert engine(arguments={"hf_overrides": {"rope_parameters": yarn}}, max_model_len=4096).context_length == 4096
    with pytest.raises(ValueError, match="engine.max_model_len=4096 is out of range"):
        engine(max_model_len=4096)


def test_every_setting_that_a_sentence_names_exists():
    """Fault C8: an error named engine.kv_memory_gib, which nobody has."""
    known = {key for path in CONF.glob("*.yaml") for key in configuration(path.stem)}
    assert {name.removeprefix("engine.") for name in SETTINGS.values() if name.startswith("engine.")} <= known
    for file in (ROOT / "s1x").rglob("*.py"):
        strings = [
            node.value for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)
        ]
        for name in re.findall(r"(?<![\w.])engine\.([a-z_]+)", " ".join(s for s in strings if isinstance(s, str))):
            assert name in known or name in ("py", "fingerprint") or file.name == "scripted.py", f"{file.name}: engine.{name}"


def test_the_lists_do_not_contradict_one_another():
    tokenless = [name for names in TOKENLESS.values() for name in names]
    assert len(tokenless) == len(set(tokenless))
    assert not set(tokenless) & (SETTINGS.keys() | FIXED.keys()) and not SETTINGS.keys() & FIXED.keys()
    assert {"load_format", "kv_cache_dtype", "speculative_config", "hf_overrides", "attention_backend"}.isdisjoint(tokenless)


# --- LoRA ---


def adapter(folder: Path, rank: int = 8, holds: str = "w") -> str:
    folder.mkdir()
    header = json.dumps({"__metadata__": {"of": holds}}).encode()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "peft_type": "LORA"}))
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return str(folder)


def test_an_adapter_is_keyed_by_what_it_holds(installed, tmp_path):
    one, same, other = adapter(tmp_path / "a"), adapter(tmp_path / "b"), adapter(tmp_path / "c", holds="v")
    keys = [engine(lora=lora).fingerprint for lora in (None, one, same, other)]
    assert keys[1] == keys[2] and len(set(keys)) == 3
    assert engine(lora=one).arguments["enable_lora"] is True
    assert [engine(lora=adapter(tmp_path / f"r{r}", r)).arguments["max_lora_rank"] for r in (1, 8, 12, 64)] == [8, 8, 16, 64]


def test_what_is_no_adapter_is_a_sentence(installed, tmp_path):
    (tmp_path / "empty").mkdir()
    for lora in (tmp_path / "empty", tmp_path / "nowhere", tiny.MODEL):
        with pytest.raises(ValueError, match="engine.lora=.*: must be a folder with adapter_config.json"):
            engine(lora=str(lora))
    with pytest.raises(ValueError, match="its rank is 1024; vLLM takes 512"):
        engine(lora=adapter(tmp_path / "wide", 1024))
    whole = Path(adapter(tmp_path / "cut")) / "adapter_model.safetensors"
    whole.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(ValueError, match="engine.lora=.*cut: adapter_model.safetensors is cut short"):
        engine(lora=str(whole.parent))


def test_without_vllm_there_is_nothing_to_compare_names_with(monkeypatch):
    monkeypatch.setattr(vllm_arguments, "find_spec", lambda _: None)
    assert checked({"anything": 1}) == {"anything": 1}
