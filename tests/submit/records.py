"""What submissions leave in their directories, written without one."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

from s1x.stages import status


def recorded(place, tasks, host=None, births=None):
    """A submission to this machine: `tasks` are their jobs and what their task.json says."""
    host = host or os.uname().nodename
    record = {"command": "python run.py", "submit": "local", "host": host, "cells": 1, "time": time.time() - 99}
    for name, (_, said) in tasks.items():
        (place / "submit" / name).mkdir(parents=True, exist_ok=True)
        (place / "submit" / name / "task.json").unlink(missing_ok=True)
        if said:
            own = {"host": host, "restarts": 0, "began": time.time() - 9, "said": time.time() - 9} | said
            (place / "submit" / name / "task.json").write_text(json.dumps(own))
    record |= {"tasks": {name: str(job) for name, (job, _) in tasks.items()}, "births": births or {}}
    (place / "submit" / "submit.json").write_text(json.dumps(record))


def status_of(place, capsys):
    status.run(SimpleNamespace(report=SimpleNamespace(of=str(place))))
    return capsys.readouterr().out
