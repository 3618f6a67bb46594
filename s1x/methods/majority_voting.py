"""Majority voting (paper section 4.3, Figure 4b): a pool of samples of any method; grading says which answer wins."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import All, Method, Trace
from .base import Ask, method


@method(
    needs_sampling=lambda s: "all votes would be the same" if s.n > 1 else None,
    free=lambda s: False,
    columns=lambda s: (),
    words={"n": "{} votes"},
    check=lambda s, checks: checks.whole("n"),
)
def majority_voting(ask: Ask, *, n: int, inner: Callable[..., Method]) -> Method:
    """The pool: `n` traces of `inner`, in `samples`, each with noise of its own.

    Member i is the same for every n, so one pool gives maj@k, pass@k, best-of-k and shortest majority for all k <= n
    (`s1x.metrics`). At a temperature above 0 segments carry their log-probabilities, which is what best-of-n weighs by.
    """
    samples = yield All([inner(ask.sample(i)) for i in range(n)])
    return Trace(ask.prompt.ids, samples=samples, info={"n": n})
