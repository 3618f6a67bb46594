"""Are two answers mathematically the same? By spelling, as plain numbers and words, else by math-verify in a worker.

Both sides get one spelling (notation.py). Equal texts, plain numbers, letters and words are decided at once and exactly; only
what is left reaches a worker (workers.py), under a time and a memory limit, and costs its own score at worst.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import lru_cache
from typing import Literal

from .answers import letter
from .notation import LONGEST, canonical, decimals, is_product, latex, value
from .workers import Workers, sensible

Verdict = Literal["same", "different", "unparsed", "timeout", "ungraded"]

SECONDS = 2.0  # of computing per comparison (of real answers the slowest took one); a busy machine does not change a score

_INTEGER = re.compile(r"-?[0-9]+")
_WORDS = re.compile(r"[A-Za-z][A-Za-z ]+")
_OPTION = re.compile("([A-Z])[.:] ", re.IGNORECASE)
_TIME = re.compile("[0-9]{1,2}(?::[0-9]{2})?(?: [ap]m)?")
_DATE = re.compile("[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}|[0-9]{1,2}[-/][0-9]{1,2}[-/][0-9]{4}")
_BASED = re.compile(r"([0-9]+)(?:_\{?([0-9]+)\}?)?")
_LIST = re.compile("[0-9]{1,3}(?:, [0-9]{3})+")
_GROUPED = re.compile("[0-9]{1,3}(?:,[0-9]{3})+")
_COLUMN = re.compile(r"\\begin\{[pb]matrix\} ?((?:(?!\\end|&|,).)*) ?\\end\{[pb]matrix\}")
_POINT = re.compile(r"\([^()\[\]]+,[^()\[\]]+\)")
_PER = re.compile(r"(.*[0-9]) [A-Za-z]+(?:\^\{?-?[0-9]\}?)?(?:/[A-Za-z]+(?:\^\{?[0-9]\}?)?)+")
_NOUN = re.compile(" (?:function|number|integer|triangle|angle|quadrilateral|polygon|sequence|series|matrix|curve|graph)$")
_NEW_ROW = "\\\\"
_LOG = logging.getLogger(__name__)


class Rules:
    """The rules by which answers are compared, with a cache and lazily started, reused workers. Safe to call from several
    threads. (The judge, a language model, is second.py's.)

    `ungraded` counts the comparisons that could not be made: their workers died, again and again, or the comparison failed.
    """

    def __init__(self, seconds: float = SECONDS, workers: int | None = None):
        self.seconds = seconds
        self.workers = workers or sensible()
        self.ungraded = 0
        self._known: dict[tuple[str, str], Verdict | Future] = {}
        self._pool: Workers | None = None
        self._lock = threading.Lock()

    def submit(self, answer: str, target: str) -> None:
        """Start comparing, without waiting; `verdict` with the same arguments collects the result."""
        key = pair(answer, target)
        with self._lock:
            if key not in self._known:
                self._known[key] = at_once(*key) or self._start().submit(*map(latex, key))

    def decided(self, answer: str, target: str) -> bool:
        """Whether `verdict` would return at once, for a pair that was submitted."""
        found = self._known[pair(answer, target)]
        return not isinstance(found, Future) or found.done()

    def verdict(self, answer: str, target: str) -> Verdict:
        """ "same", "different", "unparsed" (no mathematics in `answer`), "timeout", or "ungraded" (could not be compared).

        Directed: `target` is the reference.
        """
        self.submit(answer, target)
        key = pair(answer, target)
        found = self._known[key]
        if isinstance(found, Future):
            result = found.result()
            with self._lock:
                if self._known[key] is found:
                    self._known[key] = result
                    self.ungraded += result == "ungraded"
            found = result
            if found == "ungraded":
                _LOG.warning("not graded: the comparison of %.80r with %.80r could not be made", answer, target)
        return found

    def equivalent(self, a: str, b: str) -> bool:
        """Whether either answer is accepted as the other."""
        self.submit(a, b)
        self.submit(b, a)
        return self.verdict(a, b) == "same" or self.verdict(b, a) == "same"

    def group_answers(self, answers: Sequence[str | None]) -> list[int]:
        """A class number for each answer, counted from 0 in order of appearance; -1 for None (no answer). Waits."""
        return self.grouping(answers).classes()

    def grouping(self, answers: Sequence[str | None]) -> Grouping:
        """The same without waiting: its `done` says when `group_answers` with these answers returns at once."""
        return Grouping(self, answers)

    def close(self) -> None:
        """Kill the workers; comparisons under way count as timed out. They may be used again."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _start(self) -> Workers:
        if self._pool is None or self._pool.owner != os.getpid():  # threads do not outlive a fork
            self._pool = Workers(self.workers, self.seconds)
            atexit.register(self.close)
        return self._pool


class Grouping:
    """Answers on their way into classes of equal ones. `done()` goes as far as it can without waiting, `classes()` waits.

    Equivalence is not quite transitive (rounding), so an answer joins the first class whose first member it matches.
    """

    def __init__(self, by: Rules, answers: Sequence[str | None]):
        self._rules = by
        self._answers = [None if answer is None else canonical(answer) for answer in answers]
        self._left = list(dict.fromkeys(text for text in self._answers if text is not None))[::-1]  # the next one last
        self._first: list[str] = []  # first member of each class
        self._known: dict[str, int] = {}
        self._asked: list[tuple[str, str]] | None = None  # comparisons of the next one that are not known to be decided

    def done(self) -> bool:
        return self._go(wait=False)

    def classes(self) -> list[int]:
        """For each answer the number of its class, counted from 0 in order of appearance; -1 for None."""
        self._go(wait=True)
        return [-1 if text is None else self._known[text] for text in self._answers]

    def _go(self, wait: bool) -> bool:
        while self._left:
            text = self._left[-1]
            if self._asked is None:
                self._asked = [pair for other in self._first for pair in ((text, other), (other, text))]
                for one in self._asked:  # all at once, to all workers
                    self._rules.submit(*one)
            while not wait and self._asked:
                if not self._rules.decided(*self._asked[-1]):
                    return False
                self._asked.pop()
            found = next((i for i, other in enumerate(self._first) if self._rules.equivalent(text, other)), len(self._first))
            self._known[self._left.pop()], self._asked = found, None
            if found == len(self._first):
                self._first.append(text)
        return True


@lru_cache(1 << 14)  # whoever waits for a verdict asks again and again
def pair(answer: str, target: str) -> tuple[str, str]:
    """Both in one spelling, also where one alone does not say it: `100,200` for the list `100, 200`, a point for a vector, `12`
    for `12 m/s`."""
    a, b = canonical(answer), canonical(target)
    if _LIST.fullmatch(b) and _GROUPED.fullmatch(bare := answer.strip(" $\\()[]")):
        a = bare.replace(",", ", ")
    if value(a) is not None and (match := _PER.fullmatch(b)):  # 12 m/s beside a number is no quotient
        b = match[1]
    elif value(b) is not None and (match := _PER.fullmatch(a)):
        a = match[1]
    if _POINT.fullmatch(a):
        b = _column(b) or b
    elif _POINT.fullmatch(b):
        a = _column(a) or a
    return a, b


def _column(text: str) -> str | None:
    """A column vector as a point."""
    match = _COLUMN.fullmatch(text)
    return f"({', '.join(row.strip() for row in match[1].split(_NEW_ROW))})" if match else None


def at_once(answer: str, target: str) -> Verdict | None:
    """The verdict on two canonical texts that need no parser; None where they do."""
    if answer == target:
        return "same"
    if _INTEGER.fullmatch(answer) and _INTEGER.fullmatch(target):  # of any length
        return "different"
    if not answer or len(answer) > LONGEST:
        return "unparsed"
    if answer.endswith(r"\%") != target.endswith(r"\%"):  # MATH writes 10\% and 10 for the same; 0.1 is, too
        return _percent(answer.removesuffix(r"\%"), target.removesuffix(r"\%"), answer.endswith(r"\%"))
    answer, target = answer.removesuffix(r"\%"), target.removesuffix(r"\%")
    if (a := value(answer)) is not None and (b := value(target)) is not None:
        return "same" if a == b or _rounded(answer, target, a - b) else "different"
    if len(answer) == len(target) == 1:
        return "same" if answer.casefold() == target.casefold() else "different"
    if re.fullmatch("[A-Za-z]", target) and (chosen := letter(answer) or _option(answer)):  # perhaps with what it says: (B) 12
        return "same" if chosen == target.upper() else "different"
    if _TIME.fullmatch(answer) and _TIME.fullmatch(target):
        return "different"
    if _DATE.fullmatch(answer) or _DATE.fullmatch(target):  # to a parser, a subtraction
        return "different"
    if (a := _BASED.fullmatch(answer)) and (b := _BASED.fullmatch(target)):  # to a parser, 52_8 is 52 and so is 52_9
        alike = a[2] == b[2] or None in (a[2], b[2])  # the question says which base
        return "same" if a[1] == b[1] and alike else "different"
    if all(_WORDS.fullmatch(text) and not is_product(text) for text in (answer, target)):
        return "same" if _same_words(_bare(answer), _bare(target)) else "different"
    return None


def _option(answer: str) -> str | None:
    match = _OPTION.match(answer)
    return match[1].upper() if match else None


def _percent(answer: str, target: str, answered: bool) -> Verdict | None:
    """The verdict where one of both, the answer if `answered`, is a percentage."""
    if (verdict := at_once(answer, target)) in ("same", None):
        return verdict
    a, b = value(answer), value(target)
    if a is None or b is None:
        return verdict
    return "same" if (a / 100 == b if answered else a == b / 100) else "different"


def _rounded(answer: str, target: str, difference) -> bool:
    """Whether one is a decimal that gives the other, rounded or cut off: 0.333333 for 1/3. Two decimals are what they are."""
    places = [decimals(text) for text in (answer, target) if "." in text]
    return len(places) == 1 and places[0] is not None and abs(difference) * 10 ** places[0] < 1


def _bare(words: str) -> str:
    return re.sub(r"^(?:the|an?) ", "", words.casefold())


def _same_words(a: str, b: str) -> bool:
    """Whether words are the same, or one has the noun behind them that the question has already: "even function" for "even"."""
    return a == b or a == _NOUN.sub("", b) or b == _NOUN.sub("", a)


rules = Rules()
equivalent = rules.equivalent
group_answers = rules.group_answers
grouping = rules.grouping
