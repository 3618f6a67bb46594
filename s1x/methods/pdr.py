"""Parallel-distill-refine (Madaan et al. 2025, arXiv 2510.01123): drafts, a short summary of them, and an answer from that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..streams.types import All, Method, Segment, Trace
from .base import Ask, method
from .pools import asked, candidate, showing

DISTILL = (
    "Here are a question and {n} drafts of its solution.\n\n"
    "Question:\n"
    "{question}\n\n"
    "{candidates}\n\n"
    "Summarize the drafts for somebody who is to solve the question next and cannot see them:\n"
    "- the results on which they agree\n"
    "- where they contradict each other, and who is right there\n"
    "- steps that lead further\n"
    "- mistakes to keep away from\n"
    "Do not write a full solution."
)
REFINE = (
    "{question}\n\n"
    "Notes from earlier attempts, which may hold mistakes:\n"
    "{workspace}\n\n"
    "Solve the question with the help of these notes, and check what you take from them."
)


def _check(s, checks) -> None:
    checks.whole("n", "rounds", "workspace_tokens")
    checks.switch("thoughts")
    checks.context("prompt_tokens", null=True)
    checks.wording("distill", "question", "candidates")
    checks.wording("refine", "question", "workspace")


@method(
    needs_sampling=lambda s: "all drafts would be the same" if s.n > 1 else None,
    free=lambda s: False,
    columns=lambda s: ("prompt_cut",),
    words={"n": "{} drafts"},
    check=_check,
)
def pdr(
    ask: Ask,
    *,
    n: int,
    rounds: int,
    inner: Callable[..., Method],
    distill: str = DISTILL,
    refine: str = REFINE,
    workspace_tokens: int = 1024,
    thoughts: bool = False,
    prompt_tokens: int | None = None,
) -> Method:
    """`rounds` times `n` drafts of `inner` and a summary of them, as `distill` asks for; then one answer from the last summary.

    From the second round on drafts are written as `refine` asks, which shows the summary, and so is the last answer; n=1 is the
    paper's sequential refinement. A summary is read by `inner`, too, its answer at most `workspace_tokens` long; summaries
    stand beside the samples, which are all drafts and the answer; the answer counts. thoughts, prompt_tokens: as in
    gen_select; prompt_cut: tokens left out of all prompts. Of the paper's ways to distill this is the global summary.
    """
    drafting, role, cut = ask, "", 0
    samples: list[Trace] = []
    beside: list[Segment] = []
    for _ in range(rounds):
        members = [drafting.sample(i) for i in range(n)]
        drafts = yield All([asked(inner, member, role) if role else inner(member) for member in members])
        samples += drafts
        distilling, lost = showing(ask, distill, prompt_tokens, [candidate(ask, draft, thoughts) for draft in drafts])
        summary = yield asked(inner, replace(distilling, max_answer_tokens=workspace_tokens, until=()), "distill")
        beside += summary.segments
        workspace = [candidate(ask, summary, False)]
        drafting, more = showing(ask, refine, prompt_tokens, workspace, into="workspace", label="")
        role, cut = "refine", cut + lost + more
    samples.append((yield asked(inner, drafting, role)))
    weights = (0.0,) * (len(samples) - 1) + (1.0,)
    return Trace(ask.prompt.ids, beside, samples=samples, weights=weights, info={"prompt_cut": cut})
