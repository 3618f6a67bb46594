"""GenSelect (Toshniwal et al. 2025, arXiv 2507.17797): the model compares its own solutions and chooses one of them."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..streams.types import All, Method, Trace
from .base import Ask, method
from .pools import asked, candidate, showing

WORDS = (
    "Here are a question and {n} solutions of it, numbered from 0 to {last}.\n\n"
    "Question:\n"
    "{question}\n\n"
    "{candidates}\n\n"
    "Compare the solutions: find where they part, and check which of them is right there.\n"
    "Then choose the one whose answer is most probably correct, and write its number in a last line, such as\n"
    "Judgment: 0"
)


def _check(s, checks) -> None:
    checks.whole("n")
    checks.switch("thoughts")
    checks.context("prompt_tokens", null=True)
    checks.wording("words", "question", "candidates")


@method(
    needs_sampling=lambda s: "all candidates would be the same" if s.n > 1 else None,
    free=lambda s: False,
    columns=lambda s: ("judged", "prompt_cut"),
    words={"n": "{} candidates"},
    check=_check,
)
def gen_select(
    ask: Ask,
    *,
    n: int,
    inner: Callable[..., Method],
    words: str = WORDS,
    thoughts: bool = False,
    prompt_tokens: int | None = None,
) -> Method:
    """Of `n` samples of `inner` the one that the model names when `words` show them all: the last "Judgment: i" of its answer.

    Where it names none, the first sample stands (which is as good as one drawn at random) and `judged` in the info is false.
    The judgement is read by `inner`, too; it stands beside the samples, with its prompt. thoughts, prompt_tokens: whether
    thinking is shown, and how long the prompt may be (None: half of the context); prompt_cut: tokens left out for it.
    Member i is that of majority_voting. NeMo-Skills does the same, with n = 8.
    """
    samples = yield All([inner(ask.sample(i)) for i in range(n)])
    judge, cut = showing(ask, words, prompt_tokens, [candidate(ask, trace, thoughts) for trace in samples])
    judgement = yield asked(inner, judge, "select")
    named = [int(i) for i in re.findall(r"judge?ment\W*(\d+)", ask.decode(judgement.ids("answer")), re.IGNORECASE)]
    judged = bool(named) and named[-1] < n
    chosen = named[-1] if judged else 0
    return Trace(
        ask.prompt.ids,
        judgement.segments,
        samples=samples,
        weights=tuple(float(i == chosen) for i in range(n)),
        info={"chosen": chosen, "judged": judged, "prompt_cut": cut},
    )
