"""Token-conditional control (paper section 3.2 and appendix E.1): the prompt says how many tokens to think."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import Method
from .base import Ask, method


@method(
    limits=lambda s: (0, s.tokens),
    free=lambda s: False,
    columns=lambda s: (),
    check=lambda s, checks: checks.context("tokens"),
)
def token_conditional(ask: Ask, *, tokens: int, inner: Callable[..., Method]) -> Method:
    """`inner` under the instruction "Think for up to `tokens` tokens.", for models trained on it.

    inner: how the answer is generated then; budget forcing with `max_thinking_tokens: ${..tokens}` enforces the number.
    """
    trace = yield from inner(ask.saying(f"Think for up to {tokens} tokens."))
    trace.info |= {"instructed": tokens, "unit": "tokens"}
    return trace
