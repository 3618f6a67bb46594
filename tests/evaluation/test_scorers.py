"""A reward model beside the policy in a whole run: scored once, kept, counted, shown."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import s1x
from s1x.evaluation.scorers import beside, engine_of, format_of, open_scorer
from s1x.streams.engine import EngineError

from ..engines.loopback import Loopback

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


@pytest.mark.long
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
    policy = {"_target_": "a", "name": "vllm", "dtype": None}
    assert engine_of(policy, {}) == policy
    assert engine_of(policy, {"engine": {"dtype": "float16"}}) == policy | {"dtype": "float16"}
    assert engine_of(policy, {"engine": {"_target_": "b"}}) == {"_target_": "b"}


@pytest.mark.parametrize(
    ("policy", "scorer", "both"),
    [
        (None, None, (0.6, 0.3)),
        (0.7, None, (0.7, 0.2)),
        (None, 0.25, (0.65, 0.25)),
        (0.5, 0.5, (0.5, 0.5)),
        (0.9, None, "engine.gpu_memory_utilization=0.9 and scorer.engine.gpu_memory_utilization=0:"),
        (0.9, 0.9, "engine.gpu_memory_utilization=0.9 and scorer.engine.gpu_memory_utilization=0.9:"),
        (None, 1.5, "engine.gpu_memory_utilization=-0.6"),
    ],
)
def test_two_models_share_the_memory_of_a_gpu(policy, scorer, both):
    engine = {"_target_": "a", "gpu_memory_utilization": policy}
    group = {"name": "one", "prompt": "{question}", "model": {"path": "m"}, "engine": {"gpu_memory_utilization": scorer}}
    if isinstance(both, str):
        for ask in (beside, engine_of):
            with pytest.raises(ValueError, match=re.escape(both)):
                ask(engine, group)
        return
    assert (beside(engine, group)["gpu_memory_utilization"], engine_of(engine, group)["gpu_memory_utilization"]) == both
    assert beside(engine, None) == engine
    elsewhere = group | {"engine": {"_target_": "b"}}
    assert beside(engine, elsewhere) == engine and engine_of(engine, elsewhere) == {"_target_": "b"}


def test_what_names_the_policys_weights_is_not_said_of_another_model():
    policy = {"_target_": "a", "model_id": "served", "lora": "adapter", "urls": "http://a"}
    for scorer, kept in (({"path": "one"}, True), ({"path": "two"}, False)):
        found = engine_of(policy, {"model": scorer, "engine": {"in_flight": 3}}, "one")
        assert found == {key: policy[key] for key in policy if kept or key in ("_target_", "urls")} | {"in_flight": 3}
    assert engine_of(policy, {"model": {"path": "two"}, "engine": {"model_id": "mine"}}, "one")["model_id"] == "mine"


PRM = str(Path(s1x.__file__).parent / "tiny" / "models" / "tiny-prm")
SERVED = {"vocab": 400, "context_length": 2048}
LABELS = ["+", "-"]


@pytest.mark.parametrize(
    ("labels", "abilities", "settings", "said"),
    [
        (LABELS, {}, {}, None),
        (LABELS, {"labels": "drawn"}, {}, None),
        (None, {"head": "raw"}, {}, None),
        (
            LABELS,
            {"labels": None},
            {},
            "needs probabilities of scorer.labels, and its engine says those of what is there of",
        ),
        (LABELS, {"head": "raw"}, {}, "needs probabilities of scorer.labels, and its engine says outputs of a value head of"),
        (
            None,
            {},
            {},
            r"needs outputs of a value head \(scorer.labels=null\), and its engine says probabilities of labels",
        ),
        (None, {"head": "classify"}, {}, "scorer.engine.urls=.*task token_classify"),
        (LABELS, {}, {"model_id": "x"}, "^scorer.engine.model_id=x: the server at .* serves another model"),
        (LABELS, {"key": "right"}, {}, "^scorer.engine.urls=.*401"),
        (LABELS, {}, {"max_model_len": 4096}, "^scorer.engine.max_model_len=4096 is out of range"),
        (LABELS, {}, {"urls": "nowhere"}, "^scorer.engine.urls=nowhere: must be one or more addresses"),
        (LABELS, {}, {"url": "http://a"}, "^scorer.engine.url=http://a: ServerEngine has no such setting; it has .*urls"),
        (LABELS, {}, {"version": "0.31.0"}, "^scorer.engine.version=0.31.0: .* leave scorer.engine.version out"),
    ],
)
def test_a_scorers_servers_are_asked_before_anything_starts(labels, abilities, settings, said):
    scorer = {"name": "mine", "model": {"path": PRM}, "labels": labels, "mark": "\n"}
    with Loopback(PRM, SERVED, **abilities) as server:
        scorer["engine"] = {"_target_": "s1x.engines.server.ServerEngine", "urls": server.url, "retries": 0} | settings
        if said is None:
            bound, opened = open_scorer({"name": "transformers"}, scorer, None)
            assert ("head" if bound.of == "head" else "labels") in opened.engine.scores
            opened.engine.close()
        else:
            with pytest.raises((ValueError, EngineError), match=said):
                open_scorer({"name": "transformers"}, scorer, None)
        assert not server.streams


def test_a_made_up_setting_of_a_scorer_is_named():
    with pytest.raises(ValueError, match="scorer.marks: there is no such setting"):
        format_of({"name": "x", "model": {"path": "p"}, "marks": "."})
    assert format_of({"name": "none"}) is None and format_of(None) is None


def test_settings_of_the_scorers_engine_can_be_typed():
    typed = ["scorer=tiny_prm", "method=best_of_n", "sampling.temperature=1", "plan=true"]
    for more, status in (("+scorer.engine.slots=8", 0), ("+scorer.engine={slots: 8}", 0), ("+scorer.marks=8", 2)):
        done = subprocess.run([sys.executable, "run.py", *typed, more], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
