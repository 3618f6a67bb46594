"""One model, saved by two ZeRO-3 ranks: transformers and vLLM load it, write the same traces and give it the same score."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed")
pytest.importorskip("deepspeed")
from .runs import TWO, run  # noqa: E402

pytestmark = [pytest.mark.vllm, pytest.mark.deepspeed]
VLLM = ("engine=vllm", "engine.max_num_seqs=16", "engine.kv_cache_gib=0.25")


def test_transformers_and_vllm_score_it_the_same(tmp_path):
    evaluated = ("stage=[train,evaluate]", *TWO, "task.limit=40", "method.max_thinking_tokens=128")
    traces = {}
    for engine, chosen in (("transformers", ()), ("vllm", VLLM)):
        output = run(tmp_path, *evaluated, *chosen, f"hydra.run.dir={tmp_path / engine}")
        assert ("trained already" in output) == (engine == "vllm")
        traces[engine] = samples(tmp_path / engine)
    ours, theirs = traces["transformers"], traces["vllm"]
    assert len(ours) == 40 and ours.keys() == theirs.keys()
    assert [cell["accuracy"] for cell in cells(tmp_path)] == [cells(tmp_path)[0]["accuracy"]] * 2
    same = sum(ours[question] == theirs[question] for question in ours)
    assert same >= 38, f"{same} of 40 traces are the same"  # near ties may fall differently


def samples(directory: Path) -> dict[int, list]:
    """Question number -> the ids of its trace by segment."""
    (file,) = directory.glob("samples_*.jsonl")
    rows = map(json.loads, file.read_text().splitlines())
    return {row["doc_id"]: [(segment["kind"], segment["ids"]) for segment in row["segments"]] for row in rows}


def cells(place: Path) -> list[dict]:
    return [json.loads((place / engine / "cell.json").read_text()) for engine in ("transformers", "vllm")]
