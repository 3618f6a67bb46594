"""Labels and value heads over a real `vllm serve`: the numbers of the embedded engine, and whole commands."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import s1x
from s1x.engines import probing
from s1x.models.tokenizer import load_tokenizer
from s1x.scorer import Scorer, ScorerFormat
from s1x.streams.engine import EngineError, Open, Scoring
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Model, Scheduler
from s1x.streams.scores import MemoryScores, ScoreStore
from s1x.streams.types import Score
from s1x.tiny import problems

from . import tiny
from .serve import serving
from .test_reward_models import qwen_prm, qwen_rm, transformers

pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = pytest.mark.vllm

ROOT = Path(s1x.__file__).parents[1]
PRM = str(ROOT / "s1x" / "tiny" / "models" / "tiny-prm")
KEY = "a-key-for-tests-of-scores"
LABELS = (13, 15, 40)
POOLING = ("--runner", "pooling", "--served-model-name", "rm", "--pooler-config.tok_pooling_type", "ALL")


@pytest.fixture(scope="module")
def prm(tmp_path_factory):
    with serving(PRM, tmp_path_factory.mktemp("prm"), "--served-model-name", "prm", "--api-key", KEY) as url:
        yield url


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("S1X_TEST_KEY", KEY)


def server(model, url, **settings):
    from s1x.engines.server import ServerEngine

    return ServerEngine(model, urls=url, **{"in_flight": 64, "pause_s": 0.02} | settings)


def texts(n: int, seed: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Ids and positions (five each), many with a common beginning."""
    rng = random.Random(seed)
    trunk = [rng.randrange(3, 400) for _ in range(80)]
    out = []
    for _ in range(n):
        ids = (*trunk[: rng.randrange(81)], *(rng.randrange(3, 400) for _ in range(rng.randrange(5, 60))))
        out.append((ids, tuple(sorted(rng.sample(range(1, len(ids)), 5)))))
    return out


