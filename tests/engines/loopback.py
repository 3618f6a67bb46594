"""A small completions server on loopback that speaks vLLM's protocol and is driven by the scripted engine's hash model."""

from __future__ import annotations

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain

from s1x.engines.scripted import ScriptedEngine, logprob
from s1x.streams.engine import Open, Scoring
from s1x.streams.types import Forbid, Sampling

RARE = 7.0  # below the hash model's numbers: log-probabilities that do not add up to more than 1


class Loopback:
    """`with Loopback(model_id, engine settings) as server: server.url`. `requests` are the bodies that arrived; `key` is asked
    for when given; `returns_ids`, `takes_priority`, `honours_bias` and `scores_prompts` switch capabilities off. `version` is
    what /version says (None: no such page); `refuses` are fields of a request that it does not know. `counts`: whether it says
    how many tokens it has written with "each" event, at the "end", or nowhere ("none"). labels: says the log-probabilities of
    ids that are "named", of those that are "drawn" alone, or of none (None); numbers that are "logits" or "masked" are others.
    top: how many of the likeliest ids it may be asked for; "few": asked for more, it says fewer and does not refuse.
    head: it writes nothing and reads out a value head, as it is ("raw"), always behind a sigmoid ("activated"), at a few ids
    ("steps") or for another task ("classify")."""

    def __init__(
        self,
        model_id: str,
        settings: dict,
        *,
        key: str | None = None,
        returns_ids: bool = True,
        takes_priority: bool = True,
        honours_bias: bool = True,
        scores_prompts: bool = True,
        root: str | None = None,
        version: str | None = "0.32.0",
        refuses: tuple[str, ...] = (),
        counts: str = "each",
        labels: str | None = "named",
        head: str | None = None,
        top: int | str = 20,
    ):
        self.model_id, self.settings, self.key, self.root = model_id, settings, key, root
        self.returns_ids, self.takes_priority, self.honours_bias = returns_ids, takes_priority, honours_bias
        self.scores_prompts, self.version, self.refuses, self.counts = scores_prompts, version, refuses, counts
        self.labels, self.head, self.scripted, self.top = labels, head, ScriptedEngine(**settings), top
        self.requests: list[dict] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

            def do_GET(self):
                outer.about(self) if self.path == "/version" else outer.models(self)

            def do_POST(self):
                outer.complete(self)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 256

            def handle_error(self, *_):  # clients that cancel are no errors
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def streams(self) -> list[dict]:
        """Requests that were no probes."""
        return [r for r in self.requests if r.get("prompt", r.get("input")) not in ([1], [1, 1], list(range(8)))]

    def about(self, handler) -> None:
        if self.version is None:
            return self.answer(handler, 404, {"detail": "Not Found"})
        self.answer(handler, 200, {"version": self.version})

    def models(self, handler) -> None:
        model = {"id": self.model_id, "root": self.root, "max_model_len": self.settings["context_length"]}
        self.answer(handler, 200, {"object": "list", "data": [model]})

    def complete(self, handler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.requests.append(body)
        if self.key and handler.headers.get("Authorization") != f"Bearer {self.key}":
            return self.answer(handler, 401, {"error": {"message": f"not {handler.headers.get('Authorization')}", "code": 401}})
        if (handler.path == "/pooling") != bool(self.head):
            return self.answer(handler, 404, {"detail": "Not Found"})
        if "priority" in body and not self.takes_priority:
            return self.answer(handler, 400, {"error": {"message": "no priorities here", "code": 400}})
        if unknown := [name for name in body if name in self.refuses]:
            return self.answer(handler, 400, {"error": {"message": f"unknown field {unknown[0]}", "code": 400}})
        if self.top != "few" and max(body.get("logprobs") or 0, body.get("prompt_logprobs") or 0) > self.top:
            said = f"Requested sample logprobs of 20, which is greater than max allowed: {self.top}"
            return self.answer(handler, 400, {"error": {"message": said, "code": 400}})
        if self.head == "classify":
            said = "Try switching the model's pooling_task via --pooler-config.task token_classify."
            return self.answer(handler, 400, {"error": {"message": said, "code": 400}})
        if not body.get("stream"):
            return self.answer(handler, 200, self.whole(body))
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            for event in chain(self.events(body), ["[DONE]"]):
                data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
                handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            handler.wfile.write(b"0\r\n\r\n")
        except OSError:  # the client went away
            handler.close_connection = True

    def whole(self, body: dict) -> dict:
        """What vLLM says without streaming, of a request for one token."""
        if "input" in body:
            return self.outputs(body)
        prompt, allowed = body["prompt"], body.get("allowed_token_ids") if self.labels in ("named", "drawn", "masked") else None
        choice = {"index": 0, "text": "", "finish_reason": "length", "token_ids": allowed or [2]}
        if self.scores_prompts and "prompt_logprobs" in body:
            beside = body["prompt_logprobs"]
            places = [self.likeliest(prompt[:n], i, beside) for n, i in enumerate(prompt)][1:]
            choice["prompt_logprobs"] = [None, *({str(i): {"logprob": x} for i, x in place.items()} for place in places)]
        if "logprobs" in body:
            drawn = choice["token_ids"]
            named = [*drawn, *(body.get("logprob_token_ids") or [])] if self.labels in ("named", "logits") else drawn
            said = dict(zip(named, self.label_logprobs(prompt, named), strict=True))
            given = [logprob(i) for i in drawn] if "prompt_logprobs" in body else [said[i] for i in drawn]
            if body["logprobs"]:
                said = self.likeliest(prompt, drawn[0], body["logprobs"])
            top = {f"token_id:{i}": value for i, value in said.items()}
            choice["logprobs"] = {"token_logprobs": given, "top_logprobs": [top]}
        return {"choices": [choice], "usage": {"prompt_tokens": len(prompt), "prompt_tokens_details": {"cached_tokens": 1}}}

    def likeliest(self, read: list[int], token: int, beside: int) -> dict[int, float]:
        """Log-probabilities of a token and of the likeliest ids, of which it is one."""
        own, others = logprob(token), (beside if self.top != "few" else min(beside, 5)) - 1
        rest = (-20 * self.scripted.confidence("top20", tuple(read)) - own) / 19
        return {token: own} | {100_000 + i: rest for i in range(others)}

    def label_logprobs(self, prompt: list[int], labels: list[int]) -> list[float]:
        if self.labels == "masked":
            return [0.0] * len(labels)
        (row,) = self.scripted.rows(Scoring(tuple(prompt), (len(prompt),), tuple(labels)))
        return [x - RARE + 2 * RARE * (self.labels == "logits") for x in row]

    def outputs(self, body: dict) -> dict:
        ids = tuple(body["input"])
        rows = self.scripted.rows(Scoring(ids, tuple(range(1, len(ids) + 1)), "head"))
        if self.head == "activated" or body["use_activation"]:
            rows = [tuple(math.exp(x) / sum(map(math.exp, row)) for x in row) for row in rows]
        data = {"index": 0, "object": "pooling", "data": rows[::3] if self.head == "steps" else rows}
        return {"object": "list", "data": [data], "usage": {"prompt_tokens": len(ids)}}

    def events(self, body: dict):
        limit, banned = body["max_tokens"], frozenset(map(int, body.get("logit_bias") or ()))
        request = Open(
            prefix=tuple(body["prompt"]), limit=limit, stop_ids=frozenset(body.get("stop_token_ids") or ()),
            sampling=Sampling(body["temperature"], noise=body["seed"]) if "seed" in body else Sampling(),
            forbid=Forbid(banned, limit) if banned and self.honours_bias else None, logprobs="logprobs" in body,
        )  # fmt: skip
        engine = ScriptedEngine(**self.settings)
        engine.open(request)
        each = self.counts == "each" and body["stream_options"].get("continuous_usage_stats")
        written, ids = 0, []
        while chunks := engine.poll():
            (chunk,) = chunks
            before = [*request.prefix, *ids]
            written, ids = written + len(chunk.ids), [*ids, *chunk.ids]
            choice = {"index": 0, "text": "", "finish_reason": "length" if chunk.done else None}
            if self.returns_ids:
                choice["token_ids"] = chunk.ids
            if chunk.logprobs is not None:
                choice["logprobs"] = {"token_logprobs": chunk.logprobs}
            if body.get("logprobs"):
                named = "token_id:{}" if body.get("return_tokens_as_token_ids") else "a text that many ids have"
                places = [self.likeliest([*before, *chunk.ids[:n]], i, body["logprobs"]) for n, i in enumerate(chunk.ids)]
                choice["logprobs"]["top_logprobs"] = [{named.format(i): x for i, x in place.items()} for place in places]
            usage = {"usage": {"prompt_tokens": len(request.prefix), "completion_tokens": written}}
            yield {"choices": [choice]} | (usage if each else {})
        details = {"cached_tokens": len(request.prefix) - 1}
        usage = {"prompt_tokens": len(request.prefix), "prompt_tokens_details": details}
        yield {"choices": [], "usage": usage | ({} if self.counts == "none" else {"completion_tokens": written})}

    def answer(self, handler, status: int, value: dict) -> None:
        data = json.dumps(value).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
