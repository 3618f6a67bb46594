"""Output directories are never shared: real commands started at the same moment, killed and started again."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from s1x import claims
from s1x.errors import SettingError
from s1x.evaluation.naming import results_key

from .conftest import NO_LOCAL

ROOT = Path(__file__).parents[1]
SMALL = ("engine=scripted", "tracking=none", "task.limit=2", "store.dir=store", *NO_LOCAL)
SLOW = (*SMALL, "task.limit=3000", "engine.tokens_per_poll=1")
MULTIRUN = ("-m", "method.max_thinking_tokens=8,16")
NOW = "${now:%Y}"  # a time stamp that is the same for all


def start(place: Path, *settings: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "run.py"), *settings]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ends(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """(exit status, what it said) of each."""
    said = [process.communicate(timeout=300)[1] for process in processes]
    return [(process.returncode, words) for process, words in zip(processes, said, strict=True)]


def seeds(directory: Path) -> set[int]:
    return {json.loads(file.read_text())["seed"] for file in directory.rglob("cell.json")}


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.long
@pytest.mark.parametrize(("kind", "extra", "n"), [("run", (), 5), ("sweep", MULTIRUN, 3)])
def test_commands_of_one_moment_get_a_directory_each(tmp_path, kind, extra, n):
    own = (*extra, *SMALL, f"hydra.{kind}.dir=out/{NOW}")
    assert ends([start(tmp_path, *own, f"seed={i}") for i in range(n)]) == [(0, "")] * n
    year = time.strftime("%Y")
    made = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert set(made) == {year, *(f"{year}-{k}" for k in range(2, n + 1))}
    assert sorted(map(seeds, made.values()), key=min) == [{i} for i in range(n)]
    for directory in made.values():
        summary = json.loads((directory / "summary.json").read_text())
        assert summary["problems"] == [] and len(summary["cells"]) == (2 if extra else 1)
        assert (directory / "run.log").is_file() and not list((tmp_path / "out").glob("*/*.part"))


@pytest.mark.long
def test_default_names_of_one_second_differ(tmp_path):
    assert ends([start(tmp_path, *SMALL, f"seed={i}") for i in range(3)]) == [(0, "")] * 3  # as agents of W&B do
    assert sorted(map(seeds, (tmp_path / "outputs" / "run").iterdir()), key=min) == [{i} for i in range(3)]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "extra", "n"), [("run", (), 5), ("sweep", MULTIRUN, 3)])
def test_of_several_commands_one_gets_the_directory_that_was_typed(tmp_path, kind, extra, n):
    own = (*extra, *SMALL, f"hydra.{kind}.dir=out")
    found = ends([start(tmp_path, *own, f"seed={i}") for i in range(n)])
    assert sorted(status for status, _ in found) == [0] + [2] * (n - 1)
    (winner,) = [i for i, (status, _) in enumerate(found) if status == 0]
    assert seeds(tmp_path / "out") == {winner}
    for status, said in found:
        if status:
            assert said.startswith(f"hydra.{kind}.dir=out: ") and said.count("\n") == 1 and "another command" in said, said
            assert f"seed={winner}" in said
    before = files(tmp_path / "out")
    ((status, said),) = ends([start(tmp_path, *own, "seed=9")])  # later, too, and nothing is touched
    assert status == 2 and "holds the results of another command" in said and files(tmp_path / "out") == before


@pytest.mark.long
@pytest.mark.parametrize(("kind", "extra"), [("run", ()), ("sweep", MULTIRUN)])
def test_the_same_command_waits_for_the_first_to_end_and_goes_on_when_it_is_dead(tmp_path, kind, extra):
    own = (*extra, *SLOW, f"hydra.{kind}.dir=out")
    first = start(tmp_path, *own)
    try:
        until = time.monotonic() + 120
        while not list((tmp_path / "store").glob("*/*.streams")) and time.monotonic() < until:
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)  # at work for as long as the others need to look
        for status, said in ends([start(tmp_path, *own) for _ in range(3)]):
            assert status == 2 and "the same command is at work there (process" in said and f"{first.pid} on" in said, said
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    again = (*extra, *SMALL, f"hydra.{kind}.dir=out")
    ((status, said),) = ends([start(tmp_path, *again)])
    assert status == 2 and "another command" in said  # it has other questions
    second = start(tmp_path, *own)
    try:
        until = time.monotonic() + 120
        while json.loads((tmp_path / "out" / ".claim").read_text())["process"] != second.pid and time.monotonic() < until:
            assert second.poll() is None, second.stderr.read()
            time.sleep(0.05)
    finally:
        second.send_signal(signal.SIGKILL)
        second.wait()


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["s1x", "basic"])
def test_all_jobs_of_a_sweep_follow_it_to_its_new_name(command, tmp_path, launcher):
    year = time.strftime("%Y")
    (tmp_path / "a b" / year).mkdir(parents=True)  # taken, and a name that needs quotes
    (tmp_path / "a b" / f"{year}-2").write_text("a file")
    settings = (*MULTIRUN, *SMALL, f"hydra.sweep.dir='a b/{NOW}'", f"hydra/launcher={launcher}")
    assert command(*settings) == (0, "")
    assert not any((tmp_path / "a b" / year).iterdir())
    made = tmp_path / "a b" / f"{year}-3"
    assert {p.parent.name for p in made.glob("*/cell.json")} == {"0", "1"} and (made / "report.html").is_file()
    assert command(*settings) == (0, "") and (tmp_path / "a b" / f"{year}-4" / "report.html").is_file()


@pytest.mark.long
def test_merged_reports_have_a_directory_each(command, tmp_path):
    for half, budgets in (("a", "8"), ("b", "16")):
        assert command("-m", *SMALL, f"method.max_thinking_tokens={budgets}", f"hydra.sweep.dir={half}") == (0, "")
    merge = ("stage=report", "report.of=[a,b]", f"hydra.run.dir=both/{NOW}", *NO_LOCAL)
    assert ends([start(tmp_path, *merge) for _ in range(4)]) == [(0, "")] * 4
    assert len(list((tmp_path / "both").glob("*/summary.json"))) == 4
    assert command("stage=report", "report.of=[a,b]", "hydra.run.dir=typed") == (0, "")
    status, said = command("stage=report", "report.of=[b,a]", "hydra.run.dir=typed")
    assert status == 2 and "hydra.run.dir=typed: holds the results of another command" in said
    assert command("stage=report", "report.of=a") == (0, "")  # reads one, and stays in it
    status, said = command(*SMALL, "hydra.run.dir=a")  # a single job in a sweep's directory
    assert status == 2 and "hydra.run.dir=a: holds the results of another command" in said


@pytest.mark.parametrize("subdir", ["x", "${name}", "./x/../x"])
def test_jobs_of_one_sweep_share_no_directory(command, tmp_path, subdir):
    status, said = command("-m", *SMALL, "seed=0,1,2", f"hydra.sweep.subdir={subdir}", "hydra.sweep.dir=out")
    assert status == 2 and "jobs 0 and 1 would share it" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", ["seed=-1", "method.max_thinking_tokens=-5", "task.limit=0", "+nonsense=1"])
def test_wrong_input_makes_no_directory_and_touches_none(command, tmp_path, wrong):
    status, said = command(*SMALL, wrong, "hydra.run.dir=out")
    assert (status, said.count("\n")) == (2, 1) and not (tmp_path / "out").exists()
    assert command(*SMALL, "hydra.run.dir=out") == (0, "")
    before = files(tmp_path / "out")
    assert command(*SMALL, wrong, "hydra.run.dir=out")[0] == 2 and files(tmp_path / "out") == before


def test_a_command_that_was_wrong_leaves_the_directory_to_the_right_one(command, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n')
    own = (*SMALL, "hydra.run.dir=out", "task.file=q.jsonl")
    for wrong in ("task.metric=nothing", "task.filter=nothing"):  # seen when the task is loaded
        assert command(*own, wrong)[0] == 2 and (tmp_path / "out").is_dir()
    assert command(*own) == (0, "")
    assert command(*own, "task.metric=nothing")[0] == 2 and command(*own) == (0, "")  # and it stays that one's
    status, said = command(*own, "seed=3")
    assert status == 2 and "holds the results of another command" in said


def test_what_is_the_same_command(composed):
    base = results_key([composed("engine=server", "engine.urls=http://a:1")])
    for same in (
        ("engine.urls=[http://b:2,http://c:3]", "engine.in_flight=3"),
        ("tracking=none", "debug=true"),
        ("store.dir=elsewhere", "store.fsync=true", "name=other"),
        ("report.x=path_tokens",),
    ):
        assert results_key([composed("engine=server", "engine.urls=http://a:1", *same)]) == base, same
    for other in (
        ("seed=1",),
        ("method.max_thinking_tokens=7",),
        ("task.limit=3",),
        ("engine.dtype=float32",),
        ("engine=scripted",),
        ("sampling.temperature=0.5",),
        ("stage=[train,evaluate]", "data=tiny_s1k"),
        ("chat=plain",),
    ):
        names = ("engine=server", "engine.urls=http://a:1") if not other[0].startswith("engine=") else ()
        assert results_key([composed(*names, *other)]) != base, other
    scorer = ("method=best_of_n", "scorer=tiny_prm", "sampling.temperature=1")
    server = "+scorer.engine={_target_: s1x.engines.server.ServerEngine, urls: 'http://%s'%s}"
    plain, there = results_key([composed(*scorer)]), results_key([composed(*scorer, server % ("a:1", ""))])
    assert results_key([composed(*scorer, "+scorer.engine.slots=3")]) == plain != there
    assert results_key([composed(*scorer, server % ("b:2", ", in_flight: 3, api_key_env: HOME, version: 0.32.0"))]) == there
    assert results_key([composed(*scorer, server % ("a:1", ", dtype: bfloat16"))]) != there
    jobs = [composed(f"seed={i}") for i in range(2)]
    assert results_key(jobs) != results_key(jobs[::-1]) != results_key(jobs[:1])


@pytest.fixture
def at_end():
    yield
    claims.release()


def hold(directory: Path, then: str) -> subprocess.Popen:
    """A process that claims a directory, says so, and does what `then` says."""
    code = "import os, time\nfrom pathlib import Path\nfrom s1x.claims import *\n"
    code += f"claim('x', Path({str(directory)!r}), 'k', 'c', fresh=False)\n"
    process = subprocess.Popen([sys.executable, "-c", code + then], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_children_do_not_keep_what_their_parent_held(tmp_path, at_end):
    process = hold(tmp_path, "child = os.fork()\nif child: print('held', flush=True)\ntime.sleep(60)")
    try:
        with pytest.raises(SettingError, match="the same command is at work there"):
            claims.claim("x", tmp_path, "k", "c", fresh=False)
        with pytest.raises(SettingError, match=r"another command \(c\) is at work there"):
            claims.claim("x", tmp_path, "other", "d", fresh=False)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait()
        assert len(children) == 1 and Path(f"/proc/{children[0]}").exists()
        assert claims.claim("x", tmp_path, "k", "c", fresh=False) == tmp_path
    finally:
        process.kill()
        for child in children:
            os.kill(int(child), signal.SIGKILL)


@pytest.mark.parametrize("torn", [b"", b"{", b'{"key": "o', b"[1]", b"\xff\xfe"])
def test_a_claim_that_a_full_disk_cut_off_is_nobodys(tmp_path, torn, at_end):
    (tmp_path / ".claim").write_bytes(torn)
    claims.claim("x", tmp_path, "k", "c", fresh=False)
    assert json.loads((tmp_path / ".claim").read_text())["key"] == "k"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_said_to_be_one(tmp_path, number, monkeypatch, caplog, at_end):
    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    claims.claim("hydra.run.dir", tmp_path / "out", "k", "c", fresh=False)
    assert "this disk knows no locks" in caplog.text
    with pytest.raises(SettingError, match="holds the results of another command"):  # that is seen without locks
        claims.claim("hydra.run.dir", tmp_path / "out", "other", "c", fresh=False)
