"""Labels and value heads over servers: what they say, what they cannot say, and faults in between (a loopback server)."""

from __future__ import annotations

import json
import random

import pytest

from s1x.engines import probing
from s1x.engines.scripted import ScriptedEngine
from s1x.engines.server import Absent
from s1x.streams.engine import EngineError, Open, Scoring
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Model, Scheduler
from s1x.streams.scores import ScoreStore
from s1x.streams.types import Score

from ..methods.conftest import CONTEXT
from . import proxy
from .loopback import RARE, Loopback
from .test_scoring import answers_by_row
from .test_server import PROBED, SETTINGS, connect, model  # noqa: F401

LABELS = (7, 5, 30)


def texts(n: int, seed: int = 0) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Ids and positions, many with a common beginning."""
    rng = random.Random(seed)
    trunk = [rng.randrange(2, 90) for _ in range(30)]
    out = []
    for _ in range(n):
        ids = (*trunk[: rng.randrange(30)], *(rng.randrange(2, 90) for _ in range(rng.randrange(5, 40))))
        out.append((ids, tuple(sorted(rng.sample(range(1, len(ids) + 1), 4)))))
    return out


def expected(ids, at, of):
    rows = ScriptedEngine(**SETTINGS).rows(Scoring(ids, at, of))
    return [tuple(x - RARE * (of != "head") for x in row) for row in rows]


def agree(engine, asked, of) -> None:
    handles = {engine.score(Scoring(ids, at, of)): (ids, at) for ids, at in asked}
    found = answers_by_row(engine)
    for handle, (ids, at) in handles.items():
        assert found[handle] == expected(ids, at, of)


@pytest.mark.parametrize(("labels", "of"), [("named", LABELS), ("drawn", LABELS), ("named", (7, 5, 7)), ("drawn", (9, 9))])
def test_labels_are_those_of_the_model(model, labels, of):  # noqa: F811
    asked = texts(25)
    with Loopback(model, SETTINGS, labels=labels) as server:
        engine = connect(model, server.url)
        assert engine.scores == {"labels", "next", "top20"}
        agree(engine, asked, of)
        engine.close()
    each = 1 if labels == "named" else len(set(of))  # requests for a row
    assert len(server.streams) == 100 * each
    assert engine.counters.scored == each * sum(n for _, at in asked for n in at)
    assert engine.counters.scored_cached == 100 * each and engine.counters.decoded == engine.counters.prefill == 0
    assert all(r["max_tokens"] == 1 and r["temperature"] == 0 and r["ignore_eos"] for r in server.requests if "stream" not in r)


def test_more_labels_than_a_request_may_name(model):  # noqa: F811
    of = tuple(range(2, 2 + 60)) * 5 + tuple(range(80, 290))  # 270 different ones
    with Loopback(model, SETTINGS, labels="named") as server:
        engine = connect(model, server.url)
        engine.padded = range(1000, 1000)
        agree(engine, texts(3), of)
        engine.close()
    assert len(server.streams) == 3 * 4 * 3 and max(len(r["logprob_token_ids"]) for r in server.streams) == 128


def test_a_value_head_is_read_in_one_request(model):  # noqa: F811
    asked = texts(25)
    with Loopback(model, SETTINGS, head="raw") as server:
        engine = connect(model, server.url)
        assert engine.scores == {"head"}
        agree(engine, asked, "head")
        assert engine.counters.scored == sum(at[-1] for _, at in asked) and len(server.streams) == 25
        assert not any(r["use_activation"] for r in server.streams)
        engine.open(Open((5, 6), 3))
        with pytest.raises(EngineError, match="tokens are to be written, and there is a server that reads out a value head"):
            while engine.poll():
                pass
        engine.close()


CANNOT = [
    ({"labels": None}, {"next", "top20"}),
    ({"labels": "logits"}, {"next", "top20"}),  # numbers that are no log-probabilities
    ({"labels": "masked"}, {"next", "top20"}),  # those behind the mask
    ({"labels": None, "scores_prompts": False}, set()),
    ({"scores_prompts": False}, {"labels"}),
    ({"labels": "drawn", "refuses": ("logprob_token_ids",)}, {"labels", "next", "top20"}),
    ({"labels": "drawn", "refuses": ("watermarking", "min_p")}, {"labels", "next", "top20"}),
    ({"refuses": ("logprob_token_ids", "allowed_token_ids")}, {"next", "top20"}),
    ({"top": 5}, {"labels", "next"}),
    ({"top": "few"}, {"labels", "next"}),
    ({"head": "classify"}, "HTTP status 404.*nor does it read out a value head .*--pooler-config.task token_classify"),
    ({"head": "steps"}, "outputs at 3 of 8 tokens; start it with --pooler-config.tok_pooling_type ALL"),
    ({"head": "activated"}, "no outputs of its value head but what an activation makes of them"),
    ({"head": "raw", "takes_priority": False}, {"head"}),
]


@pytest.mark.parametrize(("abilities", "said"), CANNOT)
def test_what_a_server_can_score_is_known_before_anything_is_asked_of_it(model, abilities, said):  # noqa: F811
    with Loopback(model, SETTINGS, **abilities) as server:
        engine = connect(model, server.url, retries=0)
        if isinstance(said, str):
            with pytest.raises(EngineError, match=said):
                _ = engine.scores
        else:
            assert engine.scores == said
            for kind in {"labels", "next", "head"} - said:
                with pytest.raises(ValueError, match=f'Scoring.of="{kind}": this engine scores'):
                    engine.score(Scoring((5, 6, 7), (1,), LABELS if kind == "labels" else kind))
        engine.close()
        assert not server.streams


def test_several_servers_can_what_all_of_them_can(model):  # noqa: F811
    asked = texts(30)
    with Loopback(model, SETTINGS) as one, Loopback(model, SETTINGS, labels="drawn") as two:
        engine = connect(model, [one.url, two.url])
        agree(engine, asked, LABELS)
        engine.close()
        homes = [{len(r["prompt"]) for r in server.streams} for server in (one, two)]
        assert min(len(server.streams) for server in (one, two)) > 60 and all(homes)
        with Loopback(model, SETTINGS, labels=None) as three, Loopback(model, SETTINGS, head="raw") as four:
            for other, scores in ((three, {"next", "top20"}), (four, set())):
                engine = connect(model, [one.url, other.url])
                assert engine.scores == scores
                engine.close()


def test_the_requests_of_a_scoring_stay_together(model):  # noqa: F811
    with Loopback(model, SETTINGS) as one, Loopback(model, SETTINGS) as two:
        engine = connect(model, [one.url, two.url])
        ids = tuple(range(2, 42))
        agree(engine, [((9 + i, *ids), tuple(range(1, 41))) for i in range(4)], LABELS)
        engine.close()
    first = [{r["prompt"][0] for r in server.streams} for server in (one, two)]
    assert [len(mine) for mine in first] == [2, 2] and not first[0] & first[1]


def test_a_server_that_goes_down_leaves_its_scorings_to_the_others(model):  # noqa: F811
    with Loopback(model, SETTINGS) as one, Loopback(model, SETTINGS) as two:
        with proxy.FaultyProxy(two.url, [*PROBED[1:], None, None, *["lost"] * 10_000]) as between:
            engine = connect(model, [one.url, between.url])
            agree(engine, texts(20), LABELS)
            engine.close()
    assert between.happened["lost"] > 0


# --- faults ---


class Spoilt(Loopback):
    """`spoil(answer)` makes of the answer to a scoring what is sent, in `turns` of every four; probes are answered rightly."""

    def __init__(self, model_id, spoil, turns=4, **settings):
        super().__init__(model_id, SETTINGS, **settings)
        self.spoil, self.turns, self.spoilt = spoil, turns, 0

    def complete(self, handler):
        self.handler = handler
        super().complete(handler)

    def answer(self, handler, status, value):
        body = self.requests[-1] if self.requests else {}
        if handler.command == "POST" and body in self.streams and len(self.streams) % 4 < self.turns:
            self.spoilt += 1
            status, value = self.spoil(value)
            if status is None:
                handler.close_connection = True
                return
        super().answer(handler, status, value)


def first(answer) -> dict:
    return answer["choices"][0]["logprobs"] if "choices" in answer else answer["data"][0]


def missing(answer):
    if "choices" in answer:
        del first(answer)["top_logprobs"][0]["token_id:5"]
    else:
        del first(answer)["data"]
    return 200, answer


def short(answer):
    key = "top_logprobs" if "choices" in answer else "data"
    first(answer)[key] = first(answer)[key][:-1]
    return 200, answer


def numberless(answer):
    if "choices" in answer:
        first(answer)["top_logprobs"][0]["token_id:5"] = float("nan")
    else:
        first(answer)["data"][0] = [float("nan"), 1.0]
    return 200, answer


def positive(answer):
    if "choices" in answer:
        first(answer)["top_logprobs"][0]["token_id:5"] = 3.5
    else:
        first(answer)["data"][0] = ["x"]
    return 200, answer


FAULTS = {
    "missing": missing, "short": short, "no numbers": numberless, "no log-probabilities": positive,
    "nothing": lambda answer: (200, {}), "a list": lambda answer: (200, [answer]), "500": lambda answer: (500, {}),
    "429": lambda answer: (429, {}), "hung up": lambda answer: (None, None),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("settings", [{"labels": "named"}, {"head": "raw"}], ids=["labels", "head"])
def test_faults_change_no_row(model, fault, settings):  # noqa: F811
    of = "head" if "head" in settings else LABELS
    with Spoilt(model, FAULTS[fault], turns=2, **settings) as server:
        engine = connect(model, server.url, in_flight=1, retries=6)
        agree(engine, texts(3), of)
        engine.close()
        assert server.spoilt > (2 if of == "head" else 4)
    with Spoilt(model, FAULTS[fault], **settings) as server:
        engine = connect(model, server.url, retries=1)
        engine.score(Scoring((5, 6, 7), (1, 3), of))
        with pytest.raises(EngineError, match=f"engine.urls={server.url}: 2 tries in a row failed, the last with: ") as error:
            while engine.poll():
                pass
        assert "\n" not in str(error.value)
        engine.close()


def test_a_refusal_is_said_at_once(model):  # noqa: F811
    with Spoilt(model, lambda answer: (400, {"error": {"message": "no more of that"}})) as server:
        engine = connect(model, server.url)
        engine.score(Scoring((5, 6, 7), (3,), LABELS))
        with pytest.raises(EngineError, match=r"the server refused a request \(HTTP status 400: no more of that\)"):
            while engine.poll():
                pass
        engine.close()
        assert len(server.streams) == 1


def test_cancelled_scorings_say_no_more(model):  # noqa: F811
    with Loopback(model, SETTINGS) as server:
        engine = connect(model, server.url, in_flight=2)
        handles = [engine.score(Scoring(ids, at, LABELS)) for ids, at in texts(20)]
        engine.poll()
        for handle in handles[1:]:
            engine.cancel(handle)
        found = answers_by_row(engine)
        assert set(found) <= set(handles) and len(server.streams) < 70
        engine.close()


# --- with a store ---


def scored(model, url, place, asked, of, **settings):  # noqa: F811
    """The rows of every scoring through a scheduler with a store, and the engine."""
    engine = connect(model, url, **settings)
    store = ScoreStore(place, engine.fingerprint)
    policy = ScriptedEngine(**SETTINGS)
    scheduler = Scheduler(policy, MemoryStore(), others={"scorer": Model(engine, MemoryStore(), scores=store)})
    rows, errors = [None] * len(asked), {}

    def one(i, ids, at):
        rows[i] = yield Score(ids, at, of)

    scheduler.run(
        Job((i,), one(i, ids, at), lambda _: None, lambda error, i=i: errors.__setitem__(i, error))
        for i, (ids, at) in enumerate(asked)
    )
    store.close()
    engine.close()
    return rows, errors, engine


@pytest.mark.parametrize("of", [LABELS, "head"])
def test_rows_are_kept_and_asked_for_once(model, tmp_path, monkeypatch, of):  # noqa: F811
    monkeypatch.setattr(probing.time, "sleep", lambda seconds: None)
    settings, asked = ({"head": "raw"} if of == "head" else {}), texts(50)
    with Loopback(model, SETTINGS, **settings) as server:
        rows, errors, engine = scored(model, server.url, tmp_path, asked, of)
        assert not errors and engine.counters.scored > 0
        for (ids, at), mine in zip(asked, rows, strict=True):
            assert mine == [pytest.approx(row, abs=1e-6) for row in expected(ids, at, of)]  # float32
        before = len(server.streams)
        again, errors, engine = scored(model, server.url, tmp_path, asked, of)
        assert again == rows and engine.counters.scored == 0 and len(server.streams) == before and not errors
    again, errors, engine = scored(model, "http://127.0.0.1:9", tmp_path, asked, of, version="0.32.0")
    assert again == rows and not errors  # nobody is there, and nobody is needed


def test_nobody_there_and_something_missing(model, caplog, monkeypatch):  # noqa: F811
    waits = []
    monkeypatch.setattr(probing.time, "sleep", waits.append)
    engine = connect(model, "http://127.0.0.1:9", version="0.32.0", retries=0)
    assert engine.scores == {"labels", "next", "head", "top20"} and "nobody answers" in caplog.text
    assert engine.scores and waits == [0.5, 2.0]  # asked once
    engine.score(Scoring((5, 6), (1,), LABELS))
    with pytest.raises(Absent, match="engine.urls=http://127.0.0.1:9: nobody answers"):
        engine.poll()
    with pytest.raises(Absent, match="nobody answers"):
        _ = connect(model, "http://127.0.0.1:9").fingerprint


def test_no_room_for_a_label_costs_its_own_question_alone(model, tmp_path):  # noqa: F811
    asked = [((3,) * CONTEXT, (CONTEXT,)), *texts(3), ((4,) * (CONTEXT - 1), (5, CONTEXT - 1))]
    with Loopback(model, SETTINGS) as server:
        rows, errors, _ = scored(model, server.url, tmp_path, asked, LABELS)
    assert list(errors) == [0] and f"labels after {CONTEXT} tokens: a server needs room for one more" in str(errors[0])
    assert rows[0] is None and all(rows[1:])


def test_the_key_reaches_the_server_and_nothing_else(model, tmp_path, monkeypatch, caplog):  # noqa: F811
    caplog.set_level("DEBUG")
    monkeypatch.setenv("OUR_KEY", "s3cret-key")
    for settings, of in (({}, LABELS), ({"head": "raw"}, "head")):
        with Loopback(model, SETTINGS, key="s3cret-key", **settings) as server:
            scored(model, server.url, tmp_path, texts(3), of, api_key_env="OUR_KEY")
            assert server.streams and "s3cret-key" not in json.dumps(server.requests)
    assert "s3cret-key" not in caplog.text
    assert not any(b"s3cret-key" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with Loopback(model, SETTINGS, key="another") as server:
        with pytest.raises(EngineError, match="401") as refused:
            _ = connect(model, server.url, api_key_env="OUR_KEY").scores
        assert "s3cret-key" not in str(refused.value) and not server.streams
