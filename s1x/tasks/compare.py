"""The program of one grading worker: reads pairs of LaTeX answers, one JSON line each, and writes a verdict for each.

It runs as a file of its own (workers.py), so that nothing of the caller's is imported again, and ends when its input does.
What compares is a copy of it, forked once everything is loaded: where a comparison takes away its copy's time, the next copy is
there at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys

BITS = 1 << 20  # of a power of whole numbers
FACTORS = 50_000  # of a factorial or binomial


def main(seconds: float, memory: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # meant for the run, which ends its workers itself
    replies = os.dup(1)
    prepare(memory)
    quiet = os.open(os.devnull, os.O_WRONLY)  # parsers print; only verdicts may be read
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    say(replies, "ready")
    while True:
        if not (copy := os.fork()):
            try:
                serve(seconds, replies)
            finally:
                os._exit(sys.exc_info()[0] is not None)
        status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
        if status != -signal.SIGPROF:
            sys.exit(status != 0)  # its input has ended, or it died of something else: whoever asked notices, and asks again
        say(replies, "timeout")


def serve(seconds: float, replies: int) -> None:
    end_with_parent()
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # processor time, then die: no Python needs to run for that
        verdict = compare(*json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        say(replies, verdict)


def say(replies: int, what: str) -> None:
    os.write(replies, json.dumps(what).encode() + b"\n")


def end_with_parent() -> None:
    """Where the kernel can do that (Linux); elsewhere a copy ends with its input or its time."""
    import ctypes

    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class TooLarge(BaseException):
    """A number that nobody can write down. Not to be caught by a parser's `except Exception`."""


def prepare(memory: int) -> None:
    """Load what is slow to load, set limits."""
    import logging
    import resource

    import math_verify.grader
    from math_verify import verify

    logging.disable(logging.CRITICAL)
    math_verify.grader.sympy_numeric_eq = numbers_equal
    limit_numbers()
    verify(parse("1"), parse("2"), timeout_seconds=None)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard))


def limit_numbers() -> None:
    """Let sympy give up on powers, factorials and binomials of more digits than it could compute with in the time."""
    from sympy import Integer
    from sympy.functions.combinatorial.factorials import binomial, factorial

    power, of, choose = Integer._eval_power, factorial.eval.__func__, binomial._eval.__func__

    def eval_power(base, exponent):
        if isinstance(exponent, Integer) and abs(base.p) > 1 and base.p.bit_length() * abs(exponent.p) > BITS:
            raise TooLarge
        return power(base, exponent)

    def eval_factorial(cls, n):
        if isinstance(n, Integer) and n.p > FACTORS:
            raise TooLarge
        return of(cls, n)

    def eval_binomial(self, n, k):
        if isinstance(n, Integer) and isinstance(k, Integer) and min(k.p, n.p - k.p) > FACTORS:
            raise TooLarge
        return choose(self, n, k)

    Integer._eval_power, factorial.eval = eval_power, classmethod(eval_factorial)
    binomial._eval = classmethod(eval_binomial)


def compare(answer: str, target: str) -> str:
    """math-verify's verdict: "same", "different", "unparsed" (no mathematics in the answer), "timeout" where numbers are too
    large to be computed with, or "ungraded" where it failed."""
    try:
        return verdict_on(answer, target)
    except TooLarge:
        return "timeout"


def verdict_on(answer: str, target: str) -> str:
    answer, target = apart(answer, target)
    try:
        if not (parsed := parse(answer)):
            return "unparsed"
    except (Exception, MemoryError):
        return "unparsed"
    try:
        expected = parse(target)
        return "same" if equal(expected, parsed) or equal_with_i(expected, parsed) else "different"
    except (Exception, MemoryError):
        return "ungraded"


def equal(expected: list, found: list) -> bool:
    from math_verify import verify

    # a relation may answer with the set it describes: -2 <= x <= 7 for [-2, 7]
    return verify(expected, found, allow_set_relation_comp=True, timeout_seconds=None)


