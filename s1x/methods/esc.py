"""Early-stopping self-consistency (Li et al. 2024, arXiv 2401.10480): sample windows until all answers of one agree."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import Method
from .base import Ask, method
from .pools import Answers, drawn


def _check(s, checks) -> None:
    checks.whole("n")
    checks.whole("window", least=2, most=s.n if isinstance(s.n, int) else None, why=f"{checks.at}.n={s.n}")


@method(
    needs_sampling=lambda s: "all votes would be the same",
    free=lambda s: False,
    columns=lambda s: ("samples", "decided"),
    words={"n": "at most {} votes"},
    check=_check,
)
def esc(ask: Ask, *, n: int, inner: Callable[..., Method], window: int = 5) -> Method:
    """A pool of at most `n` samples of `inner`, drawn `window` at a time, until the answers of one window are all equal.

    All samples so far vote. A window in which a sample has no answer does not agree. Member i is that of majority_voting.
    Equal answers are those with equal strings.
    """

    def decided(answers: Answers) -> bool:
        last = answers[-window:]
        return bool(answers) and len(answers) % window == 0 and None not in last and len(set(last)) == 1

    return (yield from drawn(ask, inner, n, window, decided))
