"""Majority voting (paper section 4.3, Figure 4b): a pool of samples of any method; grading says which answer wins."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import All, Method, Sampling, Trace
from . import checks


def majority_voting(prompt, chat, sampling: Sampling, *, n: int, inner: Callable[..., Method]) -> Method:
    """The pool: `n` traces of `inner`, in `samples`, each with noise of its own.

    Member i is the same for every n, so one pool gives maj@k, pass@k, best-of-k and shortest majority for all k <= n
    (`s1x.metrics`). At a temperature above 0 segments carry their log-probabilities, which is what best-of-n weighs by.
    """
    samples = yield All([inner(prompt, chat, sampling.sample(i)) for i in range(n)])
    return Trace(prompt.ids, samples=samples, info={"n": n})


def check(cfg, *, context_length: int | None, temperature: float, chat, at: str = "method") -> None:
    """ValueError when a setting makes no sense."""
    checks.whole(cfg, "n", at=at)
    if cfg["n"] > 1:
        checks.sampled("all votes would be the same", temperature=temperature, at=at)
    checks.check(cfg["inner"], context_length=context_length, temperature=temperature, chat=chat, at=f"{at}.inner")
