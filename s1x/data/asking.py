"""Asking a model behind an OpenAI-compatible endpoint many questions, each at most once: replies are kept in a file.

Used to classify domains and to judge attempts; `vllm serve` and hosted services speak the same protocol.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingError, no_key
from ..files import checked_line, whole_lines

GIVE_UP = 8  # questions that failed for good before the others are not asked


@dataclass(frozen=True)
class Server:
    """`url` ends before /chat/completions; `api_key_env` names the environment variable that holds the key, if one is needed;
    `at_once` requests are in flight."""

    url: str
    model: str
    api_key_env: str | None = None
    temperature: float = 0.0
    max_tokens: int = 2048
    at_once: int = 32
    tries: int = 5
    timeout: float = 600.0  # seconds per request


def ask(server: Server, system: str, messages: Sequence[str], cache: Path) -> list[str | None]:
    """The reply to each user message under one system prompt; None where the server refused the message itself.

    Replies are appended to a file in `cache` as they arrive (keyed by model, settings and texts), so that a run which was
    cut short, or asks about more questions, pays only for what is new. Raises SettingError when replies are missing.
    """
    settings = json.dumps([server.model, server.temperature, server.max_tokens, system])
    file = cache / f"{hashlib.sha256(settings.encode()).hexdigest()[:16]}.jsonl"
    keys = [hashlib.sha256(m.encode("utf-8", "replace")).hexdigest()[:16] for m in messages]
    known = _known(file)
    todo = {key: message for key, message in zip(keys, messages) if key not in known}
    if todo:
        known |= _ask_new(server, system, todo, file)
    return [known[key] for key in keys]


def _ask_new(server: Server, system: str, todo: dict[str, str], file: Path) -> dict[str, str | None]:
    import httpx

    file.parent.mkdir(parents=True, exist_ok=True)
    lock, errors, new = threading.Lock(), [], {}
    with (
        httpx.Client(base_url=server.url.rstrip("/") + "/", headers=_headers(server), timeout=server.timeout) as client,
        ThreadPoolExecutor(server.at_once) as pool,
        file.open("a", encoding="utf-8") as out,
    ):
        out.write("\n" * (out.tell() > 0))  # whatever a killed run left of a line stays a line of its own

        def one(item: tuple[str, str]) -> None:
            if len(errors) >= GIVE_UP:
                return
            try:
                reply = _complete(client, server, system, item[1])
            except (httpx.HTTPError, LookupError, ValueError, TypeError) as error:
                with lock:
                    errors.append(error)
                return
            with lock:
                new[item[0]] = reply
                out.write(checked_line({"key": item[0], "reply": reply}))
                out.flush()

        list(pool.map(one, todo.items()))
    if errors:
        reason = str(errors[0]).split("\n")[0]
        raise SettingError(
            f"server.url={server.url}: {len(todo) - len(new)} of {len(todo)} questions have no reply "
            f"({type(errors[0]).__name__}: {reason}); the {len(new)} replies are kept, so run again when the server works"
        )
    return new


def _headers(server: Server) -> dict[str, str]:
    if server.api_key_env is None:
        return {}
    if server.api_key_env not in os.environ:
        raise SettingError(no_key("server.api_key_env"))
    return {"Authorization": f"Bearer {os.environ[server.api_key_env]}"}


def _complete(client, server: Server, system: str, message: str) -> str | None:
    import httpx

    body = {
        "model": server.model,
        "temperature": server.temperature,
        "max_tokens": server.max_tokens,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": message}],
    }
    for attempt in range(server.tries):
        try:
            response = client.post("chat/completions", json=body)
            if response.status_code in (400, 413, 422):  # this message cannot be answered (too long, say): others can
                return None
            if response.status_code == 429 or response.status_code >= 500:
                response.raise_for_status()
            if response.is_error:
                raise ValueError(f"HTTP {response.status_code}: {response.text[:200]}")
            return response.json()["choices"][0]["message"]["content"] or ""
        except httpx.HTTPError:
            if attempt == server.tries - 1:
                raise
            time.sleep(min(60, 0.5 * 2**attempt) * (0.5 + random.random()))
    raise ValueError(f"tries={server.tries}: must be at least 1")


def _known(file: Path) -> dict[str, str | None]:
    """Replies of earlier runs."""
    return {row["key"]: row["reply"] for row in whole_lines(file) if {"key", "reply"} <= row.keys()}
