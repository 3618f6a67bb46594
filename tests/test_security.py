"""What docs/security.md claims: nothing that is read is run, and what is shown does nothing but stand there."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from s1x.engines.probing import served_version
from s1x.errors import printable
from s1x.streams.engine import EngineError, Open

from .conftest import NO_LOCAL
from .engines.sweep import write
from .engines.test_server import connect, model  # noqa: F401

ROOT = Path(__file__).parents[1]
CODE = [ROOT / "run.py", *sorted((ROOT / "s1x").rglob("*.py"))]
RUNS_WHAT_IT_READS = {"pickle", "shelve", "marshal", "dill", "joblib", "cloudpickle"}


def test_nothing_here_reads_pickles_or_runs_text():
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", ()) if isinstance(node, ast.Import)]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {name.split(".")[0] for name in names} & RUNS_WHAT_IT_READS, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile", "yaml.load", "np.load", "numpy.load"), f"{path}: {called}"
                assert called != "torch.load" or "weights_only=True" in ast.unparse(node), f"{path}: {called}"
                assert "trust_remote_code=True" not in ast.unparse(node), path


def test_code_of_a_model_is_run_only_where_somebody_says_so():
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert "trust_remote_code" not in line or line.startswith("trust_remote_code: false"), path


class Evil:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("whole", [True, False])
def test_weights_that_are_a_pickle_run_nothing(tmp_path, whole):
    import torch

    from s1x.engines.transformers import TransformersEngine

    mark = tmp_path / "mark"
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((ROOT / "s1x" / "tiny" / "models" / "tiny-s1" / name).read_bytes())
    torch.save(Evil(mark) if whole else {"lm_head.weight": Evil(mark)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        write(TransformersEngine(str(tmp_path), device="cpu"), [Open((5, 6), 3)])
    assert not mark.exists()
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)
    assert mark.is_dir()  # it would have


@pytest.fixture
def elsewhere():
    """Two servers: one that points to the other, which keeps what it is sent."""
    got: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.server is second:
                got.append(dict(self.headers))
            self.send_response(200 if self.server is second else 307)
            self.send_header("Location", f"http://127.0.0.1:{second.server_address[1]}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_):
            pass

    first, second = (ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2))
    for server in (first, second):
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{first.server_address[1]}", got
    for server in (first, second):
        server.shutdown()
        server.server_close()


def test_a_server_cannot_send_the_key_or_prompts_elsewhere(model, elsewhere, monkeypatch):  # noqa: F811
    url, got = elsewhere
    monkeypatch.setenv("OUR_KEY", "hush")
    assert served_version(url, "hush") is None
    with pytest.raises(EngineError, match="which is not followed; set the address that answers") as error:
        write(connect(model, url, api_key_env="OUR_KEY", version="0.32.0"), [Open((5, 6), 10)])
    assert got == [] and "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Füße \N{SNOWMAN}\n\tx", "plain, Füße \N{SNOWMAN}\n\tx"),
        ("\x1b[2Jx", "\\x1b[2Jx"),
        ("a\rb\x07\x9b", "a\\rb\\x07\\x9b"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("two\u2028lines", "two\\u2028lines"),
        ("\udcc3", "\\udcc3"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_its_code(text, shown):
    assert printable(text) == shown and len(printable(text * 9000, 300)) <= 300 * 6 + 3


HOSTILE = "\x1b[2J\x07</script><script>alert(1)</script><img src=x onerror=alert(2)>=HYPERLINK(0)|\u202e"
TASK = """\
task: hostile
custom_dataset: !function hostile_code.questions
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: answer
generation_kwargs: {until: [], max_gen_toks: 16}
filter_list:
  - name: answer
    filter:
      - {function: custom, filter_fn: !function hostile_code.read}
      - {function: take_first}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
num_fewshot: 0
"""
TASK_CODE = """\
from datasets import Dataset

def questions(**_):
    return {"test": Dataset.from_list([{"question": HOSTILE, "answer": HOSTILE + str(i)} for i in range(4)])}

def read(responses, docs):
    return [[HOSTILE for _ in group] for group in responses]
"""


@pytest.mark.long
def test_questions_and_answers_stand_in_samples_and_page_alone(tmp_path):
    """In samples as JSON, on the page as text; not on the terminal, in the log, or in any table."""
    (tmp_path / "hostile.yaml").write_text(TASK)
    (tmp_path / "hostile_code.py").write_text(f"HOSTILE = {HOSTILE!r}\n{TASK_CODE}")
    settings = ["task=lm_eval", f"task.lm_eval={tmp_path / 'hostile.yaml'}", "engine=scripted", "tracking=none", *NO_LOCAL]
    out = tmp_path / "out"
    settings += [f"store.dir={tmp_path / 'store'}", f"hydra.run.dir={out}"]
    done = subprocess.run([sys.executable, "run.py", *settings], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for text in (done.stdout, done.stderr, *((out / f).read_text() for f in ("run.log", "summary.md", "cells.csv"))):
        assert "alert(" not in text and "\x1b" not in text and "HYPERLINK" not in text
    page = (out / "report.html").read_text()
    assert len(re.findall("<script", page)) == 2 and "<img" not in page and "\x1b" not in page
    rows = [json.loads(line) for line in (out / "samples_hostile.jsonl").read_text().splitlines()]
    assert {row["extracted"] for row in rows} == {HOSTILE}
