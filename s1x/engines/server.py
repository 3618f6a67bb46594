"""Any vLLM-compatible completions server as an engine: one `vllm serve`, several, or a cluster behind one URL.

Hundreds of requests are in flight on a thread of their own; `poll` hands over what has arrived. A stream whose request fails
goes on from its last received token, on another server if need be, so nothing that arrived is asked for again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from queue import Empty
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import no_key
from ..models.fingerprint import version_key
from ..streams.engine import Chunk, EngineError, Open, Rows, Scoring
from ..streams.types import CONFIDENCES
from .common import ModelEngine, alive, at_least_one
from .looped import key_of
from .parts import Chain

if TYPE_CHECKING:
    from .server_scoring import Asked

log = logging.getLogger(__name__)

KINDS = frozenset({"labels", "next", "head", "top20"})


class Absent(EngineError):
    """Nobody answers at an address."""


@dataclass(frozen=True)
class ServerSettings:
    """What the side that talks needs to know. `model_id` is what the servers call `model`. The rest as ServerEngine has it."""

    urls: tuple[str, ...]
    model: str
    model_id: str
    context_length: int
    api_key_env: str | None
    in_flight: int
    retries: int
    pause_s: float
    first_token_s: float
    between_tokens_s: float
    stream_interval: int
    positional_seeds: bool


class ServerEngine(ModelEngine):
    """Engine protocol (streams/engine.py) over `POST /v1/completions` with token-id prompts, returned token ids and streaming.

    model, revision, tokenizer: as for other engines; config and tokenizer are read here, weights never. urls: one or several
    servers of the same model (up to /v1, which may be left out). model_id: its name there (None: the model). dtype,
    quantization and version (of vLLM): what the servers run, if known; part of the fingerprint. A version that is not given is
    asked for when the fingerprint is (`GET /version`). positional_seeds: see engine=vllm. max_model_len: tokens per stream,
    prefix included. api_key_env: name of the environment variable that holds the key. in_flight: requests at once, over all
    urls. retries: failures in a row without a new token after which a stream gives up; between them, pauses grow from pause_s.
    first_token_s, between_tokens_s: how long to wait for a server, in seconds. stream_interval: how many tokens a server should
    send together (vLLM 0.32; others ignore it).

    The constructor reads small files only; servers are asked what else they can do at the first poll, or when somebody looks at
    `scores`: the prompt's log-probabilities, those of the 20 likeliest ids, labels, or, from `vllm serve` of a model with a
    value head (POST /pooling), its outputs. `counters.prefill_cached` and `scored_cached` need servers that were started with
    `--enable-prompt-tokens-details`. Log-probabilities are what a server says: vLLM's count the ids of the padded vocabulary,
    too.
    """

    name, loads = "server", False

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
        version: str | None = None,
        positional_seeds: bool = False,
        max_model_len: int | None = None,
        api_key_env: str | None = None,
        in_flight: int = 256,
        retries: int = 8,
        first_token_s: float = 600,
        between_tokens_s: float = 60,
        pause_s: float = 0.5,
        stream_interval: int = 8,
    ) -> None:
        servers = tuple(map(address, [urls] if isinstance(urls, str) else urls or []))
        if not servers or None in servers:
            shown = "" if "@" in str(urls) else f"={urls}"  # a key does not belong there, and is not shown
            raise ValueError(f"engine.urls{shown}: must be one or more addresses such as http://localhost:8000.")
        at_least_one(in_flight=in_flight, stream_interval=stream_interval)
        if api_key_env is not None and not key_of(api_key_env):
            raise ValueError(no_key("engine.api_key_env"))
        if version is not None and not (isinstance(version, str) and version[:1].isdigit()):
            raise ValueError(f"engine.version={version}: must be a version in full, such as 0.32.0.")
        super().__init__(
            model,
            revision=revision,
            tokenizer=tokenizer,
            max_model_len=max_model_len,
            capacity=in_flight,
            dtype=dtype or "served",
            quantization=quantization,
            keyed={"positional_seeds": True} if positional_seeds else None,
        )
        self.version = version
        self.settings = ServerSettings(
            urls=servers,
            model=model,
            model_id=model_id or model,
            context_length=self.context_length,
            api_key_env=api_key_env,
            in_flight=in_flight,
            retries=retries,
            pause_s=pause_s,
            first_token_s=first_token_s,
            between_tokens_s=between_tokens_s,
            stream_interval=stream_interval,
            positional_seeds=positional_seeds,
        )
        self._client: Any = None
        self._scores: frozenset[str] | None = None
        self._confidences: frozenset[str] = frozenset()
        self._open: dict[int, Open | Scoring] = {}
        self._new: list[Chain | Asked] = []

    @property
    def scores(self) -> frozenset[str]:  # type: ignore[override]
        """What all servers can score, who are asked. With a `version` given they need not be up while all is in the store:
        until one answers, anything is supposed. Raises EngineError with one sentence for servers that will not do."""
        if self._scores is None:
            try:
                self._connect()
            except Absent as error:
                if not self.version:
                    raise
                log.warning("%s; what is stored is used until then.", error)
                self._scores = KINDS
        return self._scores

    @property
    def confidences(self) -> frozenset[str]:  # type: ignore[override]
        """What all servers report of the 20 likeliest ids with the tokens that they write; asked as for `scores`."""
        return self._confidences if self.scores is not KINDS else KINDS & CONFIDENCES.keys()

    def open(self, request: Open) -> int:
        """Queue a stream; returns its handle. A prefix must not be empty."""
        handle = self.admit(request)
        self._open[handle] = request
        self._new.append(Chain(handle, request, self.padded, self.context_length))
        return handle

    def score(self, request: Scoring) -> int:
        """Queue a scoring; returns its handle."""
        from .server_scoring import Asked

        handle = self.admit(request)
        self._new.append(Asked(handle, request, self.context_length))
        self._open[handle] = request
        return handle

    def poll(self, wait: float = 1.0) -> list[Chunk | Rows]:
        """What has arrived since the last poll; waits for something, a second at most."""
        if not self._open:
            return []
        if self._client is None:
            self._connect()
        if self._new:
            self._client.submit(self._new)
            self._new = []
        items = []
        try:
            items.append(self._client.arrived.get(timeout=wait))
            while True:
                items.append(self._client.arrived.get_nowait())
        except Empty:
            pass
        chunks = []
        for item in items:
            if isinstance(item, Exception):
                if chunks:  # what came before it is kept
                    self._client.arrived.put(item)
                    break
                raise item
            if item.handle in self._open:
                chunks.append(item)
                if item.done:
                    del self._open[item.handle]
        return chunks or alive(self._open.items())

    def cancel(self, handle: int) -> None:
        """Forget a stream; its request is dropped, which ends it on the server."""
        if self._open.pop(handle, None) is not None:
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

    def version_there(self) -> str:
        """Of the servers' vLLM, as given or as they say; "unknown" where they do not. Raises EngineError when they differ."""
        return self.version or next(iter(self._versions())) or "unknown"

    def _versions(self) -> dict[str | None, str]:
        """What the servers say, by version as it is keyed: one. Raises EngineError for several, or another than is given."""
        from .probing import served_version

        key = key_of(self.settings.api_key_env)
        said = {url: served_version(url, key) for url in self.settings.urls}
        found = {version and version_key(version): url for url, version in said.items()}
        if self.version and found.keys() - {None, version_key(self.version)}:
            raise EngineError(f"engine.version={self.version}: {_list(said)}; leave engine.version out, or set what is there.")
        if len(found) > 1:
            raise EngineError(
                f"engine.urls: the servers differ ({_list(said)}), and so do their tokens; use those of one version."
            )
        return found

    def _connect(self) -> None:
        from .server_client import Client

        if self.version:
            self._versions()
        self._client = Client(self.settings, self.counters)
        self._scores, self._confidences = self._client.scores, self._client.confidences


def _list(said: dict[str, str | None]) -> str:
    return ", ".join(f"{url} runs {version or 'what it does not say'}" for url, version in said.items())


def address(url: str) -> str | None:
    """A server's address without the /v1 that may end it; None where it is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except (ValueError, AttributeError):  # a port that is none, no text
        return None
    return url.rstrip("/").removesuffix("/v1") if valid else None
