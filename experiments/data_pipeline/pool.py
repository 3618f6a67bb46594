"""Make the tiny pool that ships: build it, and label it with the base model.

python experiments/data_pipeline/pool.py
"""

from __future__ import annotations

import random
import re
from pathlib import Path

from s1x.data.ngrams import contaminated
from s1x.data.records import question_id
from s1x.data.selection import ranked
from s1x.tiny import benchmarks, problems
from s1x.tiny.notes import answer_text, trace
from s1x.tiny.pool import FORMAT, SHIPPED, benchmark_rows
from s1x.tiny.problems import DOMAINS, Problem, slip, three

STEPS = (1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8)
CHOICES, DAMAGED = 0.15, 0.15


def build(seed: int = 0, n: int = 4000) -> list[dict]:
    """The pool's records: id, question, thinking, answer, solution, domain, source, steps, slips.

    `answer` is what the trace concludes ("Final Answer: 523"), `solution` what is right ("523"). `slips` are the
    [start, end) character spans of injected slips in `thinking`: training leaves them out of the loss. No benchmark
    problem is in it, whatever the words.
    """
    rng = random.Random(f"pool-{seed}")
    held_out = benchmarks.held_out()
    records = []
    while len(records) < n:
        problem = problems.sample(rng, rng.choice(STEPS), tuple(DOMAINS))
        if rng.random() < CHOICES:
            problem = problems.with_choices(rng, problem)
        notes = trace(rng, problem)
        thinking, answer, slips = notes.text, answer_text(problem, notes.so), notes.slips
        if rng.random() < DAMAGED:
            thinking, answer, slips = damage(rng, problem, thinking, answer, slips)
        if problem.key in held_out:
            continue
        records.append(
            {
                "id": question_id(problem.question),
                "question": problem.question,
                "thinking": thinking,
                "answer": f"Final Answer: {answer}",
                "solution": problem.answer,
                "domain": problem.domain,
                "source": "tiny_choice" if problem.choices else "tiny",
                "steps": len(problem.steps),
                "slips": [list(span) for span in slips],
            }
        )
    return records


def damage(rng: random.Random, problem: Problem, thinking: str, answer: str, slips: list[tuple[int, int]]):
    """One of three defects a crawled trace can have; the slip spans follow the characters that are left."""
    defect = rng.choice(("cut", "characters", "answer"))
    if defect == "answer":
        others = [c for c in "ABCD" if c != problem.answer] if problem.choices else None
        return thinking, rng.choice(others) if others else three(slip(rng, int(problem.result))), slips
    if defect == "cut":
        kept = list(range(rng.randrange(len(thinking))))
    else:
        kept = [i for i in range(len(thinking)) if rng.random() >= 0.03]
    spans = []
    for start, end in slips:
        inside = [j for j, i in enumerate(kept) if start <= i < end]
        if inside:
            spans.append((inside[0], inside[-1] + 1))
    return "".join(thinking[i] for i in kept), answer, spans


def select_s1k(records: list[dict], seed: int = 0, n: int = 1000) -> list[dict]:
    """The tiny s1K of records with `base_correct`: new, whole and right, not solved by the base model, diverse and long.

    The data stage does the same with a funnel (`stage=data data=tiny_s1k`); a test holds the two together.
    """
    whole = re.compile(FORMAT)
    known = contaminated([r["question"] for r in records], [row["question"] for row in benchmark_rows()])
    good = [
        r
        for r, seen in zip(records, known)
        if not seen and whole.fullmatch(r["thinking"]) and r["answer"] == f"Final Answer: {r['solution']}"
    ]
    hard = [r for r in good if not r["base_correct"]]
    chosen = ranked(
        [r["id"] for r in hard],
        [r["domain"] for r in hard],
        [len(r["thinking"]) for r in hard],
        n,
        seed,
        halving=1 / 8,
    )
    return [hard[i] for i in sorted(chosen)]


def label(records: list[dict], model: str) -> list[dict]:
    """The records with `base_correct`: is the model's greedy plain answer (no thinking opened) the solution?"""
    from s1x.chat import Chat, ChatFormat
    from s1x.data.attempts import attempts, grade
    from s1x.engines.transformers import TransformersEngine
    from s1x.models.tokenizer import load_tokenizer
    from s1x.streams.memory import MemoryStore

    engine = TransformersEngine(model)
    plain = ChatFormat("plain", thinking_start="", thinking_end="", thinking_stop=("<|im_end|>",))
    chat = Chat(plain, load_tokenizer({"path": model}), engine.context_length)
    texts = attempts(engine, chat, MemoryStore(), [r["question"] for r in records], max_tokens=256)
    marks = grade(texts, [r["solution"] for r in records])
    return [{**record, "base_correct": mark} for record, mark in zip(records, marks)]


def write(model: str, file: Path = SHIPPED) -> None:
    """Build the pool, label it with the base model, and write the file that ships."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(label(build(), model)), file, compression="zstd", store_schema=False)


if __name__ == "__main__":
    write(str(SHIPPED.parents[1] / "models" / "tiny-base"))
