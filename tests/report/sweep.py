"""TEST DATA: writes the files of an invented budget sweep, in the shape real jobs leave them. No model is behind it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from s1x.metrics.cell import cell_record

BUDGETS = (16, 32, 64, 128, 256)
WORDS = "so we add five hundred and eight to 142 that is 650 then times four gives 2600 which is 600 mod 1000".split()


def text_of(n: int, rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(n))


def sample(question: int, budget: int | None, ignored: int, base: bool = False, task: str = "tiny_math") -> dict[str, Any]:
    """One line: a question's natural length, difficulty and luck are the same in every cell."""
    rng = random.Random(f"{task} {question}")
    length = min(int(rng.lognormvariate(4, 0.6)) + 8, 240)
    luck = rng.random()
    words = text_of(length, rng).split()
    thought = min(length, budget) if budget else length
    forced = thought < length
    extra = [] if forced else ["Wait", *text_of(20, rng).split()] * ignored
    chance = (0.1 if base else 0.6 * min(1.0, thought / length) ** 2) + (0.12 * ignored**0.5 if not forced else 0)
    right = luck < chance
    answer = str(question) if right else str(question + 1)
    no_answer = not right and luck > 0.97
    segments = [{"kind": "thinking", "ids": list(range(thought)), "text": " ".join(words[:thought])}]
    reads = {f"{task}{question:04x}{'base' if base else 'think'}": thought + (not forced)}
    for wait in range(ignored if not forced else 0):
        segments += [
            {"kind": "injected", "ids": [7], "text": " Wait"},
            {"kind": "thinking", "ids": list(range(20)), "text": " " + " ".join(extra[wait * 21 + 1 : (wait + 1) * 21])},
        ]
        reads[f"{task}{question:04x}wait{wait}"] = 21
    segments += [
        {
            "kind": "delimiter",
            "ids": [9, 9, 9] if forced else [9],
            "text": "\n<|im_start|>answer" + ("\nFinal Answer:" if forced else "\n"),
        },
        {"kind": "answer", "ids": [3, 4, 5, 6], "text": f" {answer}"},
    ]
    reads[f"{task}{question:04x}answer{thought}.{ignored}{base}"] = 5
    thinking = sum(len(s["ids"]) for s in segments if s["kind"] in ("thinking", "injected"))
    return {
        "doc_id": question,
        "doc": {"question": f"Start at {question}, up 508, times 4 & <b>down 77</b>. Where now?", "answer": str(question)},
        "target": str(question),
        "arguments": [["prompt", {}]],
        "resps": [[answer]],
        "filtered_resps": [answer],
        "filter": "none",
        "metrics": ["exact_match"],
        "exact_match": float(right),
        "repeat": 0,
        "score": float(right),
        "no_answer": no_answer,
        "extracted": None if no_answer else answer,
        "segments": segments,
        "thinking_tokens": thinking,
        "answer_tokens": 4,
        "end": "forced" if forced else "natural",
        "waits": 0 if forced else ignored,
        "path_tokens": sum(reads.values()),
        "reads": reads,
        "info": {},
        "samples": [],
        "prompt_tokens": 30,
    }


def search(question: int, nodes: list[tuple[list[int], float, str]], leaves: list[list[int]], **line: Any) -> dict[str, Any]:
    """A line of a search: its (path, value, text) and the paths of its leaves, of which the last is worth most and counts."""
    told = [{"path": p, "value": v, "worth": v, "tokens": len(text), "text": text} for p, v, text in nodes]
    worth = {tuple(p): v for p, v, _ in nodes}
    members = [sample(question, 16, 0) for _ in leaves]
    for at, (member, path) in enumerate(zip(members, leaves, strict=True)):
        right = at == len(leaves) - 1
        member["info"] = {"reward": worth.get(tuple(path), 0.0), "steps": len(path), "path": path}
        member |= {"extracted": str(question + (not right)), "score": float(right)}
    classes = [0] * (len(leaves) - 1) + [1]
    own = {
        "samples": members,
        "vote": "best",
        "classes": classes,
        "segments": [],
        "info": {"leaves": len(leaves), "nodes": told},
    }
    return sample(question, 16, 0) | own | {"extracted": str(question), "score": 1.0} | line


def write_job(
    directory: Path,
    job: int,
    samples: list[dict[str, Any]],
    settings: dict | None = None,
    declared: dict | None = None,
    **meta: Any,
) -> None:
    """settings, declared: of cell.json; without them it is a cell of an older version."""
    directory.mkdir(parents=True)
    (directory / ".hydra").mkdir()
    meta = {
        "job": job,
        "task": "tiny_math",
        "model": "tiny-s1",
        "method": "budget_forcing",
        "seed": 0,
        "temperature": 0.0,
    } | meta
    meta["model_facts"] = {"parameters": 850_000, "layers": 4, "hidden": 128}
    lines = "".join(json.dumps(line) + "\n" for line in samples)
    record = cell_record(samples, meta | {"declared": declared})
    if settings is not None:
        common = {"model.name": meta["model"], "task.name": meta["task"], "seed": 0, "sampling.temperature": 0.0}
        told = {"limits": meta.get("limit_tokens"), "ignored_ends": 0, "relative": None, "free": False}
        record |= {"settings": common | settings, "declared": told | (declared or {})}
    (directory / f"samples_{meta['task']}.jsonl").write_text(lines)
    (directory / "cell.json").write_text(json.dumps(record))


def write_sweep(directory: Path, questions: int = 200, task: str = "tiny_math", first_job: int = 0) -> Path:
    """Budgets 16..256, Wait 0, 1, 2, 4 at 256 (Wait 0 is the last budget again), and the base model."""
    settings = [(b, 0) for b in BUDGETS] + [(256, w) for w in (0, 1, 2, 4)]
    for job, (budget, ignored) in enumerate(settings, first_job):
        overrides = [f"task={task}", f"method.max_thinking_tokens={budget}"] + (
            [f"method.ignore_end={ignored}"] if ignored else []
        )
        write_job(
            directory / str(job),
            job,
            [sample(q, budget, ignored, task=task) for q in range(questions)],
            task=task,
            cell_id=f"{task}-{budget}-{ignored}",
            series="budget_forcing",
            overrides=overrides,
            settings={"method.max_thinking_tokens": budget, "method.ignore_end": ignored},
            declared={"ignored_ends": ignored},
            budget=budget,
            limit_tokens=[0, budget],
        )
    job = first_job + len(settings)
    write_job(
        directory / str(job),
        job,
        [sample(q, None, 0, base=True, task=task) for q in range(questions)],
        task=task,
        model="tiny-base",
        method="none",
        cell_id=f"{task}-base",
        series="none(thinking=false)",
        overrides=[f"task={task}", "method=none", "method.thinking=false"],
        settings={"method.thinking": False},
        budget=None,
        limit_tokens=None,
    )
    (directory / "run.json").write_text(
        json.dumps(
            {
                "experiment": "budget_sweep",
                "command": "python run.py +experiment=budget_sweep",
                "git": {"commit": "abc1234", "changed": False},
                "versions": {"s1x": "0.1"},
                "decode_tokens": 30_000,
                "prefill_tokens": 9_000,
                "prefill_tokens_cached": 4_000,
                "engine_starts": 1,
                "wall_s": 12.5,
            }
        )
    )
    return directory
