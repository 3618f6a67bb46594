"""Told to stop, in every phase and by every signal; and other locales."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from .conftest import NO_LOCAL

ROOT = Path(__file__).parents[1]
SLOW = ["engine=scripted", "engine.tokens_per_poll=1", "task.limit=200", "method.string=Wait"]


def _listening() -> None:
    """What runs in the background, or under nohup, may ignore them."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(place: Path, *settings: str, experiment: str = "budget_sweep", **how) -> subprocess.Popen:
    own = [f"store.dir={place / 'store'}", f"hydra.sweep.dir={place / 'out'}", "tracking=none", *NO_LOCAL]
    return subprocess.Popen(
        [sys.executable, "run.py", f"+experiment={experiment}", *own, *settings],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=_listening,
        **how,
    )


def stop(process: subprocess.Popen, number: int) -> tuple[str, float]:
    """What it said, and how many seconds it took."""
    began = time.monotonic()
    os.killpg(process.pid, number)  # to all its processes, as terminals and clusters do
    said, _ = process.communicate(timeout=30)
    return said, time.monotonic() - began


OFTEN = pytest.mark.campaign


@pytest.mark.parametrize(
    "number", ["SIGTERM", *(pytest.param(n, marks=OFTEN) for n in ("SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"))]
)
def test_while_it_generates(tmp_path, number):
    """What the engine has handed over is kept: the second run decodes the rest, and its results are those of one run."""
    sign = signal.Signals[number]
    process = start(tmp_path, *SLOW)
    while not list((tmp_path / "store").rglob("*.streams")):
        assert process.poll() is None
        time.sleep(0.05)
    said, seconds = stop(process, sign)
    assert process.returncode == 128 + sign, said
    assert said.endswith("the same command goes on from here.\n") and "Traceback" not in said
    assert seconds < 10  # a second on a quiet machine
    assert not [p for p in Path("/proc").glob("[0-9]*") if _session(p) == process.pid]  # no child is left


@pytest.mark.long
@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_what_a_stopped_run_decoded_is_counted(tmp_path, number):
    """Of one that was killed up to the last word of its progress."""
    told, slower = tmp_path / "out" / "progress.json", "engine._target_=tests.submit.slow.SlowEngine"
    process = start(tmp_path, *SLOW, slower)
    while not told.is_file() or not json.loads(told.read_text())["tokens"]:
        assert process.poll() is None
        time.sleep(0.05)
    stop(process, signal.Signals[number])
    before = json.loads(told.read_text())["tokens"]
    assert start(tmp_path, *SLOW).wait(timeout=120) == 0
    decoded = json.loads((tmp_path / "out" / "run.json").read_text())["decode_tokens"]
    assert decoded == pytest.approx(before + json.loads(told.read_text())["tokens"], rel=0.01) and before > 0
    cost = json.loads((tmp_path / "out" / "summary.json").read_text())["cost"]
    assert cost["run"]["decode_tokens"] == decoded
    assert number == "SIGKILL" or decoded == pytest.approx(cost["path_tokens_union"], rel=0.01)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGUSR2"])
@pytest.mark.parametrize("after", [0.3, pytest.param(1.0, marks=OFTEN)])
def test_while_it_starts(tmp_path, number, after):
    process = start(tmp_path, *SLOW)
    time.sleep(after)
    said, _ = stop(process, signal.Signals[number])
    assert process.returncode == 128 + signal.Signals[number], said
    assert said.count("\n") <= 5 and "Traceback" not in said


DROPS = """
import os, signal, sys, time, weakref
from s1x import interrupts

interrupts.listen()
interrupts.begin()

def told(_=None):
    os.kill(os.getpid(), signal.Signals[sys.argv[2]])
    time.sleep(0.2)

class Gone:
    def __del__(self):
        if sys.argv[1] == "__del__":
            told()

thing = Gone()
seen = weakref.ref(thing, told) if sys.argv[1] == "weakref" else None
try:
    del thing
    time.sleep(20)
except interrupts.Stopped as stop:
    interrupts.leave(stop)
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGUSR1"])
@pytest.mark.parametrize("where", ["__del__", "weakref"])
def test_where_python_drops_exceptions(where, number):
    """An exception raised while an object goes is printed and dropped: the command would have gone on to its end."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", DROPS, where, number], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 128 + signal.Signals[number], done.stderr
    assert "Exception ignored" not in done.stderr and time.monotonic() - began < 10


GONE = """
import sys, time
from s1x import interrupts

interrupts.listen()
interrupts.begin()
try:
    with interrupts.patiently():
        print("ready", flush=True)
        while not interrupts.asked():
            time.sleep(0.01)
        for stream in (sys.stdout, sys.stderr):  # as bars do
            print("step 2 of 9", file=stream, flush=True)
        open(sys.argv[1], "w").write("checkpoint")
except interrupts.Stopped as stop:
    interrupts.leave(stop)
"""


def test_a_terminal_that_is_closed_costs_no_checkpoint(tmp_path):
    """SIGHUP comes when it is gone: whatever is written to it from then on fails."""
    pid, terminal = pty.fork()
    if pid == 0:
        _listening()
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", GONE, str(tmp_path / "checkpoint")])
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert (tmp_path / "checkpoint").read_text() == "checkpoint"
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP


def test_a_signal_that_the_shell_ignores_stays_ignored(tmp_path):
    """As under nohup."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from s1x import interrupts as i; i.listen(); i.begin(); input(); print('there')"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGHUP, signal.SIG_IGN),
    )
    time.sleep(0.5)
    process.send_signal(signal.SIGHUP)
    assert process.communicate("\n", timeout=20)[0] == "there\n" and process.returncode == 0


@pytest.mark.long
def test_without_a_locale_every_file_is_utf_8(tmp_path):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = start(tmp_path, "engine=scripted", "task.limit=4", experiment="wait_sweep", env=os.environ | plain)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not page.isascii() and page.rstrip().endswith("</html>")
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["cells"]


def _session(process: Path) -> int | None:
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[3]) if fields[0] != "Z" else None
