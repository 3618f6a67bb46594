"""Recursive self-aggregation (Venkatraman et al. 2025, arXiv 2509.26626): a population, each round made anew of some of it."""

from __future__ import annotations

from collections.abc import Callable

from ..streams.types import All, Method, Trace, digest
from .base import Ask, method
from .pools import asked, candidate, showing

WORDS = (
    "Here are a question and {n} attempts to solve it, each of them right, wrong, or right in parts.\n\n"
    "Question:\n"
    "{question}\n\n"
    "{candidates}\n\n"
    "Make one better solution of them: keep what holds, and put right what does not.\n"
    "Where all of them fail, solve the question another way.\n"
    "Write the whole solution, and state its final answer as the question asks for it."
)


def _check(s, checks) -> None:
    checks.whole("n", "rounds")
    checks.whole("k", most=s.n if isinstance(s.n, int) else None, why=f"{checks.at}.n={s.n}")
    checks.switch("thoughts")
    checks.context("prompt_tokens", null=True)
    checks.wording("words", "question", "candidates")


@method(
    needs_sampling=lambda s: "all members would be the same" if s.n > 1 else None,
    free=lambda s: False,
    columns=lambda s: ("prompt_cut",),
    check=_check,
)
def rsa(
    ask: Ask, *, n: int, k: int, rounds: int, inner: Callable[..., Method], words: str = WORDS, thoughts: bool = True,
    prompt_tokens: int | None = None,
) -> Method:  # fmt: skip
    """A population of `n` samples of `inner`; in each further round member i answers anew, shown `k` members of the last round.

    Which ones, is drawn without replacement from the question's noise. rounds counts the first (the paper's T): with one it is
    majority voting. The majority of the last population counts, of equals the first; all rounds are in the samples. thoughts,
    prompt_tokens: as in gen_select; prompt_cut: tokens left out of all prompts.
    """
    population = yield All([inner(ask.sample(i)) for i in range(n)])
    samples, cut = list(population), 0
    for number in range(1, rounds):
        prompts: list[Ask] = []
        for i in range(n):
            shown = [population[j] for j in subset(ask.sampling.noise, number, i, n, k)]
            prompt, lost = showing(ask, words, prompt_tokens, [candidate(ask, trace, thoughts) for trace in shown])
            prompts.append(prompt.sample(i))
            cut += lost
        population = yield All([asked(inner, prompt, "aggregate") for prompt in prompts])
        samples += population
    weights = (0.0,) * (len(samples) - n) + (1.0,) * n
    return Trace(ask.prompt.ids, samples=samples, weights=weights, info={"prompt_cut": cut})


def subset(noise: int | None, number: int, i: int, n: int, k: int) -> list[int]:
    """The k of n members that member i sees in round `number`, rising: those whose hashes are the least."""
    return sorted(sorted(range(n), key=lambda j: digest("aggregate", noise, number, i, j))[:k])
