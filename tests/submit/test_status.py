"""stage=status: what is done, at work, waiting or failed, and when it will end."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import pytest

from s1x.errors import SettingError
from s1x.evaluation import pace
from s1x.stages import status

from .records import recorded, status_of


def test_the_pace_of_the_last_minutes_says_when_it_ends(tmp_path, monkeypatch):
    clock = SimpleNamespace(time=lambda: clock.now, now=1000.0)
    monkeypatch.setattr(pace, "time", clock)
    own = pace.Pace(tmp_path)
    for clock.now, traces, tokens in ((1000, 0, 0), (1010, 40, 0), (1310, 50, 3000), (1610, 60, 6000)):  # 40 were stored
        own.say(traces, 100, tokens)
    said = json.loads((tmp_path / "progress.json").read_text())
    assert (said["state"], said["traces"], said["tokens_per_second"], said["seconds_left"]) == ("running", 60, 10.0, 1200)
    own.say(100, 100, 9000, "done")
    assert json.loads((tmp_path / "progress.json").read_text())["seconds_left"] is None


def submitted(tmp_path, gone, **how):
    """Four shards: done, at work, not begun, and one whose process is gone; the report waits."""
    record = {"command": "python run.py", "submit": "local", "cells": 3, "tasks": {f"shard-{n}": str(n) for n in range(4)}}
    record["tasks"] |= {"shard-2": str(os.getpid()), "report": str(os.getpid())}
    now = time.time()
    of = {"host": "h", "process": 1, "began": now - 90, "said": now, "total": 30, "tokens_per_second": 50.0, "seconds_left": 60}
    for name, process, state, traces in (
        ("shard-0", 1, "done", 30),
        ("shard-1", os.getpid(), "running", 10),
        ("shard-3", gone, "running", 7),
    ):
        place = tmp_path / "submit" / name
        place.mkdir(parents=True)
        (place / "task.json").write_text(json.dumps({"state": state, "process": process, "restarts": 0, "began": now - 99}))
        (place / "progress.json").write_text(json.dumps(of | {"state": state, "traces": traces, "tokens": 10 * traces}))
    (tmp_path / "submit" / "submit.json").write_text(json.dumps(record | how))
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    return SimpleNamespace(report=SimpleNamespace(of=str(tmp_path)))


def test_the_status_says_what_is_done_running_waiting_and_missing(tmp_path, capsys, gone):
    status.run(submitted(tmp_path, gone))
    said = capsys.readouterr().out
    for line in (
        "shard-0  done     30 of 30 traces, 300 tokens decoded, job 0",
        "shard-1  running  10 of 30 traces, 100 tokens decoded, 50 tokens/s, until ",
        f"shard-2  waiting  job {os.getpid()}\n",
        "shard-3  failed   7 of 30 traces, 70 tokens decoded, job 3, its process is gone\n",
        f"report   waiting  job {os.getpid()}\n",
        "Cells written: 0 of 3.",
        "Decoded: 47 of about 120 traces; 50 tokens/s; the rest by about ",
        "; nobody is at work on shard-3 (the report decodes what they left).",
    ):
        assert line in said, said
    assert (
        f"by about {status.when(time.time() + 219)}" in said or f"by about {status.when(time.time() + 218)}" in said
    )  # 73 left, 20 a minute


def test_the_status_of_a_directory_that_was_not_submitted(tmp_path, capsys):
    own = pace.Pace(tmp_path)
    own.say(5, 20, 100)
    for job in ("0", "1"):
        (tmp_path / job / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / "cell.json").write_text("{}")
    status.run(SimpleNamespace(report=SimpleNamespace(of=str(tmp_path))))
    said = capsys.readouterr().out
    assert "here  running  5 of 20 traces, 100 tokens decoded" in said and "Cells written: 1 of 2.\nDecoded: 5 of 20" in said
    with pytest.raises(SettingError, match="nowhere: there is no such directory"):
        status.run(SimpleNamespace(report=SimpleNamespace(of="nowhere")))


def test_the_status_of_tasks_that_run_again_where_all_was_written(tmp_path, capsys, gone):
    (tmp_path / "cell.json").write_text("{}")
    pace.Pace(tmp_path).say(20, 20, 100, "done")  # of the run before
    for said in (None, {"process": os.getpid(), "state": "running"}):
        recorded(tmp_path, {"shard-0": (gone, {"process": gone, "state": "done"}), "report": (os.getpid(), said)})
        written = status_of(tmp_path, capsys)
        assert "Cells written: 1 of 1.\nNothing is decoded yet.\n" in written and "Done." not in written
    recorded(tmp_path, {"report": (gone, {"process": gone, "state": "done", "status": 0})})
    assert status_of(tmp_path, capsys).endswith("Cells written: 1 of 1.\nDone.\n")


def test_the_status_says_why_a_task_failed_and_who_goes_on(tmp_path, capsys, gone):
    here = os.getpid()
    tasks = {
        "shard-0": (gone, {"process": gone, "state": "running"}),  # SIGKILL
        "shard-1": (gone, {"process": gone, "state": "waiting"}),
        "shard-2": (gone, None),
        "shard-3": (gone, {"process": gone, "state": "left out", "because": ["train-0"]}),
        "shard-4": (gone, {"process": gone, "state": "failed", "status": 1}),
        "shard-5": (here, {"process": here, "state": "running"}),
    }
    for report, goes_on in (("waiting", "the report decodes what they left"), ("stopped", "the same command goes on")):
        process = here if report == "waiting" else gone
        recorded(tmp_path, tasks | {"report": (process, {"process": process, "state": report})})
        (tmp_path / "submit" / "shard-5" / "progress.json").unlink(missing_ok=True)
        pace.Pace(tmp_path / "submit" / "shard-5").say(1, 2, 3)
        said = status_of(tmp_path, capsys)
        assert said.count(f"failed   job {gone}, its process is gone\n") == 3, said
        assert "another task that it needs has failed\n" in said and "status 1\n" in said
        assert f"nobody is at work on shard-0, shard-1, shard-2, shard-3, shard-4 ({goes_on})." in said


def test_the_status_of_tasks_of_another_machine_is_what_they_say(tmp_path, capsys, gone):
    tasks = {"shard-0": (gone, {"process": gone, "state": "running"}), "report": (gone, {"process": gone, "state": "waiting"})}
    recorded(tmp_path, tasks, "another")
    pace.Pace(tmp_path / "submit" / "shard-0").say(1, 2, 3)
    said = status_of(tmp_path, capsys)
    assert "shard-0  running  1 of 2 traces" in said and f"report   waiting  job {gone}\n" in said, said


def test_the_status_of_a_cell_that_is_written(tmp_path, capsys):
    (tmp_path / "cell.json").write_text("{}")
    assert status_of(tmp_path, capsys) == "here  done\nCells written: 1 of 1.\nDone.\n"
