"""A model's own attempts at the pool's questions, through our engines and store: generated once, resumed where cut short."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..chat import Chat
from ..methods.base import Ask
from ..methods.none import none
from ..streams.claims import claims_on
from ..streams.engine import Engine
from ..streams.scheduler import Job, Scheduler
from ..streams.types import Sampling
from ..tasks import answers
from ..tasks.equivalence import rules


def attempts(
    engine: Engine,
    chat: Chat,
    store,
    questions: Sequence[str],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    on_progress: Callable | None = None,
) -> list[str]:
    """One plain answer (no forced thinking) per question, at most `max_tokens` long.

    s1 asks Qwen2.5-7B and 32B-Instruct at temperature 0.05, 32768 tokens (`bulk_inference.py`).
    """
    texts = [""] * len(questions)

    def finished(i: int) -> Callable:
        def keep(trace) -> None:
            texts[i] = chat.decode(trace.ids("answer"))

        return keep

    def jobs():
        for i, question in enumerate(questions):
            prompt = chat.prompt(question)
            sampling = Sampling.of(prompt.ids, seed=seed, temperature=temperature)
            method = none(Ask(prompt, chat, sampling), thinking=False, max_tokens=max_tokens)
            yield Job(order=(i,), method=method, on_done=finished(i), root=prompt.ids)

    Scheduler(engine, store, decode=chat.decode, claims=claims_on(store), on_progress=on_progress).run(jobs())
    return texts


def grade(texts: Sequence[str | None], solutions: Sequence[str | None]) -> list[bool | None]:
    """Is the answer that each text states the solution? Letters as letters, integers as integers, the rest by math-verify.

    A solution may be a whole worked solution: what it states (its last \\boxed{}, or after "Answer:") is then the reference.
    None where there is no solution, or the comparison ran out of time or could not be made.
    """
    targets = [_reference(solution) for solution in solutions]
    stated = [answers.stated(text or "") for text in texts]
    for answer, target in zip(stated, targets):
        if answer and target and not answers.letter(target):
            rules.submit(answer, target)  # all comparisons under way before the first is waited for
    return [_same(text or "", answer, target) for text, answer, target in zip(texts, stated, targets)]


def _reference(solution: str | None) -> str | None:
    text = (solution or "").strip()
    return (answers.stated(text) or text) or None


def _same(text: str, answer: str | None, target: str | None) -> bool | None:
    if target is None:
        return None
    if letter := answers.letter(target):
        return answers.choice(text) == letter
    if answer is None:
        return False
    verdict = rules.verdict(answer, target)
    return None if verdict in ("timeout", "ungraded") else verdict == "same"
