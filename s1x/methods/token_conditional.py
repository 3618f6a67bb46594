"""Token-conditional control (paper section 3.2 and appendix E.1): the prompt says how many tokens to think."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import Method, Sampling
from . import checks


def token_conditional(prompt, chat, sampling: Sampling, *, tokens: int, inner: Callable[..., Method]) -> Method:
    """`inner` under the instruction "Think for up to `tokens` tokens.", for models trained on it.

    inner: how the answer is generated then; budget forcing with `max_thinking_tokens: ${..tokens}` enforces the number.
    """
    trace = yield from inner(prompt.with_suffix(f"Think for up to {tokens} tokens."), chat, sampling)
    trace.info |= {"instructed": tokens, "unit": "tokens"}
    return trace


def check(cfg, *, context_length: int | None, temperature: float, chat, at: str = "method") -> None:
    """ValueError when a setting makes no sense."""
    checks.whole(cfg, "tokens", at=at, most=context_length, why="the model's context")
    checks.check(cfg["inner"], context_length=context_length, temperature=temperature, chat=chat, at=f"{at}.inner")


def limits(cfg) -> tuple[int, int]:
    """(least, most) thinking tokens asked for."""
    return 0, cfg["tokens"]
