"""Answers that make a reader of mathematics explode, as many different ones as are asked for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, islice


def nested(opening: str, closing: str, middle: str, n: int) -> str:
    return opening * n + middle + closing * n


KINDS: tuple[Callable[[int], str], ...] = (  # of a number from 1 up
    lambda i: f"{8 + i}**9**9",
    lambda i: f"{8 + i}**9**9**9**9",
    lambda i: rf"{1 + i}^{{9^{{9^9}}}}",
    lambda i: rf"\frac{{{8 + i}^{{9^9}}}}{{3}}",
    lambda i: rf"({10**9 + i})!",
    lambda i: rf"(({90 + i})!)!",
    lambda i: rf"\binom{{10^9}}{{{10**8 + i}}} x",
    lambda i: nested("(", ")", "x", 1000 + i),
    lambda i: nested(r"\frac{1}{1+", "}", "x", 100 + i),
    lambda i: nested(r"\sqrt{", "}", "2", 150 + i),
    lambda i: nested(r"\sin(", ")", "x", 120 + i),
    lambda i: nested("{", "}", "7", 3000 + i),
    lambda i: "[" * (5000 + i),
    lambda i: r"\frac{" * (300 + i),
    lambda i: rf"(x+y+z+w)^{{{300 + i}}}",
    lambda i: rf"(x+1)^{{10^{{{4 + i}}}}}",
    lambda i: rf"\int_0^{{{i}}} \frac{{\sin(x^{{{i + 3}}})}}{{1+x^5+e^x}} dx",
    lambda i: rf"\sum_{{k=1}}^{{10^9}} k^{{k+{i}}}",
    lambda i: rf"\prod_{{k=1}}^{{10^8}} (k+{i})",
    lambda i: rf"\lim_{{x \to 0}} \frac{{\sin^{{{40 + i}}} x - x^{{{40 + i}}}}}{{x^{{{60 + i}}}}}",
    lambda i: r"\begin{pmatrix}" + " & ".join(f"{k}^{{{k + i}}}" for k in range(300)) + r"\end{pmatrix}",
    lambda i: r"\{" + ", ".join(rf"\sqrt{{{k + i}}}" for k in range(400)) + r"\}",
    lambda i: ", ".join(rf"\frac{{{k}}}{{{k + i}}}" for k in range(1, 500)),
    lambda i: " or ".join(f"x<{k + i}" for k in range(300)),
    lambda i: f"{i}" + "9" * 90_000,
    lambda i: f"0.{'3' * (20_000 + i)}x",
    lambda i: f"{i}e999999999",
    lambda i: rf"10^{{-{10**9 + i}}} + x",
    lambda i: rf"{i + 6}^{{10^{{10}}}} \mod 13",
    lambda i: rf"\log(\log(\log({10 + i}^{{{10**7}}}!)))",
    lambda i: rf"\Gamma({10**9 + i}) + x",
    lambda i: "+".join(rf"\sqrt{{{k + i}}}" for k in range(120)),
    lambda i: r"\text{" * (1000 + i),
    lambda i: " " * 50_000 + f"{i}x" + "\\" * 3000,
    lambda i: "\x00\x1b[2J" + f"{i}x" + "\u202e\u2066" * 200,
    lambda i: f"{i} " + "1 1/" * 2000,
    lambda i: "x_" * 2000 + str(i),
    lambda i: "a" * (3000 + i) + "^2",
    lambda i: "-" * (2000 + i) + "x",
    lambda i: rf"|{'|' * (500 + i)}x",
)


def bombs(n: int) -> list[str]:
    """`n` of them, no two alike, of all kinds in turn."""
    return list(islice((kind(i) for i in count(1) for kind in KINDS), n))