def traces(n: int, seed: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """What the tiny process reward model is made for: traces of two each that part at a wrong line, read behind each line.

    (Of other texts it may write ids of the padded vocabulary, which vLLM counts among all and transformers does not.)
    """
    strings = yaml.safe_load((ROOT / "conf" / "scorer" / "tiny_prm.yaml").read_text())
    scorer = Scorer(ScorerFormat("x", mark="\n", labels=strings["labels"]), load_tokenizer({"path": PRM}))
    rng, out, problem = random.Random(seed), [], None
    for i in range(n):
        problem = problem if i % 2 else problems.sample(rng, rng.randint(3, 6))
        values = [problems.three(v) for v in problem.values]
        lines = [f"{k + 1}:{values[k]}{s.op}{problems.three(s.x)}={values[k + 1]}" for k, s in enumerate(problem.steps)]
        if i % 2:
            lines[2] = lines[2][:-1] + str((int(lines[2][-1]) + 1) % 10)
        out.append(scorer.encode(problem.question, [*lines, f"So {problem.result}."]))
    return out


def rows_of(engine, asked, of, scores) -> list[list[tuple[float, ...]]]:
    """Every scoring through a scheduler."""
    rows: list = [None] * len(asked)
    scheduler = Scheduler(engine, MemoryStore(), others={"scorer": Model(engine, MemoryStore(), scores=scores)})

    def one(i, ids, at):
        rows[i] = yield Score(ids, at, of)

    scheduler.run(Job((i,), one(i, *each), lambda _: None) for i, each in enumerate(asked))
    return rows


def compare(engine, reference, asked, of, place, tolerance) -> None:
    """Fresh, and again from the store."""
    expected = rows_of(reference, asked, of, MemoryScores())
    for again in (False, True):
        before = engine.counters.scored
        with ScoreStore(place, engine.fingerprint) as store:
            found = rows_of(engine, asked, of, store)
        assert (engine.counters.scored == before) == again
        apart = max(
            abs(a - b) for x, y in zip(found, expected, strict=True) for p, q in zip(x, y, strict=True) for a, b in zip(p, q)
        )
        print(f"{engine.fingerprint}: {sum(map(len, found))} rows, {apart:.1e} apart")
        assert apart < tolerance
    assert sum(map(len, found)) >= 200


@pytest.mark.parametrize("named", [True, False])
def test_labels_are_those_of_the_embedded_engine(prm, tmp_path, monkeypatch, named):
    """Named in the request, and, as from servers that know no such field, drawn one by one."""
    if not named:
        monkeypatch.setattr(probing, "NAMED", 1)
    reference, asked = transformers(PRM), traces(60, seed=named)
    engine = server(PRM, [prm, prm.replace("127.0.0.1", "localhost")], model_id="prm", api_key_env="S1X_TEST_KEY")
    assert engine.scores == {"labels", "next", "top20"}
    compare(engine, reference, asked, LABELS, tmp_path, 1e-4)
    seen = {ids[:n]: n for ids, at in asked for n in at}
    assert engine.counters.scored == sum(seen.values()) * (1 if named else len(LABELS))  # each row once
    assert engine.counters.scored > engine.counters.scored_cached > 0.3 * engine.counters.scored
    assert engine.counters.decoded == engine.counters.prefill == 0
    compare(engine, reference, [(ids, at[:-1]) for ids, at in traces(60, seed=5)], "next", tmp_path, 1e-4) if named else None
    engine.close(), reference.close()


@pytest.mark.parametrize("family", [qwen_prm, pytest.param(qwen_rm, marks=pytest.mark.slow)])
def test_heads_are_those_of_the_embedded_engine(family, tmp_path):
    (tmp_path / "model").mkdir()
    path, _, _ = family(tmp_path / "model")
    reference, asked = transformers(path), texts(45, seed=3)
    with serving(path, tmp_path, *POOLING, "--api-key", KEY) as url:
        engine = server(path, url, model_id="rm", api_key_env="S1X_TEST_KEY")
        assert engine.scores == {"head"} and engine.fingerprint.startswith("server-0.32/")
        compare(engine, reference, asked, "head", tmp_path, 1e-4)
        assert engine.counters.scored <= sum(at[-1] for _, at in asked) and engine.counters.scored_cached == 0
        engine.open(Open((5, 6), 3))
        with pytest.raises(EngineError, match="there is a server that reads out a value head"):
            while engine.poll():
                pass
        engine.close()
        with pytest.raises(EngineError, match="HTTP status 401"):
            _ = server(path, url, model_id="rm").scores
        with pytest.raises(EngineError, match="serves another model; it has rm"):
            _ = server(path, url, api_key_env="S1X_TEST_KEY").scores
    reference.close()


def test_a_pooling_server_that_reads_at_its_own_marks_says_what_to_set(tmp_path):
    (tmp_path / "model").mkdir()
    path, _, _ = qwen_prm(tmp_path / "model")
    with serving(path, tmp_path, *POOLING[:4]) as url:  # vLLM's own choice for this class
        with pytest.raises(EngineError, match="outputs at 0 of 8 tokens; start it with --pooler-config.tok_pooling_type ALL"):
            _ = server(path, url, model_id="rm").scores


def test_labels_at_the_end_of_the_context(prm):
    engine = server(PRM, prm, model_id="prm", api_key_env="S1X_TEST_KEY")
    ids = tuple(3 + i % 300 for i in range(engine.context_length))
    handle = engine.score(Scoring(ids, (2, len(ids) - 1), LABELS))
    rows = [row for chunks in iter(engine.poll, []) for chunk in chunks if chunk.handle == handle for row in chunk.rows]
    assert len(rows) == 2 and all(sum(2.718281828**x for x in row) < 1 for row in rows)
    with pytest.raises(ValueError, match="a server needs room for one more"):
        engine.score(Scoring(ids, (len(ids),), LABELS))
    engine.close()


# --- whole commands ---


def command(place, name, *arguments):
    line = [
        sys.executable, "run.py", "method=best_of_n", "method.n=4", "method.vote=weighted", "scorer=tiny_prm", "task.limit=3",
        "sampling.temperature=1", "tracking=none", f"store.dir={place}/{name}-store", f"hydra.run.dir={place}/{name}",
        *arguments,
    ]  # fmt: skip
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=os.environ)


