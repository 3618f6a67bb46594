"""Are two answers mathematically the same? math-verify, in worker processes that can be killed.

An answer is untrusted input: `9**9**9**9` never returns, a page of LaTeX may exhaust the parser. So each comparison runs
in a worker under a time and a memory limit, and costs its own score at worst. Equal strings and integers never reach a
worker.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
from concurrent.futures import Future, TimeoutError
from typing import Literal

Verdict = Literal["same", "different", "unparsed", "timeout"]

SECONDS = 5.0  # per comparison, started when a worker takes it up
LONGEST = 2000  # characters; longer answers are not parsed
MEMORY = 4 << 30  # bytes of address space per worker

_INTEGER = re.compile(r"[+-]?[0-9]+")


def canonical(text: str) -> str:
    """The text without differences that cannot matter: dollars, sizes of brackets and fractions, leading zeros, a full stop."""
    text = text.strip().removesuffix(".").strip("$ \t\n")
    text = re.sub(r"\\(?:left|right)(?![a-zA-Z])|\\[!,;]", "", text.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac"))
    text = re.sub(r"\s+", " ", text).strip()
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-").lstrip("0") or "0"
        return f"-{digits}" if text[0] == "-" and digits != "0" else digits
    return text


class Judge:
    """Comparisons with a cache and a lazily started, reused pool of workers. Safe to call from several threads."""

    def __init__(self, seconds: float = SECONDS, workers: int | None = None):
        self.seconds = seconds
        self.workers = workers or max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))
        self._known: dict[tuple[str, str], Verdict | Future] = {}
        self._pool = None
        self._lock = threading.Lock()

    def submit(self, answer: str, target: str) -> None:
        """Start comparing, without waiting; `verdict` with the same arguments collects the result."""
        key = (canonical(answer), canonical(target))
        with self._lock:
            if key not in self._known:
                self._known[key] = self._shortcut(*key) or self._start().schedule(
                    _compare, args=(*key, self.seconds), timeout=self.seconds
                )

    def verdict(self, answer: str, target: str) -> Verdict:
        """"same", "different", "unparsed" (no mathematics in `answer`) or "timeout". Directed: `target` is the reference."""
        self.submit(answer, target)
        key = (canonical(answer), canonical(target))
        found = self._known[key]
        if isinstance(found, Future):
            found = self._known[key] = _result(found)
        return found

    def equivalent(self, a: str, b: str) -> bool:
        """Whether either answer is accepted as the other."""
        self.submit(a, b)
        self.submit(b, a)
        return self.verdict(a, b) == "same" or self.verdict(b, a) == "same"

    def group_answers(self, answers: list[str | None]) -> list[int]:
        """A class number for each answer, counted from 0 in order of appearance; -1 for None (no answer).

        Equivalence is not quite transitive (rounding), so an answer joins the first class whose first member it matches.
        """
        first: list[str] = []  # first member of each class
        known: dict[str, int] = {}
        for text in (canonical(a) for a in answers if a is not None):
            if text in known:
                continue
            for other in first:  # all at once, to all workers
                self.submit(text, other)
                self.submit(other, text)
            known[text] = next((i for i, other in enumerate(first) if self.equivalent(text, other)), len(first))
            if known[text] == len(first):
                first.append(text)
        return [-1 if a is None else known[canonical(a)] for a in answers]

    def close(self) -> None:
        """Kill the workers; comparisons under way count as timed out. The judge may be used again."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()

    @staticmethod
    def _shortcut(answer: str, target: str) -> Verdict | None:
        if answer == target:
            return "same"
        if _INTEGER.fullmatch(answer) and _INTEGER.fullmatch(target):
            return "different"
        return "unparsed" if not answer or len(answer) > LONGEST else None

    def _start(self):
        if self._pool is None:
            from multiprocessing import get_context

            from pebble import ProcessPool

            self._pool = ProcessPool(self.workers, initializer=_prepare, context=get_context("spawn"))
            atexit.register(self.close)
        return self._pool


def _result(future: Future) -> Verdict:
    from concurrent.futures import CancelledError

    from pebble import ProcessExpired

    try:
        return future.result()
    except (TimeoutError, CancelledError):
        return "timeout"
    except ProcessExpired:  # out of memory, or a parser that crashed
        return "different"


def _prepare() -> None:
    """Runs in each new worker, outside the time limit: load what is slow to load, set limits."""
    import logging
    import resource
    import signal

    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    verify(parse("$1$", parsing_timeout=None), parse("$2$", parsing_timeout=None), timeout_seconds=None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # die at once, even inside a long multiplication
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))


def _compare(answer: str, target: str, seconds: float) -> Verdict:
    import signal

    from math_verify import parse, verify

    signal.setitimer(signal.ITIMER_REAL, seconds + 2)  # default action: die. For workers whose parent was killed
    try:
        parsed = parse(_latex(answer), parsing_timeout=None)
        if not parsed:
            return "unparsed"
        same = verify(parse(_latex(target), parsing_timeout=None), parsed, timeout_seconds=None)
        return "same" if same else "different"
    except (Exception, RecursionError, MemoryError):  # whatever an answer does to the parser, it only costs its own score
        return "different"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _latex(text: str) -> str:
    return text if "$" in text or r"\boxed" in text else f"${text}$"


judge = Judge()
equivalent = judge.equivalent
group_answers = judge.group_answers
