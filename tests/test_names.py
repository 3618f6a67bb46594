"""Names and paths that no disk takes: a sentence before anything is made or generated. Odd ones that are sound work."""

from __future__ import annotations

import json

import pytest

from .conftest import NO_LOCAL

SMALL = ("engine=scripted", "tracking=none", "task.limit=2", "store.dir=store", "method.max_thinking_tokens=8", *NO_LOCAL)
LONG = 300 * "n"
SNOW = 90 * "\N{SNOWMAN}"  # 270 bytes

WRONG = {
    f"task.name={250 * 'n'}": "task.name='nnn",
    f"task.name={130 * 'n'}": "has 130 bytes; it becomes part of file names, so 120 at most",
    f"task.name='{SNOW}'": "has 270 bytes",
    "task.name=a/b": "task.name=a/b: it becomes part of file names",
    "task.name='a\nb'": "task.name=",
    "task.name='a\tb'": "task.name='a\\tb': must be text in one line",
    "task.name=' '": "task.name=",
    "task.name='a\0b'": "task.name",
    "task.name='a\udcffb'": "task.name: character 2 is no text",
    f"model.name={LONG}": "model.name='nnn",
    "model.name='a\x1b[31mb'": "model.name=",
    f"name={LONG}": "name='nnn",
    f"task.file={LONG}.jsonl": "task.file=nnn",
    f"task.file='dir/{SNOW}.jsonl'": "a name of 276 bytes, and disks take 255",
    "task.file=" + 1000 * "part/" + "x.jsonl": "too long for a path",
    f"task.lm_eval={LONG}.yaml": "task.lm_eval=nnn",
    f"task.lm_eval={LONG}": "task.lm_eval=nnn",
    f"model.path=/tmp/{LONG}": "model.path=/tmp/nnn",
    "model.path='/tmp/a\nb'": "model.path=",
    "model.path='~no-such-user-here/model'": "model.path=~no-such-user-here/model: there is no such user",
    f"model.tokenizer={LONG}": "model.tokenizer=nnn",
    "store.dir=/proc/x": "store.dir=/proc/x: /proc cannot be written",
    f"store.dir=/tmp/{LONG}": "store.dir=/tmp/nnn",
    "store.dir='~no-such-user-here/store'": "store.dir=~no-such-user-here/store: there is no such user",
    f"hydra.run.dir={LONG}": "hydra.run.dir=nnn",
    "hydra.run.dir=/proc/x": "/proc/x: No such file or directory; set hydra.run.dir",
}


@pytest.mark.parametrize("setting", WRONG, ids=lambda s: ascii(s)[1:60])
def test_one_sentence_before_anything_is_made(command, tmp_path, setting):
    extra = ["task=lm_eval"] if "lm_eval" in setting else []
    engine = ["engine=transformers"] if setting.startswith("model.") else []
    status, said = command(*SMALL, *extra, *engine, setting)
    assert status == 2 and "Traceback" not in said and WRONG[setting] in said, said
    assert said.count("\n") <= 2 and len(said) < 2500 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["-x", "a b", "\u65e5\u672c\u8a9e", 120 * "n", 40 * "\N{SNOWMAN}", "x.jsonl", "..", "a;b&c"])
def test_odd_names_work(command, tmp_path, name):
    assert command(*SMALL, f"task.name='{name}'", f"model.name='{name}'", "hydra.run.dir=out") == (0, "")
    record = json.loads((tmp_path / "out" / "cell.json").read_text())
    assert record["task"] == record["model"] == name
    assert (tmp_path / "out" / f"samples_{name}.jsonl").is_file() and (tmp_path / "out" / "report.html").is_file()
    assert command("stage=report", "report.of=out") == (0, "")


def test_a_sweep_says_each_once(command, tmp_path):
    status, said = command("-m", *SMALL, f"task.name={LONG},ok", "seed=0,1", "hydra.sweep.dir=out")
    assert status == 2 and said.count("task.name=") == said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_files_of_odd_names_are_read(command, tmp_path):
    for name in ("-q.jsonl", "a b.jsonl", "\u65e5\u672c.jsonl", f"{200 * 'n'}.jsonl"):
        (tmp_path / name).write_text(json.dumps({"question": "1+1=?", "answer": "2"}) + "\n", encoding="utf-8")
        status, said = command(*SMALL, f"task.file='{name}'", f"hydra.run.dir='out {name[:9]}'")
        assert (status, said) == (0, "")
