"""What is asked of a completions server before it writes anything: what it serves, its version, and what it can do."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from ..streams.engine import EngineError, Rows, Scoring
from ..streams.types import GREEDY, Ids
from .completions import AGAIN, EXTENSIONS, Broken, Endpoint, Refused, Served, body, plain, said, version_of
from .parts import Part
from .server import Absent
from .server_scoring import DRAWN, NAMED, Asked, Got, head_request
from .tally import Counts, Event

log = logging.getLogger(__name__)

_VERSION_S, _VERSION_BYTES = 10.0, 1 << 12  # patience with, and length of, the answer to what version a server has
Patiently = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


_NO_SUCH_PAGE = (404, 405, 501)
_HEAD_IDS = tuple(range(8))  # at which a value head is read out


class Abilities(NamedTuple):
    """What a server can do besides what it must: take priorities, score (Engine.scores), count its tokens. `served`: what it
    says of the model. `unknown`: fields of a request that it refuses. `labels`: how many a request may ask for, 0 for none.
    `writes`: False for one that reads out a value head. `top20`: whether it says the likeliest ids with what it writes."""

    served: Served
    priorities: bool
    scores: frozenset[str]
    counts: Counts = "none"
    unknown: frozenset[str] = frozenset()
    labels: int = 0
    writes: bool = True
    top20: bool = False


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: urllib would take the key along."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_Stay)


def served_version(url: str, key: str | None) -> str | None:
    """The version of the vLLM at `url` (`GET /version`); None where the server does not say.

    Raises Absent when nobody answers.
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
    raise Absent(
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

    async def two_tokens(banned: frozenset[int], top: bool = False) -> list[Event]:
        part = Part(prefix=(1,), limit=2, banned=banned, stop_ids=frozenset(), seed=None)
        asked = body(model_id, part, GREEDY, logprobs=False, priority=priority, top=top, unknown=unknown)
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
                if error.status in _NO_SUCH_PAGE:
                    return await _reads_out(endpoint, served, model_id, patiently, error)
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
    fields = plain(model_id, unknown)
    labels = await _labels(endpoint, fields, priority, tuple(sorted(ids | {0, 1})))
    prompts = await _rows(endpoint, Scoring((1, 1), (1,), "next"), fields, 0, priority)
    likeliest = prompts and await _rows(endpoint, Scoring((1, 1), (1,), "top20"), fields, 0, priority)
    scores = frozenset(kind for kind, able in (("labels", labels), ("next", prompts), ("top20", likeliest)) if able)
    top = await _tried(lambda: two_tokens(frozenset(), top=True))
    return Abilities(served, priority is not None, scores, counts, unknown, labels, top20=bool(top))


def _counts(events: list[Event]) -> Counts:
    """When a server says how many tokens it has written, by its answer to a request for two."""
    running = [event.written for event in events if event.ids]
    if None not in running and running[-1] == 2:
        return "each"
    return "end" if any(event.written == 2 for event in events) else "none"


async def _labels(endpoint: Endpoint, fields: dict[str, Any], priority: int | None, ids: Ids) -> int:
    """How many labels a request may ask for; 0 where the server cannot say how probable a label is.

    ids: two or more, the most probable among them. One that does not know the field names the token that it drew alone, if any.
    One whose numbers are no log-probabilities of the model (logits, or those behind a mask) has them add up to more than 1.
    """
    for many in (NAMED, DRAWN):
        rows = await _rows(endpoint, Scoring((1,), (1,), ids), fields, many, priority)
        if rows and sum(map(math.exp, rows.rows[0])) < 1.001:
            return many
    return 0


async def _rows(endpoint: Endpoint, scoring: Scoring, fields: dict[str, Any], labels: int, priority: int | None) -> Rows | None:
    """What a server says to a scoring. One that knows no such request ignores it, refuses or fails: None."""
    rows, asked = None, Asked(0, scoring, 1 << 30)
    for part in asked.parts(fields, labels):
        request = part.body if priority is None else part.body | {"priority": priority}
        got = await _tried(lambda: endpoint.whole(part.path, request, part.read))
        if got is None:
            return None
        rows = asked.take(part.place, got.value)
    return rows


async def _tried(question: Callable[[], Awaitable[Any]]) -> Any:
    """What a server answers to something that it may not know: None where it refuses, or fails again and again."""
    for tries in (2, 1, 0):
        try:
            return await question()
        except Refused:
            return None
        except Broken as error:
            if tries:
                await asyncio.sleep(min(error.after, 60.0))
    return None


async def _reads_out(endpoint: Endpoint, served: Served, model_id: str, patiently: Patiently, refused: Refused) -> Abilities:
    """What a server can do that writes nothing. Raises EngineError unless it reads out a value head, as it is."""

    async def outputs(activation: bool) -> list[tuple[float, ...]]:
        path, body, read = head_request(model_id, _HEAD_IDS, activation)

        def read_now(answer: dict[str, Any]) -> Got:
            try:
                return read(answer)
            except Broken as error:  # another answer than that will not come
                raise Refused(f"{error}; start it with --pooler-config.tok_pooling_type ALL") from None

        request = body if priority is None else body | {"priority": priority}
        return (await endpoint.whole(path, request, read_now)).value

    refusal = None
    for priority in (1, None):
        try:
            plain_ones = await patiently(lambda: outputs(False))
            break
        except Refused as error:
            refusal = error
    else:
        raise EngineError(
            f"engine.urls={endpoint.url}: the server does not write ({refused}), nor does it read out a value head ({refusal})."
        )
    if all(map(_probable, plain_ones)) and plain_ones == await patiently(lambda: outputs(True)):
        raise EngineError(
            f"engine.urls={endpoint.url}: the server gives no outputs of its value head but what an activation makes of them "
            "(use_activation); s1x needs one that leaves it out, such as vllm serve 0.32."
        )
    return Abilities(served, priority is not None, frozenset({"head"}), writes=False)


def _probable(row: tuple[float, ...]) -> bool:
    """Whether outputs look like probabilities."""
    return all(0 <= x <= 1 for x in row) and (len(row) == 1 or math.isclose(sum(row), 1, abs_tol=1e-3))
