"""compat=s1: one choice for what s1's code does, also in float32 (all 51 of its evaluation commands say so)."""

from __future__ import annotations

from pathlib import Path

import pytest

from s1x.cell import Cell
from s1x.config import validate
from s1x.errors import SettingError
from s1x.evaluation.naming import facts, identity, method_of
from s1x.hints import unknown


@pytest.mark.parametrize("method", ["budget_forcing", "step_conditional", "step_conditional_forced"])
@pytest.mark.parametrize("engine", ["transformers", "vllm", "server"])
def test_it_sets_method_report_and_dtype(composed, method, engine):
    plain, s1 = (composed(f"method={method}", f"engine={engine}", *more) for more in ((), ("compat=s1",)))
    assert (plain.method.compat, plain.report.compat, plain.engine.dtype) == (None, None, None)
    assert (s1.method.compat, s1.report.compat, s1.engine.dtype) == ("s1", "s1", "float32")


def test_methods_that_know_no_compat_and_methods_within_others(composed):
    validate(composed("compat=s1", "method=majority_voting", "sampling.temperature=1", "method.n=4"))
    inner = composed("compat=s1", "method=token_conditional_forced").method.inner
    assert inner.compat == "s1" and "compat" not in composed("compat=s1", "method=none").method


def test_what_is_typed_beside_it_wins(composed):
    cfg = composed("compat=s1", "engine.dtype=bfloat16", "method.compat=null", "report.compat=paper")
    assert (cfg.engine.dtype, cfg.method.compat, cfg.report.compat) == ("bfloat16", None, "paper")


@pytest.mark.parametrize("more", [(), ("method=none",), ("engine.vocab=300",)])
def test_an_engine_without_a_dtype_is_refused_by_the_name_of_what_was_typed(composed, more):
    with pytest.raises(SettingError, match="^compat=s1: it computes in float32, and engine=scripted has no dtype to set"):
        validate(composed("compat=s1", "engine=scripted", *more))
    validate(composed("compat=paper", "engine=scripted"))
    validate(composed("method.compat=s1", "report.compat=s1", "engine=scripted"))


def test_the_papers_scale_is_bfloat16_and_s1s_float32(composed):
    from s1x.models.device import resolve_dtype

    assert resolve_dtype(composed("scale=paper").engine.dtype, "cuda") == "bfloat16"
    assert resolve_dtype(composed("scale=paper", "compat=s1").engine.dtype, "cuda") == "float32"


def name(cfg) -> str:
    return identity(Cell(cfg, Path(), Path(), 0, []))["cell_id"]


def test_cells_of_other_dtypes_or_arguments_have_other_names(composed):
    """Batch sizes and devices change none; what changes tokens does, and what was called something keeps its name."""
    plain = composed("engine=vllm", "method=none")
    others = [
        composed("engine=vllm", "method=none", *more)
        for more in (
            ("compat=s1",),
            ("engine.quantization=fp8",),
            ("+engine.arguments.kv_cache_dtype=fp8",),
            ("engine.lora=x",),
        )
    ]
    assert len({name(plain), *map(name, others)}) == 5
    for same in (
        "engine.max_num_seqs=8",
        "engine.tensor_parallel_size=2",
        "engine.arguments={}",
        "compat=paper",
        "engine.replicas=2",
    ):
        assert name(composed("engine=vllm", "method=none", same)) == name(plain)
    assert facts(method_of(plain)).name == "none"


def test_a_setting_below_an_empty_one_is_written_with_a_plus(composed):
    cfg = composed("engine=vllm")
    assert unknown("engine.arguments.kv_cache_dtype", cfg).endswith("write +engine.arguments.kv_cache_dtype=...")
    assert unknown("engine.argument", cfg).endswith("did you mean engine.arguments?")
