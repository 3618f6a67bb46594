"""Killed and told to stop at random instants of every phase; then the same command again."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from .commands import Command, Hang, lost, stored, untrue
from .study import Place, Study

pytestmark = pytest.mark.campaign
PHASES = ("start", "composing", "generating", "grading", "writing", "report")
IN_A_ROW = 8  # kills in one place before the command is left alone
SIGNALS = [signal.SIGKILL] * 6 + [signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("kills") / "study")


def test_killed_at_random_instants_of_every_phase(study, size, count):
    tally, rng = count("kills"), random.Random(1)
    wanted, found, number = size(12, 200), Counter(), 0
    place, here = study.place("killed0"), 0
    while tally.tried < wanted:
        phase = min(PHASES, key=lambda p: (found[p], rng.random()))
        number += 1
        died = _kill(study, place, phase, rng, number, tally.trial)
        if died:
            found[phase] += 1
            here += 1
        if not died or here == IN_A_ROW or tally.tried == wanted:
            _, faults = study.again(place, study.home / f"again{number}.log")
            if any(faults.values()):
                tally.trial("the same command again", **faults)
            shutil.rmtree(place.home)
            place, here = study.place(f"killed{number}"), 0
    tally.check(wanted)


def _kill(study: Study, place: Place, phase: str, rng: random.Random, number: int, trial: Callable) -> bool:
    """Start the command and kill it in a phase; False where it ended before."""
    sign = rng.choice(SIGNALS)
    command = Command(place.arguments, study.home / f"killed{number}.log", fork=phase != "start")
    faults: dict[str, str | None] = {}
    try:
        if not _reach(study, place, command, phase, sign, rng):
            faults = {"traceback": command.traceback(), "wrong": f"it ended with {command.poll()}" * bool(command.poll())}
            if any(faults.values()):
                trial(f"{phase}, not killed", **faults)
            return False
        before = stored(place.store)
        command.send(sign, all_of_it=sign != signal.SIGKILL or rng.random() < 0.7)
        status = command.wait("stopping")
        if status == 0 and sign == signal.SIGKILL:  # the signal came a moment too late
            return False
        after = stored(place.store)
        faults["lost"] = lost(before, after)
        faults["wrong"] = untrue(after, study.truth)
        if status not in ((-9,) if sign == signal.SIGKILL else (128 + sign, 0)):
            faults["other"] = f"{sign.name} ended it with {status}: {command.said()[-1000:]}"
        faults["hang"] = command.left()
    except Hang as hang:
        faults["hang"] = str(hang)
    trial(f"{phase} {sign.name}", **faults, traceback=command.traceback())
    return True


def _reach(study: Study, place: Place, command: Command, phase: str, sign: signal.Signals, rng: random.Random) -> bool:
    """Let the command come to a random instant of a phase; False when it is over before."""
    over, took = place.phases(command.began), study.seconds
    if phase == "start":
        if sign != signal.SIGKILL and not command.until(command.takes_signals, phase):
            return False  # before that Python itself is killed, not s1x
        length = 2 * took["composing"] + 2
    elif phase == "composing":
        if not command.until(command.takes_signals, phase):
            return False
        length = took["composing"]
    elif phase == "generating":
        if not command.until(over["composing"], "composing"):
            return False
        length = took["generating"] - took["composing"]
    elif phase == "grading":
        if not command.until(command.members, "generating"):  # its workers
            return False
        length = took["writing"] - took["generating"] + 1
    elif phase == "writing":
        if not command.until(over["generating"], "generating"):
            return False
        length = took["writing"] - took["generating"]
    else:
        if not command.until(over["writing"], "writing"):
            return False
        length = took["report"] - took["writing"]
    end = time.monotonic() + rng.random() * length
    while time.monotonic() < end and command.poll() is None:
        time.sleep(0.002)
    return command.poll() is None
