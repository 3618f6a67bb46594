"""Token-conditional control (paper section 3.2 and appendix E.1): the prompt says how many tokens to think."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import Method
from .base import Ask, method
from .checks import Checks


def _check(s, checks: Checks) -> None:
    checks.context("tokens")
    checks.wording("wording", "tokens")


@method(
    limits=lambda s: (0, s.tokens),
    instructed=lambda s: s.tokens,
    free=lambda s: False,
    columns=lambda s: (),
    words={"tokens": "{} tokens"},
    check=_check,
)
def token_conditional(
    ask: Ask, *, tokens: int, inner: Callable[..., Method], wording: str = "Think for up to {tokens} tokens."
) -> Method:
    """`inner` under the instruction `wording`, for models trained on it ({tokens} is the number).

    inner: how the answer is generated then; budget forcing with `max_thinking_tokens: ${..tokens}` enforces the number.
    """
    trace = yield from inner(ask.saying(wording.replace("{tokens}", str(tokens))))
    trace.info |= {"instructed": tokens, "unit": "tokens"}
    return trace
