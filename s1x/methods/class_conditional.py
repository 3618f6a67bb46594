"""Class-conditional control (paper section 3.2): the prompt asks for long or short thinking, in words."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import Method
from .base import Ask, method

# The models read these sentences: they are s1's, word for word (PROMPTLONG and PROMPTSHORT of its harness).
INSTRUCTIONS = {
    "long": "Answer after a long amount of thinking. If you feel like you are finished early, spend the extra time trying to "
    "double-check your work until you are absolutely sure that you have the correct answer.",
    "short": "Answer after a short amount of thinking. Do not spend excessive time double-checking your work.",
}


@method(
    relative=lambda s: "less" if s.length == "short" else "more",  # paper, appendix E.1
    free=lambda s: False,
    curve=("length",),  # short and long are two points of one curve (paper, Table 3)
    words={"length": ""},
    check=lambda s, checks: checks.one_of("length", tuple(INSTRUCTIONS)),
)
def class_conditional(ask: Ask, *, length: str, inner: Callable[..., Method]) -> Method:
    """`inner` under the instruction to think for a `length` ("long" or "short") amount of time. Needs no training."""
    trace = yield from inner(ask.saying(INSTRUCTIONS[length]))
    trace.info |= {"instructed": length, "unit": "class"}
    return trace
