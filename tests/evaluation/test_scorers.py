"""A reward model beside the policy in a whole run: scored once, kept, counted, shown."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from s1x.evaluation.scorers import engine_of, format_of

ROOT = Path(__file__).parents[2]
COMMAND = [
    "run.py", "-m", "method=best_of_n,rebase,majority_voting", "scorer=judge", 'scorer.labels=["+","-"]',
    "sampling.temperature=1", "task.limit=1", "tracking=none",
]  # fmt: skip


def run(sweep, store):
    command = [sys.executable, *COMMAND, f"store.dir={store}", f"hydra.sweep.dir={sweep}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cells = [json.loads((sweep / str(n) / "cell.json").read_text()) for n in range(3)]
    return json.loads((sweep / "run.json").read_text()), cells, json.loads((sweep / "summary.json").read_text())


def test_scores_are_kept_and_counted(tmp_path):
    first, cells, summary = run(tmp_path / "a", tmp_path / "store")
    again, same, _ = run(tmp_path / "b", tmp_path / "store")
    assert first["scored_tokens"] > 0 and first["engine_starts"] == 2
    assert again["scored_tokens"] == again["decode_tokens"] == again["engine_starts"] == 0
    best, rebase, votes = cells
    assert [c["accuracy"] for c in cells] == [c["accuracy"] for c in same]
    assert [c["scored_tokens"] for c in cells] == [c["scored_tokens"] for c in same]
    assert best["scored_tokens"] > 0 and rebase["scored_tokens"] > 0 and votes["scored_tokens"] == 0
    assert best["flops"] > 2 * 850_000 * (best["path_tokens"] + best["scored_tokens"])
    assert not any(key.startswith("scorer") for key in votes["settings"]) and best["settings"]["scorer.name"] == "judge"
    whole = {row["cell_id"]: row for row in summary["pools"] if row["k"] in (16, 64)}
    assert whole[best["cell_id"]]["reward_best"]["value"] == pytest.approx(best["accuracy"])
    assert whole[votes["cell_id"]]["reward_best"] is None
    assert len(list((tmp_path / "store").rglob("*.scores"))) == 1


def test_the_scorers_engine_is_the_policys_unless_it_says_otherwise():
    policy = {"_target_": "a", "name": "vllm", "gpu_memory_utilization": 0.9}
    assert engine_of(policy, {}) == policy
    assert engine_of(policy, {"engine": {"gpu_memory_utilization": 0.4}}) == policy | {"gpu_memory_utilization": 0.4}
    assert engine_of(policy, {"engine": {"_target_": "b"}}) == {"_target_": "b"}


def test_a_made_up_setting_of_a_scorer_is_named():
    with pytest.raises(ValueError, match="scorer.marks: there is no such setting"):
        format_of({"name": "x", "model": {"path": "p"}, "marks": "."})
    assert format_of({"name": "none"}) is None and format_of(None) is None


def test_settings_of_the_scorers_engine_can_be_typed():
    typed = ["scorer=tiny_prm", "method=best_of_n", "sampling.temperature=1", "plan=true"]
    for more, status in (("+scorer.engine.slots=8", 0), ("+scorer.engine={slots: 8}", 0), ("+scorer.marks=8", 2)):
        done = subprocess.run([sys.executable, "run.py", *typed, more], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
