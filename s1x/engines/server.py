"""Any vLLM-compatible completions server as an engine: one `vllm serve`, several, or a cluster behind one URL.

Hundreds of requests are in flight on a thread of their own; `poll` hands over what has arrived. A stream whose request fails
goes on from its last received token, on another server if need be, so nothing that arrived is asked for again.
"""

from __future__ import annotations

import os
from itertools import count
from queue import Empty
from typing import Any
from urllib.parse import urlsplit

from ..streams.engine import Chunk, Counters, Open
from .fingerprint import fingerprint, model_facts
from .parts import Chain

_WAIT_S = 1.0  # a poll that sees no token for this long returns, so that the caller can save and show progress


class ServerEngine:
    """Engine protocol (base.py) over `POST /v1/completions` with token-id prompts, returned token ids and streaming.

    model, revision, tokenizer: as for other engines; config and tokenizer are read here, weights never. urls: one or several
    servers of the same model (up to /v1, which may be left out). model_id: its name there (None: the model). dtype and
    quantization: what the servers run, if known; part of the fingerprint. max_model_len: tokens per stream, prefix included.
    api_key_env: name of the environment variable that holds the key. in_flight: requests at once, over all urls. retries:
    failures in a row without a new token after which a stream gives up; between them, pauses grow from `pause_s`.
    first_token_s, between_tokens_s: how long to wait for a server, in seconds. stream_interval: how many tokens a server should
    send together (vLLM 0.32; others ignore it).

    The constructor reads small files only; servers are asked what they can do at the first poll. `counters.prefill_cached`
    needs servers that were started with `--enable-prompt-tokens-details`.
    """

    def __init__(
        self,
        model: str,
        *,
        urls: str | list[str],
        model_id: str | None = None,
        revision: str | None = None,
        tokenizer: str | None = None,
        dtype: str | None = None,
        quantization: str | None = None,
        max_model_len: int | None = None,
        api_key_env: str | None = None,
        in_flight: int = 256,
        retries: int = 8,
        first_token_s: float = 600,
        between_tokens_s: float = 60,
        pause_s: float = 0.5,
        stream_interval: int = 8,
    ) -> None:
        self._urls = [u.rstrip("/").removesuffix("/v1") for u in ([urls] if isinstance(urls, str) else urls or [])]
        if not self._urls or not all(map(_is_address, self._urls)):
            raise ValueError(f"engine.urls={urls}: must be one or more addresses such as http://localhost:8000.")
        if in_flight < 1:
            raise ValueError(f"engine.in_flight={in_flight} is too small; it must be at least 1.")
        if stream_interval < 1:
            raise ValueError(f"engine.stream_interval={stream_interval} is too small; it must be at least 1.")
        if api_key_env is not None and not os.environ.get(api_key_env):
            raise ValueError(f"engine.api_key_env={api_key_env}: this environment variable is not set; put the key into it.")
        longest = model_facts(model, revision)["context_length"]
        if max_model_len is not None and not 1 <= max_model_len <= longest:
            raise ValueError(f"engine.max_model_len={max_model_len} is out of range; {model} takes 1 to {longest} tokens.")
        self.model, self._revision, self._tokenizer = model, revision, tokenizer
        self.model_id = model_id or model
        self.fingerprint = fingerprint(
            "server", model, revision=revision, tokenizer=tokenizer, dtype=dtype or "served", quantization=quantization
        )
        self.context_length = max_model_len or longest
        self.capacity = in_flight
        self.counters = Counters()
        self._key_variable, self._retries, self._pause_s = api_key_env, retries, pause_s
        self._patience = {"first_s": first_token_s, "between_s": between_tokens_s}
        self._interval = stream_interval
        self._client: Any = None
        self._handles = count()
        self._open: set[int] = set()
        self._new: list[Chain] = []
        self._padded = range(0)

    def open(self, request: Open) -> int:
        """Queue a stream; returns its handle. A prefix must not be empty."""
        if not request.prefix:
            raise ValueError("Open.prefix is empty; a stream needs at least one token to start from.")
        handle = next(self._handles)
        self._open.add(handle)
        self._new.append(Chain(handle, request, self._padded, self.context_length))
        return handle

    def poll(self) -> list[Chunk]:
        """What has arrived since the last poll; waits for something, for about a second at most."""
        if not self._open:
            return []
        if self._client is None:
            self._connect()
        if self._new:
            self._client.submit(self._new)
            self._new = []
        items = []
        try:
            items.append(self._client.arrived.get(timeout=_WAIT_S))
            while True:
                items.append(self._client.arrived.get_nowait())
        except Empty:
            pass
        chunks = []
        for item in items:
            if isinstance(item, Exception):
                raise item
            if item.handle in self._open:
                chunks.append(item)
                if item.done:
                    self._open.remove(item.handle)
        return chunks or [Chunk(handle, [], [], False) for handle in list(self._open)[:1]]

    def cancel(self, handle: int) -> None:
        """Forget a stream; its request is dropped, which ends it on the server."""
        if handle in self._open:
            self._open.remove(handle)
            self._new = [chain for chain in self._new if chain.handle != handle]
            if self._client is not None:
                self._client.cancel(handle)

    def close(self) -> None:
        """Drop all requests and connections. A later poll connects anew."""
        if self._client is not None:
            self._client.close()
        self._client = None
        self._open.clear()
        self._new.clear()

    def _connect(self) -> None:
        from .server_client import Client
        from .vocabulary import padded_ids

        self._padded = padded_ids(self.model, self._revision, self._tokenizer)
        for chain in self._new:
            chain.padded = self._padded
        self._client = Client(self)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False
