"""Forty servers that do what servers should not: right tokens or one sentence, and never a wait without end."""

from __future__ import annotations

import threading
import time

import pytest

from s1x.engines.scripted import ScriptedEngine
from s1x.streams.engine import EngineError, Open
from s1x.streams.types import Sampling

from ..engines.test_server import SETTINGS, connect, model, write  # noqa: F401
from .servers import FAULTS, Fault, Faulty

pytestmark = pytest.mark.campaign
REQUESTS = [Open((i, 1), 30) for i in range(18)] + [Open((i, 2), 30, Sampling(1.0, noise=i), logprobs=True) for i in range(6)]
SECONDS = 90  # a fault that takes longer is a hang
PATIENCE = {"in_flight": 8, "first_token_s": 2, "between_tokens_s": 1, "retries": 12}


def test_forty_faults(model, count):  # noqa: F811
    tally, expected = count("server faults"), write(ScriptedEngine(**SETTINGS), REQUESTS)
    for fault in FAULTS:
        tally.trial(fault.name, **_try(model, fault, expected))
    tally.check(40)


def _try(model_id: str, fault: Fault, expected: list[list[int]]) -> dict[str, str | None]:
    told: dict[str, str | None] = {}
    with Faulty(model_id, fault) as server:
        thread = threading.Thread(target=lambda: told.update(_ask(model_id, server.url, fault, expected)), daemon=True)
        thread.start()
        thread.join(SECONDS)
        if not server.happened:
            told["other"] = "it never happened"
    return {"hang": f"no end within {SECONDS} s"} if thread.is_alive() else told


def _ask(model_id: str, url: str, fault: Fault, expected: list[list[int]]) -> dict[str, str | None]:
    engine, began = None, time.monotonic()
    try:
        engine = connect(model_id, url, **PATIENCE)
        written = write(engine, REQUESTS)
    except EngineError as error:
        said = str(error)
        if fault.ends == "tokens" or fault.ends not in said:
            return {"other": f"a sentence after {time.monotonic() - began:.0f} s: {said[:500]}"}
        return {"other": None if len(said) < 600 and said.isprintable() else f"the sentence: {said[:2000]!r}"}
    except Exception as error:
        return {"traceback": f"{type(error).__name__}: {error}"}
    finally:
        if engine is not None:
            engine.close()
    if fault.ends != "tokens":
        return {"other": "it was used as if nothing were wrong"}
    greedy = sum(a != b for a, b in zip(written[:18], expected[:18], strict=True))
    short = sum(len(ids) != 30 for ids in written[18:])  # sampled streams go on under noise of their own when they break
    return {"wrong": f"{greedy} of 18 streams hold other tokens, {short} of 6 are too short" if greedy or short else None}
