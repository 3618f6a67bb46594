"""bench_peers on the tiny model: both commands, the same answers."""

from __future__ import annotations

import pytest

from s1x.benches import peers

CELL = ("+experiment=bench_peers", "hydra.run.dir=out")


@pytest.mark.long
def test_both_commands_give_the_same_answers(composed, tmp_path):
    pytest.importorskip("accelerate")
    cfg = composed("+experiment=bench_peers", "task.limit=3", "method.max_tokens=400")
    (slow, theirs), (fast, ours) = (peers.timed(cfg, peer, tmp_path / peer.__name__) for peer in (peers.lm_eval, peers.s1x))
    assert theirs == ours and set(ours) == {0, 1, 2} and all(answer.isdigit() for answer, _ in ours.values())
    assert min(slow, fast) > 0


def test_a_command_that_fails_is_shown(composed, tmp_path):
    cfg = composed("+experiment=bench_peers", "model.path=nowhere")
    with pytest.raises(RuntimeError, match="ended with status"):
        peers.timed(cfg, peers.s1x, tmp_path)


def test_figures_are_medians_and_their_ratio(composed):
    answers = {0: ("7", 1.0), 1: ("8", 0.0)}
    found = {"one": answers, "other": answers | {1: ("9", 1.0)}}
    figures = peers.summarise(composed("+experiment=bench_peers"), {"one": [30.0, 10.0, 20.0], "other": [4.0, 9.0, 5.0]}, found)
    assert (figures["median_s"], figures["ratio"]) == ({"one": 20.0, "other": 5.0}, 4.0)
    assert figures["accuracy"] == {"one": 0.5, "other": 1.0} and figures["same_answers"] == 0.5
    assert figures["different"] == [{"doc_id": 1, "answers": [("8", 0.0), ("9", 1.0)]}]


@pytest.mark.parametrize(
    "override", ["sampling.temperature=1", "method.max_tokens=null", "method.thinking=true", "task.lm_eval=gsm8k"]
)
def test_cells_that_the_two_cannot_share_are_refused(command, override):
    status, said = command(*CELL, override)
    assert status == 2 and ("method=none" in said or "s1x brings" in said)
