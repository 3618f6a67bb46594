"""What is asked of a completions server before it writes anything: what it serves, its version, and what it can do."""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from ..streams.engine import EngineError
from ..streams.types import GREEDY
from .completions import AGAIN, EXTENSIONS, Broken, Endpoint, Refused, Served, body, said, scoring_body, version_of
from .parts import Part
from .tally import Counts, Event

log = logging.getLogger(__name__)

_VERSION_S, _VERSION_BYTES = 10.0, 1 << 12  # patience with, and length of, the answer to what version a server has
Patiently = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Abilities(NamedTuple):
    """What a server can do besides what it must: take priorities, return log-probabilities of prompts, count its tokens.
    `served`: what it says of the model. `unknown`: fields of a request that it refuses."""

    served: Served
    priorities: bool
    scores: bool
    counts: Counts
    unknown: frozenset[str] = frozenset()


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: urllib would take the key along."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_Stay)


def served_version(url: str, key: str | None) -> str | None:
    """The version of the vLLM at `url` (`GET /version`); None where the server does not say.

    Raises EngineError when nobody answers.
    """
    request = urllib.request.Request(f"{url}/version", headers={"Authorization": f"Bearer {key}"} if key else {})
    for pause in (0.5, 2.0, None):
        try:
            with _opener.open(request, timeout=_VERSION_S) as answer:
                return version_of(json.loads(answer.read(_VERSION_BYTES)))
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in AGAIN:
                return None
        except (ValueError, RecursionError):
            return None  # something else stands there
        except OSError:
            pass
        if pause:
            time.sleep(pause)
    raise EngineError(
        f"engine.urls={url}: nobody answers, and what is stored is found by the version of the server; start it, or say its "
        "version with engine.version=..., such as 0.32.0."
    )


async def probe(endpoint: Endpoint, model_id: str, model: str, context_length: int, patiently: Patiently) -> Abilities:
    """Find out what a server can do. `patiently` tries a question again when it breaks.

    Warns when the server says that it runs something that is not called like the configured `model`: another name for the same
    files, or the cells of another model asking the wrong server.

    Raises EngineError with one sentence when the server does not answer, serves another model, has too short a context, does
    not return token ids or cannot forbid ids.
    """

    async def two_tokens(banned: frozenset[int]) -> list[Event]:
        part = Part(prefix=(1,), limit=2, banned=banned, stop_ids=frozenset(), seed=None)
        asked = body(model_id, part, GREEDY, logprobs=False, priority=priority, unknown=unknown)
        async with aclosing(endpoint.complete(asked)) as events:
            return [event async for event in events]

    try:
        served = await patiently(lambda: endpoint.served(model_id))
        if isinstance(served, list):
            names = said(", ".join(served[:20]))
            raise EngineError(f"engine.model_id={model_id}: the server at {endpoint.url} serves another model; it has {names}.")
        served = served._replace(version=await patiently(endpoint.version))
        runs = served.root or model
        if Path(runs).name != Path(model).name:
            names = model_id, endpoint.url, runs, model
            log.warning("engine.model_id=%s: the server at %s runs %s, the configuration says model.path=%s; the same?", *names)
        if served.max_model_len is not None and served.max_model_len < context_length:
            raise EngineError(
                f"engine.max_model_len={context_length}: the server at {endpoint.url} takes {served.max_model_len} tokens at "
                f"most; set engine.max_model_len={served.max_model_len}."
            )
        events, refusal = [], None
        for priority, unknown in ((1, frozenset()), (None, frozenset()), (None, EXTENSIONS)):
            try:
                events = await patiently(lambda: two_tokens(frozenset()))
                break
            except Refused as error:
                refusal = error
        else:
            raise refusal or Refused("no request")
        if unknown:
            log.warning(
                "engine.urls=%s: the server refuses %s (%s); whatever it sets of them by itself stays set.",
                endpoint.url, ", ".join(sorted(unknown - {"continuous_usage_stats"})), refusal,
            )  # fmt: skip
        ids = {token for event in events for token in event.ids}
        if not ids:
            raise EngineError(
                f"engine.urls={endpoint.url}: the server does not return token ids (return_token_ids); "
                "s1x needs one that does, such as vllm serve from version 0.11 on."
            )
        if any(ids & set(event.ids) for event in await patiently(lambda: two_tokens(frozenset(ids)))):
            raise EngineError(f"engine.urls={endpoint.url}: the server ignores logit_bias, which s1x needs to forbid tokens.")
    except Refused as error:
        raise EngineError(f"engine.urls={endpoint.url}: the server refused a request ({error}).") from None
    if (counts := _counts(events)) == "none":
        log.warning(
            "engine.urls=%s: the server says nowhere how many tokens it has written; were some repeated or lost on their way, "
            "that would not be noticed.", endpoint.url,
        )  # fmt: skip
    return Abilities(served, priority is not None, await _scores(endpoint, model_id, priority), counts, unknown)


def _counts(events: list[Event]) -> Counts:
    """When a server says how many tokens it has written, by its answer to a request for two."""
    running = [event.written for event in events if event.ids]
    if None not in running and running[-1] == 2:
        return "each"
    return "end" if any(event.written == 2 for event in events) else "none"


async def _scores(endpoint: Endpoint, model_id: str, priority: int | None) -> bool:
    """Whether a server returns log-probabilities of prompts. One that knows no such request ignores it, refuses or fails."""
    for _ in range(3):
        try:
            await endpoint.score(scoring_body(model_id, (1, 1), None, priority))
            return True
        except Refused:
            return False
        except Broken:
            continue
    return False