def on(urls, /, **settings):
    said = {"model_id": "prm", "api_key_env": "S1X_TEST_KEY"} | settings
    return [
        "+scorer.engine._target_=s1x.engines.server.ServerEngine", f"+scorer.engine.urls={urls}",
        *(f"+scorer.engine.{key}={value}" for key, value in said.items()),
    ]  # fmt: skip


def result(place, name):
    cell = json.loads((place / name / "cell.json").read_text())
    (samples,) = (place / name).glob("samples_*.jsonl")
    rewards = [json.loads(line) for line in samples.read_text().splitlines()]
    return cell, rewards, json.loads((place / name / "run.json").read_text())


@pytest.mark.slow
def test_a_scorer_on_servers_beside_every_kind_of_policy(prm, tmp_path):
    done = command(tmp_path, "embedded", "engine.dtype=float32")
    assert done.returncode == 0, done.stderr
    embedded, _, ran = result(tmp_path, "embedded")
    both = f"[{prm},{prm.replace('127.0.0.1', 'localhost')}]"
    for name, urls in (("one", prm), ("two", both)):
        done = command(tmp_path, name, "engine.dtype=float32", *on(urls))
        assert done.returncode == 0, done.stderr
        cell, _, run = result(tmp_path, name)
        for same in ("accuracy", "scored_tokens", "path_tokens", "flops"):
            assert cell[same] == pytest.approx(embedded[same], rel=1e-6), same
        assert run["scored_tokens"] > 0 and run["decode_tokens"] == ran["decode_tokens"]
        done = command(tmp_path, f"{name}-again", "engine.dtype=float32", *on(urls), f"store.dir={tmp_path}/{name}-store")
        assert done.returncode == 0, done.stderr
        again, _, run = result(tmp_path, f"{name}-again")
        assert run["scored_tokens"] == run["decode_tokens"] == 0 and again["scored_tokens"] == cell["scored_tokens"]
    with serving(tiny.MODEL, tmp_path, "--served-model-name", "tiny-s1") as policy:
        there = ("engine=server", f"engine.urls={policy}", "engine.model_id=tiny-s1")
        done = command(tmp_path, "both", *there, *on(prm))
        assert done.returncode == 0, done.stderr
        cell, _, run = result(tmp_path, "both")
        assert cell["scored_tokens"] > 0 and run["scored_tokens"] > 0 and run["decode_tokens"] > 0
        done = command(tmp_path, "judge", *there, "scorer=judge", 'scorer.labels=["+","-"]')  # the policy's own server
        assert done.returncode == 0, done.stderr
        assert result(tmp_path, "judge")[0]["scored_tokens"] > 0
        done = command(tmp_path, "mixed", *there)  # the policy's server, of which another model is asked
        said = f"scorer.engine.model_id={PRM}: the server at {policy} serves another model"
        assert done.returncode == 1 and said in done.stderr, done.stderr
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_id": "other"}, "scorer.engine.model_id=other: the server at .* serves another model; it has prm"),
        ({"api_key_env": "null"}, "scorer.engine.urls=.*HTTP status 401"),
        ({"urls": "http://127.0.0.1:9"}, "scorer.engine.urls=http://127.0.0.1:9: nobody answers"),
        ({"urls": "localhost:9"}, "scorer.engine.urls=localhost:9: must be one or more addresses"),
        ({"max_model_len": "4096"}, "scorer.engine.max_model_len=4096 is out of range"),
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "scorer.engine.api_key_env: no environment variable of that name"),
        ({"version": "0.31.0"}, r"scorer.engine.version=0.31.0: .* runs 0.32.* leave scorer.engine.version out"),
        ({"url": "http://a"}, "scorer.engine.url=http://a: ServerEngine has no such setting; it has model, urls"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_anything_starts(prm, tmp_path, settings, said):
    done = command(tmp_path, "wrong", *on(settings.pop("urls", prm), **settings))
    assert done.returncode in (1, 2)
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert re.search(said, line), line
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".scores", ".streams")]
    assert KEY not in done.stderr + done.stdout
