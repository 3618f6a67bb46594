"""A chat server on loopback that plays the judge: what it says is a function of the text it is asked."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Told(Exception):
    """The server answers with this HTTP status and message."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class JudgeServer:
    """`with JudgeServer(say) as server: server.url`. `requests` are the bodies that arrived. `say` gets (key, answer) as the
    prompt has them and returns the reply, or raises Told; `key` is asked for when given."""

    def __init__(self, say: Callable[[str, str], str], *, model: str = "judge", key: str | None = None, lists: bool = True):
        self.say, self.model, self.key, self.lists = say, model, key, lists
        self.requests: list[dict] = []
        self.greetings = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.greetings += 1
                if not outer.allowed(self):
                    return
                if not outer.lists:
                    return outer.answer(self, 404, {"error": {"message": "not here"}})
                outer.answer(self, 200, {"data": [{"id": outer.model}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(body)
                if not outer.allowed(self):
                    return
                try:
                    said = outer.say(*outer.asked(body))
                except Told as told:
                    return outer.answer(self, told.status, {"error": {"message": str(told)}})
                outer.answer(self, 200, {"choices": [{"message": {"role": "assistant", "content": said}}]})

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 256

            def handle_error(self, *_):  # a client that does not wait is no error
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def allowed(self, handler) -> bool:
        given = handler.headers.get("Authorization")
        if self.key and given != f"Bearer {self.key}":
            self.answer(handler, 401, {"error": {"message": f"not {given}"}})
            return False
        return True

    @staticmethod
    def asked(body: dict) -> tuple[str, str]:
        (message,) = body["messages"]
        return tuple(re.search(rf"<{name}>\n(.*?)\n</{name}>", message["content"], re.DOTALL)[1] for name in ("key", "answer"))

    @staticmethod
    def answer(handler, status: int, value: dict) -> None:
        data = json.dumps(value).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


def closed_url() -> str:
    """An address at which nobody listens."""
    with JudgeServer(lambda *_: "") as server:
        return server.url
