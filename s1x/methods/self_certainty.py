"""Self-certainty (Kang et al. 2025, arXiv 2502.18581): Borda votes, by how far from uniform the model's distributions were."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import All, Method, Trace
from .base import Ask, method
from .checks import Checks
from .pools import confidences, mean


def _check(s, checks: Checks) -> None:
    checks.whole("n")
    checks.number("power", least=0)


@method(
    needs_sampling=lambda s: "all votes would be the same" if s.n > 1 else None,
    free=lambda s: False,
    columns=lambda s: (),
    confidence="kl",
    check=_check,
)
def self_certainty(ask: Ask, *, n: int, inner: Callable[..., Method], power: float = 0.5) -> Method:
    """Of `n` samples of `inner`, that of rank r (from 1, the most certain) has (n - r + 1) ** `power` votes.

    How certain: the mean of KL(U || p) over its tokens, which is -1/(nV) sum log(V p). A power of 0 is majority voting; the
    higher it is, the more the most certain samples decide. Of equals the earlier one ranks first. Member i is that of
    majority_voting.
    """
    ask = ask.measuring("kl")
    samples = yield All([inner(ask.sample(i)) for i in range(n)])
    for trace in samples:
        trace.info["certainty"] = mean(confidences(trace))
    ranked = sorted(range(n), key=lambda i: -samples[i].info["certainty"])
    votes = {i: float(n - r) ** power for r, i in enumerate(ranked)}
    return Trace(ask.prompt.ids, samples=samples, weights=tuple(votes[i] for i in range(n)))
