"""How far a command is, in a file that others may read while it runs (`stage=status`)."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from ..files import read_json, write_text

PROGRESS = "progress.json"
WRITE_SECONDS, WINDOW_SECONDS = 5.0, 300.0  # of which a pace is taken


def left_running(directory: Path) -> dict[str, float]:
    """What a run into `directory` that ended without a word (kill -9, a node that died) had done: `{decode_tokens, wall_s}`, up
    to some seconds before. {} where there was none. The directory must be the caller's alone."""
    found = read_json(directory / PROGRESS)
    if not isinstance(found, dict) or found.get("state") != "running":
        return {}
    tokens, began, said = (found.get(key) for key in ("tokens", "began", "said"))
    if not all(isinstance(value, int | float) for value in (tokens, began, said)):
        return {}
    return {"decode_tokens": tokens, "wall_s": said - began}


class Pace:
    """Writes `directory`/progress.json: {state, host, process, began, said, traces, total, tokens, tokens_per_second,
    seconds_left}. Of this very run: `tokens` are those it decoded; `total` traces, also those that were stored.

    state: running, done, stopped or failed. seconds_left: None while it cannot be known.
    """

    def __init__(self, directory: Path):
        self.path, self.began = directory / PROGRESS, time.time()
        self._seen: deque[tuple[float, int, int]] = deque([(self.began, 0, 0)])
        self._said = 0.0

    def say(self, traces: int, total: int, tokens: int, state: str = "running") -> None:
        """Write it, if it is time or the end. What keeps the file from being written is no reason to stop."""
        now = time.time()
        if state == "running" and now - self._said < WRITE_SECONDS:
            return
        self._said = now
        while len(self._seen) > 1 and now - self._seen[1][0] >= WINDOW_SECONDS:
            self._seen.popleft()
        then, traces_then, tokens_then = self._seen[0]
        seconds = max(now - then, 1e-9)
        self._seen.append((now, traces, tokens))
        new = traces - traces_then
        said = {
            "state": state,
            "host": os.uname().nodename,
            "process": os.getpid(),
            "began": self.began,
            "said": now,
            "traces": traces,
            "total": total,
            "tokens": tokens,
            "tokens_per_second": round((tokens - tokens_then) / seconds, 1),
            "seconds_left": round((total - traces) * seconds / new) if new and state == "running" else None,
        }
        with suppress(OSError):
            write_text(self.path, json.dumps(said) + "\n")
