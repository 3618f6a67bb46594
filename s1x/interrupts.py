"""Being told to stop: Ctrl-C, and the signals by which terminals, shells and clusters end a command, all end it alike.

Until `begin`, while modules load and configurations are composed, the process just ends with a sentence: nothing is open, and
libraries swallow exceptions there. From then on `Stopped` is raised in the main thread, so whatever is open flushes and closes
on its way out; where Python drops it (in a `__del__`, in a callback of a weak reference) it is raised again a moment later.
Children inherit that SIGUSR1 and SIGUSR2 (a cluster's warnings, sent to every process of a job) are blocked, so a warning does
not kill them before this process has ended them.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)  # kill by default, and are sent to children as well
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The signal that ended the command; `status` is what a shell expects of it, 128 and its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number

    def __str__(self) -> str:
        how = "" if self.status == 130 else f" ({self.args[0]})"
        return f"Stopped{how}. What was generated so far is kept: the same command goes on from here."


class _State:
    """Of the process. `asked`: what it was told first; `patient`: a block waits for a good moment to obey; `dropped`: the
    exception was raised where none can be; `warning`: a blocked signal that SIGTERM stands for."""

    listening = begun = patient = dropped = False
    asked: Stopped | None = None
    warning: int | None = None


def listen() -> None:
    """Take the signals over; the first thing a command does. Signals that it was started to ignore (nohup) stay ignored."""
    _State.listening = True
    for number in ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _take)
    sys.unraisablehook = _dropped
    signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)
    threading.Thread(target=_pass_on, daemon=True).start()


def begin() -> None:
    """From here on a signal raises `Stopped` in the main thread."""
    _State.begun = True


@contextmanager
def patiently() -> Iterator[None]:
    """In this block the first signal only sets `asked()`; it is raised at the block's end, and a second one at once."""
    _State.patient = True
    try:
        yield
    finally:
        _State.patient = False
    if _State.asked:
        raise _State.asked


def asked() -> Stopped | None:
    """The signal by which the command was told to stop, also where a library swallowed the exception."""
    return _State.asked


def leave(stop: Stopped) -> None:
    """Say it and end, at once: a library's exit handlers may wait for the network, or for children that are gone."""
    for number in ENDS if _State.listening else ():
        signal.signal(number, signal.SIG_IGN)
    try:
        print(f"\n{stop}", file=sys.stderr, flush=True)
    except OSError:
        pass  # the terminal is gone
    os._exit(stop.status)


def _take(number: int, _: object) -> None:
    if number == signal.SIGHUP:
        _let_go()
    if _State.dropped:
        _State.dropped = False
        raise _State.asked
    if number == signal.SIGTERM and _State.warning:
        number, _State.warning = _State.warning, None
    again, _State.asked = _State.asked, _State.asked or Stopped(number)
    if not _State.begun:
        leave(_State.asked)
    if not again and not _State.patient:
        raise _State.asked
    if not again:
        with suppress(OSError):  # print is not for handlers
            os.write(2, b"\nStopping, with a checkpoint first; Ctrl-C stops at once.\n")
    elif number == signal.SIGINT:  # clusters repeat themselves; a person who does so does not want to wait
        if not _State.patient:
            leave(again)
        _State.patient = False
        raise again


def _let_go() -> None:
    """Of a terminal that is gone: writing to it fails, and so would every library that still has something to say, such as the
    bar of a training that is to write its checkpoint. It goes nowhere from here on."""
    for place in (1, 2):
        try:
            os.write(place, b"")
        except OSError as error:
            if error.errno == errno.EIO:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, place)
                os.close(nowhere)


def _dropped(unraisable: sys.UnraisableHookArgs) -> None:
    """What Python calls with an exception that it cannot raise. No lock is taken here: garbage is collected anywhere."""
    if isinstance(unraisable.exc_value, Stopped):
        _State.dropped = True
        os.kill(os.getpid(), WARNINGS[0])  # for the thread below
    else:
        sys.__unraisablehook__(unraisable)


def _pass_on() -> None:
    """Hand a blocked warning, or a dropped signal, to the main thread, which is to be woken from whatever it waits for."""
    while True:
        number = signal.sigwait(WARNINGS)
        if _State.dropped:
            time.sleep(0.01)  # so that the main thread is out of `_dropped`
        else:
            _State.warning = number
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
