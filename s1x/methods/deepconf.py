"""DeepConf (Fu et al. 2025, arXiv 2508.15260): votes of the samples that were sure of their words, weighted by how sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..streams.types import All, Method, Trace
from .base import Ask, method
from .checks import Checks
from .pools import confidences, groups, mean, percentile


def _check(s, checks: Checks) -> None:
    checks.whole("n", "window")
    checks.number("keep", least=0, most=1)
    checks.one_of("by", tuple(CONFIDENCES))


@method(
    needs_sampling=lambda s: "all votes would be the same" if s.n > 1 else None,
    free=lambda s: False,
    columns=lambda s: ("kept",),
    confidence="top20",
    words={"n": "{} samples"},
    check=_check,
)
def deepconf(
    ask: Ask, *, n: int, inner: Callable[..., Method], keep: float = 0.1, by: str = "bottom", window: int = 2048
) -> Method:
    """Offline DeepConf: of `n` samples of `inner` the share `keep` with the highest confidence votes, weighted by it.

    The confidence of a token is the mean of -log p over the 20 likeliest ones there. by: of a trace, over its groups, which
    are all `window` tokens in a row: "bottom" (mean of the tenth of groups with the lowest), "lowest" (group), "tail" (the
    last one), "mean" (of all tokens). Member i is that of majority_voting.
    """
    ask = ask.measuring("top20")
    samples = yield All([inner(ask.sample(i)) for i in range(n)])
    worth = [CONFIDENCES[by](confidences(trace), window) for trace in samples]
    bar = percentile(worth, 1 - keep)
    for trace, value in zip(samples, worth, strict=True):
        trace.info["confidence"] = value
    weights = tuple(value if value >= bar else 0.0 for value in worth)
    return Trace(ask.prompt.ids, samples=samples, weights=weights, info={"kept": sum(value >= bar for value in worth)})


def _bottom(values: Sequence[float], window: int) -> float:
    rising = sorted(groups(values, window))
    return mean(rising[: max(1, len(rising) // 10)])


CONFIDENCES: dict[str, Callable[[Sequence[float], int], float]] = {
    "bottom": _bottom,
    "lowest": lambda values, window: min(groups(values, window)),
    "tail": lambda values, window: groups(values, window)[-1],
    "mean": lambda values, window: mean(values),
}