def equal_with_i(expected: list, found: list) -> bool:
    """Whether they are equal when i is the imaginary unit; to math-verify it is a variable, and others differ beside it."""
    from sympy import Basic, I, Symbol

    sides = [[x for x in side if isinstance(x, Basic)] for side in (expected, found)]
    symbols = {s for side in sides for x in side for s in x.free_symbols}
    if not any(s.name == "i" for s in symbols):
        return False
    meant = {s: I if s.name == "i" else Symbol(s.name) for s in symbols}
    try:
        return equal(*([x.subs(meant) for x in side] for side in sides))
    except (Exception, MemoryError):
        return False


_LETTER = re.compile(r"\\(?:text|operatorname|begin|end) *\{[^{}]*\}|\\[a-zA-Z]+|([a-zA-Z])")


def apart(*texts: str) -> list[str]:
    """The texts with another letter for each capital that one of them uses beside its small letter: in R^2 - 2Rr these are two
    variables. Otherwise r and R are one, as math-verify has it, which reads all letters as small ones."""
    letters = [{letter for letter in _LETTER.findall(text) if letter} for text in texts]
    free = [letter for letter in "qjkvwzuhgpltsmnabcdfxy" if not any({letter, letter.upper()} & used for used in letters)]
    both = sorted({letter for used in letters for letter in used if letter.isupper() and letter.lower() in used})
    other = dict(zip(both, free))
    return [_LETTER.sub(lambda m: other.get(m[0], m[0]), text) for text in texts]


def parse(latex: str) -> list:
    """The whole text as LaTeX, or nothing. (math-verify's other readers take any number they find in a text, "9**9" for 9, and
    any letters at its end for a unit, "5m" for 5.)"""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    spelling = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
    config = LatexExtractionConfig(normalization_config=spelling)
    return parse(f"${latex}$", [config], fallback_mode="no_fallback", extraction_mode="first_match", parsing_timeout=None)


def numbers_equal(a, b, float_rounding: int, numeric_precision: int) -> bool:
    """In the place of math-verify's `sympy_numeric_eq`, which compares to six decimals and takes what is below 1e-15 for zero.

    Numbers are compared exactly, or to 30 digits *of their size* where they cannot be; a decimal of six digits or more also
    stands for the fraction or root that it is the rounding of.
    """
    from sympy import Float, MatrixBase, Rational

    a, b = (x.doit() for x in (a, b))
    if isinstance(a, MatrixBase) and isinstance(b, MatrixBase):
        pairs = zip(a.flat(), b.flat())
        return a.shape == b.shape and all(numbers_equal(x, y, float_rounding, numeric_precision) for x, y in pairs)
    if a.free_symbols or b.free_symbols:
        return a == b
    if isinstance(a, Rational) and isinstance(b, Rational) or a.is_finite is False or b.is_finite is False:
        return a == b
    if isinstance(a, Float) or isinstance(b, Float):
        if isinstance(a, Float) and isinstance(b, Float):
            return bool(abs(a - b) <= abs(a) * 1e-14)
        return rounds_to(a, b) if isinstance(a, Float) else rounds_to(b, a)
    close = (a - b).evalf(60, maxn=400)
    size = max(abs(x.evalf(20)) for x in (a, b))
    return bool(abs(close) <= size * 10**-30)


def rounds_to(decimal, number) -> bool:
    """Whether a decimal is a number, up to one of its own last digit where it gives six or more."""
    from sympy import Rational

    digits = str(decimal).rstrip("0")
    error = abs((number - Rational(str(decimal))).evalf(60, maxn=400))
    if "e" in digits or len(digits.lstrip("-0.").replace(".", "")) < 6:
        return bool(error <= abs(number.evalf(20)) * Rational(1, 10**14))  # as written, but for what a float loses
    return bool(error < Rational(1, 10 ** len(digits.partition(".")[2])))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
