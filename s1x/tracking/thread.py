"""The one thread on which W&B is spoken to: beside the evaluation, never in its way, and waited for with a limit.

What goes wrong there is a warning. After the first sign that the server does not do (`failed`), runs are kept in files for the
rest of the process, so a server that is gone is waited for once and not once for each cell.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import Any

log = logging.getLogger(__name__)


class _State:
    """Of the process. `open`: calls that have not ended; `given_up`: one of them was waited for too long; `said`: warnings."""

    open = 0
    failed = given_up = False
    said: set[str] = set()
    thread: threading.Thread | None = None


_calls: deque[Callable[[], None]] = deque()
_changed = threading.Condition()


def beside(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function run on the tracking thread, in call order; errors become warnings."""

    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:
            warn(error)

    @wraps(function)
    def submit(*args: Any, **kwargs: Any) -> None:
        with _changed:
            if _State.given_up:
                return
            _State.open += 1
            _calls.append(lambda: guarded(*args, **kwargs))
            if _State.thread is None:  # a daemon: the end of the process does not wait for it, `settle` does
                _State.thread = threading.Thread(target=_work, name="wandb", daemon=True)
                _State.thread.start()
            _changed.notify_all()

    return submit


def warn(error: BaseException, then: str = "the evaluation goes on; tracking=none turns W&B off") -> None:
    """Say it, once: what is wrong with a machine or its settings is so for every cell."""
    text = " ".join(str(error).split())
    sentence = f"W&B: {type(error).__name__}: {text[:300]} ({then})"
    if sentence not in _State.said:
        log.warning(sentence)
    _State.said.add(sentence)


def failed(error: BaseException) -> None:
    """The server does not do: from here on, runs are files."""
    if not _State.failed:
        warn(error, "its runs are kept in files from here on; tracking=none turns W&B off")
    _State.failed = True


def has_failed() -> bool:
    return _State.failed


def used() -> bool:
    """Whether anything was tracked in this process."""
    return _State.thread is not None


def leave(status: int) -> None:
    """End the process here where W&B was waited for in vain: its own handlers at the end would wait again."""
    if _State.given_up:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def settle(patience: float) -> bool:
    """Wait until all calls have ended; False when that takes too long, and nothing is tracked any more.

    patience: seconds without any call coming to its end, and once the server has failed, seconds in all.
    """
    with _changed:
        if _State.given_up:
            return False
        end, before = time.monotonic() + patience, _State.open
        while _State.open:
            if _State.open < before and not _State.failed:
                end, before = time.monotonic() + patience, _State.open
            if (left := end - time.monotonic()) <= 0:
                _State.given_up = True
                _calls.clear()
                return False
            _changed.wait(left)
        return True


def _work() -> None:
    while True:
        with _changed:
            _changed.wait_for(lambda: _calls)
            call = _calls.popleft()
        call()
        with _changed:
            _State.open -= 1
            _changed.notify_all()
