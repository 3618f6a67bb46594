"""The thread beside the evaluation: waited for with a limit, in order, whatever its calls do."""

import threading
import time

import pytest

from s1x.tracking import thread as room


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A thread of this test's own."""
    monkeypatch.setattr(room, "_State", type("State", (), dict(open=0, failed=False, given_up=False, said=set(), thread=None)))
    monkeypatch.setattr(room, "_calls", room.deque())
    monkeypatch.setattr(room, "_changed", threading.Condition())


def test_calls_run_in_order_beside_whoever_makes_them_and_errors_do_not_stop_them(caplog):
    seen = []

    @room.beside
    def call(n):
        time.sleep(0.01)
        seen.append((n, threading.current_thread() is not threading.main_thread()))
        if n == 1:
            raise ValueError("no\nsuch thing")

    for n in range(3):
        call(n)
    assert len(seen) < 3
    assert room.settle(5) and seen == [(0, True), (1, True), (2, True)]
    assert "W&B: ValueError: no such thing (the evaluation goes on" in caplog.text


def test_one_that_hangs_is_given_up_and_nothing_is_tracked_any_more():
    stop, seen = threading.Event(), []
    hang, note = room.beside(stop.wait), room.beside(seen.append)
    hang()
    note(1)
    began = time.monotonic()
    assert not room.settle(0.2) and time.monotonic() - began < 1
    note(2)
    assert not room.settle(5)  # and nobody waits again
    stop.set()
    time.sleep(0.05)
    assert seen == []


def test_while_calls_end_they_are_waited_for_unless_the_server_has_failed():
    slow = room.beside(lambda: time.sleep(0.1))
    for _ in range(4):
        slow()
    assert room.settle(0.25)  # 0.4 s in all
    room.failed(OSError("gone"))
    for _ in range(4):
        slow()
    assert not room.settle(0.25)
