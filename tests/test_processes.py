"""Which process a number means."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from s1x import processes
from s1x.processes import alive, birth, here, started


def test_a_process_that_nobody_waits_for_is_none():
    process = subprocess.Popen(["sleep", "60"])
    born = birth(process.pid)
    assert alive(process.pid) and alive(process.pid, born)
    process.kill()
    end = time.monotonic() + 20
    while alive(process.pid) and sys.platform == "linux":
        assert time.monotonic() < end
        time.sleep(0.02)
    process.wait()
    assert not alive(process.pid) and not alive(process.pid, born) and birth(process.pid) == f"{here()} "


def test_a_number_is_used_again():
    own = os.getpid()
    assert alive(own, birth(own)) and alive(own, "") and alive(own, None)
    for other in (f"{here()} 1", f"elsewhere {started(own)}", f"{here()} ", started(own)):
        assert not alive(own, other), other


@pytest.mark.parametrize("hidden", [FileNotFoundError, PermissionError])
def test_somebody_elses_process_that_the_system_hides_is_there(monkeypatch, hidden):
    """/proc with hidepid."""
    own, born = os.getpid(), birth(os.getpid())

    class Path(type(processes.Path())):
        def read_bytes(self):
            raise hidden

    monkeypatch.setattr(processes, "Path", Path)
    assert started(own) == "there" and alive(own, born) and not alive(own, "elsewhere 1")
    monkeypatch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(ProcessLookupError))
    assert not alive(own, born)
