"""Graders that die: while idle, while starting, while comparing; and those of a command under way."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from s1x.tasks.equivalence import Rules

from .commands import Command, Hang
from .study import Study

pytestmark = pytest.mark.campaign
PAIRS = [
    ("2X", "X+X", "same"), ("X^2-1", "(X-1)(X+1)", "same"), (r"\sqrt{12} X", r"2\sqrt{3} X", "same"),
    ("3X", "X+X", "different"), (r"\frac{X}{2}", r"\frac{2X}{4}", "same"), ("5+X", "X+5", "same"),
    (r"\sqrt{5}X", r"X\sqrt{6}", "different"),
]  # fmt: skip


def _kill(rules: Rules, rng: random.Random) -> int:
    there = rules._pool.processes() if rules._pool else []
    chosen = there if rng.random() < 0.5 else there[:1]
    for pid in chosen:
        os.kill(pid, signal.SIGKILL)
    return len(chosen)


def test_workers_killed_in_every_state(tmp_path, size, count):
    tally, rng, wanted = count("dead workers"), random.Random(4), size(6, 24)
    number = 0
    while tally.tried < wanted:
        state, rules = ("idle", "starting", "comparing")[tally.tried % 3], Rules(seconds=4.0, workers=2)
        number += 1
        letter = "abcdefghjkmnpqrstuvwxyz"[number % 23]
        pairs = [(a.replace("X", letter), b.replace("X", letter), v) for a, b, v in rng.sample(PAIRS, 4)]
        try:
            if state != "starting":
                rules.verdict(f"{number}y", f"y+{number - 1}y")
            if state == "idle":
                dead = _until(rules, rng, 0.0)
            for a, b, _ in pairs:
                rules.submit(a, b)
            if state != "idle":
                dead = _until(rules, rng, rng.random() * (1.2 if state == "starting" else 0.15))
            found = [rules.verdict(a, b) for a, b, _ in pairs]
            expected = [v for *_, v in pairs]
            wrong = f"{found} and not {expected} of {pairs}" if found != expected else None
            if dead:
                tally.trial(state, wrong=wrong, other=f"{rules.ungraded} not graded" if rules.ungraded else None)
        finally:
            rules.close()
    tally.check(wanted)


def _until(rules: Rules, rng: random.Random, seconds: float) -> int:
    """Kill after some seconds, as soon as there is somebody."""
    time.sleep(seconds)
    end = time.monotonic() + 20
    while not (dead := _kill(rules, rng)) and time.monotonic() < end:
        time.sleep(0.005)
    return dead


def test_workers_of_a_command(tmp_path, size, count):
    tally, rng = count("dead workers of commands"), random.Random(5)
    study = Study(tmp_path / "study")
    for number in range(size(2, 6)):
        place = study.place(f"dead{number}")
        command = Command(place.arguments, study.home / f"dead{number}.log")
        faults: dict[str, str | None] = {}
        try:
            command.until(command.members, "generating")
            time.sleep(rng.random() * 2)
            for pid in command.members():
                os.kill(pid, signal.SIGKILL)
            if command.wait("again"):
                faults["other"] = command.said()[-1000:]
            else:
                faults["wrong"] = study.differs(place.out)
            faults["traceback"] = command.traceback()
        except (Hang, ProcessLookupError) as error:
            faults["hang"] = str(error)
        tally.trial("grading", **faults)
    tally.check(size(2, 6))
