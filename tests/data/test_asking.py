"""Questions to a model server, against a real HTTP server on the loopback interface."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from s1x.data import asking, classify
from s1x.data.asking import Server, ask
from s1x.data.build import build
from s1x.errors import SettingError


@pytest.fixture
def served():
    """Starts a chat-completions server that answers with reply(system, user) -> text, or (status, text)."""
    servers = []

    def start(reply):
        seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                system, user = (m["content"] for m in body["messages"])
                seen.append(
                    {
                        "path": self.path,
                        "user": user,
                        "system": system,
                        "model": body["model"],
                        "key": self.headers.get("Authorization"),
                    }
                )
                answer = reply(system, user)
                status, text = answer if isinstance(answer, tuple) else (200, answer)
                data = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1", seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_each_question_is_asked_once_and_replies_are_kept(served, tmp_path):
    url, seen = served(lambda system, user: f"{system}:{user}")
    server = Server(url, "judge", at_once=4)
    assert ask(server, "s", ["a", "b", "a"], tmp_path) == ["s:a", "s:b", "s:a"]
    assert len(seen) == 2 and seen[0]["path"] == "/v1/chat/completions" and seen[0]["model"] == "judge"
    assert ask(server, "s", ["b", "c"], tmp_path) == ["s:b", "s:c"]
    assert len(seen) == 3
    assert ask(server, "another prompt", ["a"], tmp_path) == ["another prompt:a"]
    assert len(seen) == 4


def test_a_torn_line_is_asked_again(served, tmp_path):
    url, seen = served(lambda system, user: user.upper())
    server = Server(url, "m")
    ask(server, "s", ["a", "b"], tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert ask(server, "s", ["a", "b", "c"], tmp_path) == ["A", "B", "C"]
    assert len(seen) == 4
    assert ask(server, "s", ["a", "b", "c"], tmp_path) == ["A", "B", "C"]
    assert len(seen) == 4


def test_passing_failures_are_tried_again(served, tmp_path, monkeypatch):
    monkeypatch.setattr(asking.time, "sleep", lambda seconds: None)
    calls = []

    def reply(system, user):
        calls.append(user)
        return (503, "") if len(calls) < 3 else "fine"

    url, _ = served(reply)
    assert ask(Server(url, "m", tries=3), "s", ["a"], tmp_path) == ["fine"]


def test_a_lasting_failure_is_a_sentence_and_keeps_what_came(served, tmp_path, monkeypatch):
    monkeypatch.setattr(asking.time, "sleep", lambda seconds: None)
    broken = {"b"}
    url, seen = served(lambda system, user: (500, "") if user in broken else user)
    server = Server(url, "m", tries=2, at_once=1)
    with pytest.raises(SettingError, match=r"1 of 3 questions have no reply .* the 2 replies are kept"):
        ask(server, "s", ["a", "b", "c"], tmp_path)
    broken.clear()
    asked = len(seen)
    assert ask(server, "s", ["a", "b", "c"], tmp_path) == ["a", "b", "c"]
    assert len(seen) == asked + 1


def test_a_message_that_the_server_refuses_has_no_reply(served, tmp_path):
    url, seen = served(lambda system, user: (400, "too long") if len(user) > 5 else "ok")
    assert ask(Server(url, "m"), "s", ["a", "much too long"], tmp_path) == ["ok", None]
    assert ask(Server(url, "m"), "s", ["a", "much too long"], tmp_path) == ["ok", None] and len(seen) == 2


def test_no_server_and_wrong_key_are_sentences(served, tmp_path, monkeypatch):
    with pytest.raises(SettingError, match="server.url=http://127.0.0.1:9: 20 of 20 questions have no reply"):
        ask(Server("http://127.0.0.1:9", "m", tries=1), "s", [str(i) for i in range(20)], tmp_path)
    url, seen = served(lambda system, user: (401, "who are you?"))
    with pytest.raises(SettingError, match="HTTP 401"):
        ask(Server(url, "m"), "s", ["a"], tmp_path)
    with pytest.raises(SettingError, match="server.api_key_env: no environment variable"):
        ask(Server(url, "m", api_key_env="S1X_NO_SUCH_KEY"), "s", ["a"], tmp_path)
    monkeypatch.setenv("S1X_TEST_KEY", "secret")
    url, seen = served(lambda system, user: "ok")
    assert ask(Server(url, "m", api_key_env="S1X_TEST_KEY"), "s", ["a"], tmp_path) == ["ok"]
    assert seen[0]["key"] == "Bearer secret"


def test_domains_are_the_class_on_the_last_line(served, tmp_path):
    replies = {"angles": "A triangle, so geometry.\n51", "primes": "11: clear.\n\n**11**", "weird": "no idea", "old": "01"}
    url, seen = served(lambda system, user: replies[user])
    found = classify.domains(Server(url, "m"), ["angles", "primes", "weird", "old"], tmp_path)
    assert found == ["Geometry", "Number theory", None, None]
    assert len(classify.msc()) == 61
    assert all(f"{code}: {name}" in seen[0]["system"] for code, name in classify.msc().items())


def test_the_judge_reads_yes_or_no(served, tmp_path):
    def reply(system, user):
        assert user.startswith("## Problem\n") and "\n\n## Attempt\n" in user and "\n\n## Correct answer\n" in user
        return {"good": "It agrees.\nYes", "bad": "It does not.\nNo.", "odd": "Perhaps"}[user.split("\n")[1]]

    url, seen = served(reply)
    marks = classify.judge(
        Server(url, "m"),
        ["good", "bad", "odd", "none", "none"],
        ["a", "a", "a", None, "a"],
        ["s", "s", "s", "s", None],
        tmp_path,
    )
    assert marks == [True, False, None, None, None] and len(seen) == 3


def test_the_domain_step_uses_the_server_once(served, tmp_path, composed):
    url, seen = served(lambda system, user: "51" if "angle" in user else "nothing fits")
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps({"question": q, "thinking": "t", "answer": "a"}) + "\n" for q in ("an angle", "a poem")))
    cfg = composed(
        "data=local",
        "data.decontaminate=null",
        f"data.sources.local.path={path}",
        f"store.dir={tmp_path}",
        f"data.domains={{column: null, server: {{url: '{url}', model: m}}}}",
    )
    built = build(cfg)
    assert built.table["domain"].to_pylist() == ["Geometry"] and {r.step: r for r in built.rows}["domains"].dropped == {
        "no domain": 1
    }
    assert len(seen) == 2
    assert build(cfg).key == built.key and len(seen) == 2
