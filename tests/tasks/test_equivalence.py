"""Mathematical equivalence, and answers that try to hang or kill the grader."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from s1x.tasks import workers
from s1x.tasks.equivalence import Rules, canonical

SLOW, SLOWER = (rf"\int_0^1 \frac{{\sin(x^{n})}}{{1+x^5+e^x}} dx" for n in (4, 6))  # compute for longer than they may


@pytest.fixture(scope="module")
def rules():
    rules = Rules()
    yield rules
    rules.close()


@pytest.mark.parametrize(
    ("answer", "target", "verdict"),
    [
        ("0.5", "\\frac{1}{2}", "same"),
        ("\\sqrt{18}", "3\\sqrt{2}", "same"),
        ("2(k+1)", "2k+2", "same"),
        ("25^\\circ", "25", "same"),
        ("1,234", "1234", "same"),
        ("Evelyn", "\\text{Evelyn}", "same"),
        ("(3, \\pi)", "(3, \\frac{\\pi}{2})", "different"),
        ("\\frac{1}{3}", "\\frac{1}{2}", "different"),
        ("I don't know", "5", "different"),
        ("1 or 2", "1", "different"),
        ("\\frac{", "5", "unparsed"),
        ("9**9**9**9", "9", "unparsed"),
        ("2**3", "8", "same"),
        ("2**3", "2", "different"),
        ("3 1/2", "\\frac{7}{2}", "same"),
        ("3 1/2", "2", "different"),
        ("sqrt(2)/2", "\\frac{1}{\\sqrt{2}}", "same"),
        ("2*pi", "2\\pi", "same"),
        ("sin(x)", "\\sin x", "same"),
        ("10\\%", "10", "same"),
        ("evelyn", "\\text{Evelyn}", "same"),
        ("least", "\\text{stale}", "different"),
        ("(0,1)", "(0,1]", "different"),
        ("(C)", "\\text{C}", "same"),
        ("C) 12", "\\text{(C)}", "same"),
        ("C) -5", "\\text{(C)}", "same"),
        ("\\textbf{C) }\\frac12", "C", "same"),
        ("\\mathrm{(C)}\\ 12", "C", "same"),
        ("c) 12", "C", "same"),
        ("(C): 12", "c", "same"),
        ("D) 12", "\\text{(C)}", "different"),
        ("(C) or (D)", "C", "different"),
        ("(X) + 1", "X", "different"),
        ("a", "A", "same"),
        ("N", "n", "same"),
        ("3R^2", "3r^2", "same"),
        ("n", "m", "different"),
        ("6, 5", "5, 6", "same"),
        ("5, 6", "5", "different"),
        ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "same"),
    ],
)
def test_mathematics(rules, answer, target, verdict):
    assert rules.verdict(answer, target) == verdict


def test_shortcuts_start_no_worker():
    rules = Rules()
    assert rules.verdict("025", "25") == "same"
    assert rules.verdict("24", "25") == "different"
    assert rules.verdict("$\\dfrac{1}{2}$.", "\\frac{1}{2}") == "same"
    assert rules.verdict("9" * 5000, "9" * 4999 + "8") == "different"  # more digits than int() takes
    assert rules.verdict("\\frac{" * 100_000, "5") == "unparsed"
    assert rules.verdict("0" * 100_000 + "x", "5") == "unparsed"
    assert rules.group_answers(["7", None, "07", "8", "$7$"]) == [0, -1, 0, 1, 0]
    assert rules.group_answers(["B", "A", "B", None]) == [0, 1, 0, -1]
    assert rules.group_answers(["Yes it is", "yes it is", "on time", "no item"]) == [0, 0, 1, 2]
    assert rules._pool is None


def test_spaces_matter():
    assert canonical("1 1/2") != canonical("11/2")


def test_hostile_answers_cost_their_own_score_only():
    rules = Rules(seconds=1.0, workers=2)
    hostile = ["9**9**9**9", "9^{9^{9^9}}", "\\frac{" * 300 + "1", "10^{10^{10}}!", "\x00"]
    begun = time.perf_counter()
    for answer in hostile:
        rules.submit(answer, "\\frac{1}{2}")
    verdicts = [rules.verdict(answer, "\\frac{1}{2}") for answer in hostile]
    assert "same" not in verdicts
    assert time.perf_counter() - begun < 100  # workers start anew after each timeout, slowly on a busy machine
    assert rules.verdict("0.5", "\\frac{1}{2}") == "same"  # the pool lives on
    begun = time.perf_counter()
    assert [rules.verdict(answer, "\\frac{1}{2}") for answer in hostile] == verdicts  # from the cache
    assert time.perf_counter() - begun < 0.1
    rules.submit("8^{8^{8^{8^8}}}", "1/3")
    begun = time.perf_counter()
    rules.close()
    assert time.perf_counter() - begun < 2.5


def test_the_limit_is_hard():
    rules = Rules(seconds=1.0, workers=1)
    try:
        assert rules.verdict("1/2", "0.5") == "same"  # a worker is up
        begun = time.perf_counter()
        assert rules.verdict(SLOW, "1/2") == "timeout"
        assert time.perf_counter() - begun < 10
    finally:
        rules.close()


def test_groups_for_voting(rules):
    answers = ["\\frac{1}{2}", "3", "0.5", None, "x^2-1", "3.0", "(x-1)(x+1)", "\\dfrac12", "4"]
    assert rules.group_answers(answers) == [0, 1, 0, -1, 2, 1, 2, 0, 3]
    assert rules.group_answers([]) == []


def test_grouping_waits_for_nothing_until_its_classes_are_asked_for():
    """Comparisons that run into their limit: looking at them takes milliseconds, and the classes are those of waiting."""
    rules = Rules(seconds=1.0, workers=1)
    try:
        assert rules.verdict("2x", "x+x") == "same"  # a worker is up
        answers = [SLOW, None, SLOWER, "x/2", "0.5x", SLOWER]
        grouping, begun, longest = rules.grouping(answers), time.perf_counter(), 0.0
        while not grouping.done():
            looked = time.perf_counter()
            grouping.done()
            longest = max(longest, time.perf_counter() - looked)
            time.sleep(0.05)
            assert time.perf_counter() - begun < 120
        assert time.perf_counter() - begun > 1  # it was slow
        assert longest < 0.5
        looked = time.perf_counter()
        assert grouping.classes() == rules.group_answers(answers) == [0, -1, 1, 2, 2, 1]
        assert time.perf_counter() - looked < 0.5
    finally:
        rules.close()


@pytest.mark.parametrize(
    "answers", [["7", "8", "07", None, "8"], [], [None], ["b", "a", "b", "a", "c"], ["A or B", "1/2", "0.5"]]
)
def test_grouping_by_and_by_is_grouping_at_once(rules, answers):
    grouping = rules.grouping(answers)
    while not grouping.done():
        time.sleep(0.01)
    assert grouping.classes() == rules.group_answers(answers) == rules.grouping(answers).classes()


def kill(rules) -> None:
    for process in rules._pool.processes():
        os.kill(process, signal.SIGKILL)


def test_workers_killed_while_idle_are_replaced():
    rules = Rules(workers=2)
    try:
        for i in range(2, 5):
            assert rules.verdict(f"\\sqrt{{{i}}}x", f"x\\sqrt{{{i}}}") == "same"
            kill(rules)
        assert rules.verdict("\\sqrt{7}x", "\\sqrt{8}x") == "different"
        assert rules.ungraded == 0
    finally:
        rules.close()


def test_a_comparison_whose_worker_is_killed_is_made_again():
    rules = Rules(seconds=3.0, workers=1)
    try:
        assert rules.verdict("2x", "x+x") == "same"
        rules.submit(SLOW, "1/3")  # computes for its three seconds, if it may
        rules.submit("(x+1)^2", "x^2+2x+1")
        time.sleep(0.5)
        kill(rules)
        assert rules.verdict(SLOW, "1/3") == "timeout"
        assert rules.verdict("(x+1)^2", "x^2+2x+1") == "same"
    finally:
        rules.close()


def test_a_comparison_that_cannot_be_made_is_not_graded_and_said(caplog):
    rules = Rules(workers=1)
    over = threading.Event()

    def killer():
        while not over.wait(0.02):
            if rules._pool is not None:
                kill(rules)

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        assert rules.verdict("2x", "x+x") == "ungraded"
        assert rules.verdict("2x", "x+x") == "ungraded" and rules.ungraded == 1
        assert "not graded" in caplog.text and "2x" in caplog.text
    finally:
        over.set()
        thread.join()
    assert rules.verdict("3x", "x+2x") == "same"
    rules.close()


def test_a_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text("from s1x.tasks import equivalent\nprint(equivalent('2x', 'x+x'), equivalent('2x', '3x'))\n")
    root = Path(__file__).resolve().parents[2]
    for command in ([str(script)], ["-c", script.read_text()]):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(root)}
        )
        assert done.stdout == "True False\n" and done.stderr == "" and done.returncode == 0


@pytest.mark.parametrize(("processors", "gib", "count"), [(64, 256, 8), (64, 4, 2), (64, 1, 1), (2, 64, 2), (1, 64, 1)])
def test_workers_take_no_more_than_a_quarter_of_the_memory_and_4_gib(monkeypatch, processors, gib, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": gib << 18}.get)
    assert workers.sensible() == count
    assert count * workers.MEMORY <= max(workers.MEMORY, min(gib << 28, 4 << 30))


def test_a_comparison_that_takes_much_memory_costs_itself_alone():
    rules = Rules(seconds=20, workers=1)
    try:
        assert rules.verdict(r"\binom{10^9}{10^8} x", "x") in ("timeout", "ungraded", "unparsed", "different")
        assert rules.verdict("2x", "x+x") == "same"
    finally:
        rules.close()
