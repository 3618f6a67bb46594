"""Are two answers mathematically the same? math-verify, in worker processes that can be killed.

An answer is untrusted input: `9**9**9**9` never returns, a page of LaTeX may exhaust the parser. So each comparison runs
in a worker under a time and a memory limit, and costs its own score at worst. Equal strings, integers and letters never
reach a worker.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import threading
from concurrent.futures import Future, TimeoutError
from typing import Literal

Verdict = Literal["same", "different", "unparsed", "timeout"]

SECONDS = 5.0  # of computing per comparison; a busy machine does not change a score
WALL = 6.0  # times that, on the clock, is the end in any case
LONGEST = 2000  # characters; longer answers are not parsed
MEMORY = 4 << 30  # bytes of address space per worker

_INTEGER = re.compile(r"[+-]?[0-9]+")
_LETTER = re.compile(r"[A-Za-z]")
_WORDS = re.compile(r"[A-Za-z][A-Za-z ]{3,}")  # "Evelyn", not the product xy
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_LATEX = [  # plain notation that a LaTeX parser would misread
    (re.compile(r"\*\*\s*(\([^()]*\)|-?[\w.]+)(?!\s*\*\*)"), r"^{\1}"),  # 2**3; towers stay, and are not read
    (re.compile(r"(?<![\d.])(\d+) (\d+)/(\d+)"), r"\1\\frac{\2}{\3}"),  # 3 1/2
    (re.compile(r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\\a-zA-Z])(pi|sin|cos|tan|ln|log)(?![a-zA-Z])"), r"\\\1 "),
    (re.compile(r"\\?%"), ""),  # MATH writes 10\% and 10 for the same
]


def canonical(text: str) -> str:
    """The text without differences that cannot matter: dollars, sizes of brackets and fractions, leading zeros, a full stop."""
    text = text.strip().removesuffix(".").strip("$ \t\n")
    text = re.sub(r"\\(?:left|right)(?![a-zA-Z])|\\[!,;]", "", text.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac"))
    text = re.sub(r"\s+", " ", text).strip()
    if match := _TEXT.fullmatch(text):
        text = match[1].strip()
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
                    _compare, args=(*key, self.seconds), timeout=WALL * self.seconds
                )

    def verdict(self, answer: str, target: str) -> Verdict:
        """ "same", "different", "unparsed" (no mathematics in `answer`) or "timeout". Directed: `target` is the reference."""
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
        if any(kind.fullmatch(answer) and kind.fullmatch(target) for kind in (_INTEGER, _LETTER)):
            return "different"
        if _WORDS.fullmatch(answer) and _WORDS.fullmatch(target):  # to a parser, anagrams are equal products
            return "same" if answer.casefold() == target.casefold() else "different"
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
    except ProcessExpired as error:  # out of time; otherwise out of memory, or a parser that crashed
        return "timeout" if error.exitcode == -signal.SIGPROF else "different"


def _prepare() -> None:
    """Runs in each new worker, outside the time limit: load what is slow to load, set limits."""
    import logging
    import resource

    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    verify(parse("$1$", parsing_timeout=None), parse("$2$", parsing_timeout=None), timeout_seconds=None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # die at once, even inside a long multiplication
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))


def _compare(answer: str, target: str, seconds: float) -> Verdict:
    from math_verify import verify

    signal.setitimer(signal.ITIMER_PROF, seconds)  # processor time, then die: no Python needs to run, nor the parent to live
    try:
        parsed = _parse(answer)
        if not parsed:
            return "unparsed"
        return "same" if verify(_parse(target), parsed, timeout_seconds=None) else "different"
    except Exception:  # whatever an answer does to the parser (recursion, memory), it only costs its own score
        return "different"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _parse(text: str) -> list:
    """LaTeX only: math-verify's other readers take any number they find in a text, "9**9" for 9."""
    from math_verify import LatexExtractionConfig, parse

    if "$" not in text:
        for pattern, latex in _LATEX:
            text = pattern.sub(latex, text)
        text = f"${text}$"
    return parse(text, [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)


judge = Judge()
equivalent = judge.equivalent
group_answers = judge.group_answers
