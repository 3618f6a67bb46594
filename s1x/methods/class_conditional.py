"""Class-conditional control (paper section 3.2): the prompt asks for long or short thinking, in words."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import Method, Sampling
from . import checks

# The models read these sentences: they are s1's, word for word (PROMPTLONG and PROMPTSHORT of its harness).
INSTRUCTIONS = {
    "long": "Answer after a long amount of thinking. If you feel like you are finished early, spend the extra time trying to "
    "double-check your work until you are absolutely sure that you have the correct answer.",
    "short": "Answer after a short amount of thinking. Do not spend excessive time double-checking your work.",
}
CURVE = ("length",)  # short and long are two points of one curve (paper, Table 3)


def class_conditional(prompt, chat, sampling: Sampling, *, length: str, inner: Callable[..., Method]) -> Method:
    """`inner` under the instruction to think for a `length` ("long" or "short") amount of time. Needs no training."""
    trace = yield from inner(prompt.with_suffix(INSTRUCTIONS[length]), chat, sampling)
    trace.info |= {"instructed": length, "unit": "class"}
    return trace


def check(cfg, *, context_length: int | None, temperature: float, chat, at: str = "method") -> None:
    """ValueError when a setting makes no sense."""
    checks.one_of(cfg, "length", tuple(INSTRUCTIONS), at=at)
    checks.check(cfg["inner"], context_length=context_length, temperature=temperature, chat=chat, at=f"{at}.inner")
