"""Eight processes run one sweep on one store: undisturbed they share the work, killed again and again they lose nothing."""

from __future__ import annotations

import random
import shutil
import signal
import time

import pytest

from s1x.streams import upkeep

from .commands import Command, Hang, stored, untrue
from .study import Place, Study
from .tally import Tally

pytestmark = pytest.mark.campaign
SEVERAL = 8
SLOW = "engine._target_=tests.campaign.slow.Slow"  # than that of the study, with the same tokens


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return studied(tmp_path_factory, 240)


@pytest.fixture(scope="module")
def killed(tmp_path_factory, request):
    return studied(tmp_path_factory, 240 if request.config.getoption("--full-campaign") else 80)


def studied(tmp_path_factory, questions):
    return Study(tmp_path_factory.mktemp("several") / "study", questions=questions, more=("engine.capacity=32",))


class Runs:
    """The same sweep several times on the store of a place, each with a directory of its own."""

    def __init__(self, study: Study, place: Place, several: int = SEVERAL):
        self.study, self.place, self.number = study, place, 0
        self.places = [study.place(f"{place.home.name}/{i}") for i in range(several)]
        self.commands: list[Command | None] = [None] * several

    def __enter__(self) -> Runs:
        for i in range(len(self.commands)):
            self.start(i)
        return self

    def __exit__(self, *_: object) -> None:
        for command in self.commands:
            if command and command.poll() is None:
                command.kill()

    def start(self, i: int) -> None:
        self.number += 1
        arguments = [*self.study.settings, SLOW, f"store.dir={self.place.store}", f"hydra.sweep.dir={self.places[i].out}"]
        self.commands[i] = Command(arguments, self.place.home / f"{i}-{self.number}.log")

    def end(self) -> list[dict[str, str | None]]:
        """Wait for all; what is wrong with each."""
        found = []
        for i, command in enumerate(self.commands):
            faults: dict[str, str | None] = {}
            try:
                status = command.wait("again")
                faults["wrong"] = (
                    f"it ended with {status}: {command.said()[-1000:]}" if status else self.study.differs(self.places[i].out)
                )
                faults["traceback"] = command.traceback()
            except Hang as hang:
                faults["hang"] = str(hang)
            found.append(faults)
        return found

    def stored(self) -> tuple[int, int]:
        """Tokens as often as they were written, and once each."""
        found = upkeep.contents(self.place.store, check=True)
        assert not any(one.damage or one.apart for one in found), found
        return sum(one.written for one in found), sum(one.tokens for one in found)


def test_undisturbed_each_does_its_part(study, count):
    tally, began = count("eight processes at once"), time.monotonic()
    with Runs(study, study.place("at once")) as runs:
        for faults in runs.end():
            tally.trial("process", **faults)
    seconds = time.monotonic() - began
    decoded = [place.decoded() for place in runs.places]
    union = study.place("whole").decoded()
    tally.measured |= {"decoded by each": decoded, "by one alone": union, "in all, of that": round(sum(decoded) / union, 3)}
    tally.measured |= {"seconds of all": round(seconds, 1)}
    assert sum(decoded) <= 1.15 * union, decoded
    assert min(decoded) >= union / SEVERAL / 3, decoded
    assert untrue(stored(runs.place.store), study.truth) is None
    tally.check(SEVERAL)


def test_killed_at_random_and_started_again(killed, size, count):
    tally, rng, wanted = count("kills among eight processes"), random.Random(3), size(10, 60)
    rounds = 0
    while tally.tried < wanted:
        rounds += 1
        with Runs(killed, killed.place(f"killed{rounds}"), size(4, SEVERAL)) as runs:  # half as many in .ci/run
            while tally.tried < wanted and any(command.poll() is None for command in runs.commands):
                time.sleep(rng.uniform(0.1, 0.8))
                _kill(runs, rng, tally)
            for faults in runs.end():
                if any(faults.values()):
                    tally.trial("the same command again", **faults)
        written, once = runs.stored()
        tally.measured.setdefault("tokens written, of those that are there", []).append(round(written / once, 3))
        if told := untrue(stored(runs.place.store), killed.truth):
            tally.trial("the store", wrong=told)
        shutil.rmtree(runs.place.home)
    tally.check(wanted)


def _kill(runs: Runs, rng: random.Random, tally: Tally) -> None:
    """One of those that are at work, and start it again. Starting takes long, and is seldom what is disturbed."""
    there = {i: _begun(command) for i, command in enumerate(runs.commands) if command.poll() is None}
    begun = [i for i in there if there[i]]
    if not there or not begun and rng.random() < 0.9:
        return
    i = rng.choice(begun or list(there))
    command = runs.commands[i]
    command.kill()
    if (status := command.wait("stopping")) == -signal.SIGKILL:
        tally.trial("generating" if there[i] else "starting", hang=command.left())
    elif status:
        tally.trial("generating", other=f"it ended with {status}: {command.said()[-1000:]}")
    runs.start(i)


def _begun(command: Command) -> bool:
    return command.log.is_file() and "cells -> " in command.said()
