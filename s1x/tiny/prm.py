"""The tiny process reward model: tiny-s1, taught to say behind each line of a trace whether the line is right.

It reads what the policy reads and writes, and says "+" or "-" where a line has ended (at its newline, with nothing put in). The
loss is the cross entropy between these two tokens there, and nowhere else. Labels: labels.py; traces: sampled.py.

    python run.py +experiment=tiny_prm
"""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from . import benchmarks, sampled
from .documents import prompt
from .labels import labels
from .problems import Problem

MARKS = "+-"  # right, wrong
NONE = -100  # no verdict is due here


@dataclass(frozen=True)
class Recipe:
    """problems, samples: how many are asked, and traces of each. tokens: of a batch at most, filling included. precision: fp32
    or bf16, of the passes; weights are float32."""

    problems: int = 500
    samples: int = 8
    epochs: int = 1
    tokens: int = 8192
    adam_lr: float = 1e-3
    precision: str = "bf16"
    seed: int = 0
    world: ClassVar = ("benchmarks.py", "documents.py", "labels.py", "prm.py", "problems.py", "sampled.py")

    @property
    def plan(self) -> str:
        return f"{self.problems * self.samples:,} traces of tiny-s1 are sampled, labelled and trained on"

    def make(self, out: Path, log: Callable[[str], None] = print) -> Path:
        """Sample, label, train; a killed run finds its samples again in `out`."""
        asked = sampled.drawn(self.seed, self.problems, benchmarks.held_out())
        pools = sampled.traces(asked, self.samples, out / "store", seed=self.seed, log=log)
        train(out, self, [(p, text.split("\n")) for p, pool in zip(asked, pools, strict=True) for text in pool], log)
        shutil.rmtree(out / "store")
        return out


@dataclass(frozen=True)
class Text:
    """Token ids, and for each the verdict that is due having read it: 1 right, 0 wrong, or NONE."""

    ids: list[int]
    verdicts: list[int]


def text_of(tokenizer: Any, problem: Problem, lines: Sequence[str]) -> Text:
    """What the scorer reads of a trace (conf/scorer/tiny_prm.yaml)."""
    ids: list[int] = tokenizer.encode(prompt(problem.question), add_special_tokens=False)
    verdicts = [NONE] * len(ids)
    for line, right in zip(lines, labels(problem, list(lines)), strict=True):
        more = tokenizer.encode(f"{line}\n", add_special_tokens=False)
        ids += more
        verdicts += [NONE] * (len(more) - 1) + [NONE if right is None else int(right)]
    return Text(ids, verdicts)


def batches(texts: Sequence[Text], tokens: int, rng: random.Random) -> Iterator[list[Text]]:
    """Texts of like length together, at most `tokens` with the filling (one text at least), in random order."""
    groups: list[list[Text]] = [[]]
    for text in sorted(texts, key=lambda t: (len(t.ids), rng.random())):
        if groups[-1] and (len(groups[-1]) + 1) * len(text.ids) > tokens:
            groups.append([])
        groups[-1].append(text)
    rng.shuffle(groups)
    yield from groups


def tensors(texts: Sequence[Text]) -> tuple[Any, Any]:
    """Ids and verdicts, each [texts, longest]."""
    import torch

    longest = max(len(t.ids) for t in texts)
    ids = [t.ids + [0] * (longest - len(t.ids)) for t in texts]
    verdicts = [t.verdicts + [NONE] * (longest - len(t.ids)) for t in texts]
    return torch.tensor(ids), torch.tensor(verdicts)


def train(out: Path, recipe: Recipe, own: Sequence[tuple[Problem, list[str]]], log: Callable[[str], None] = print) -> Path:
    """Train on `own` traces (their lines) and save model and tokenizer to `out`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    tok = AutoTokenizer.from_pretrained(sampled.MODEL)
    model = AutoModelForCausalLM.from_pretrained(sampled.MODEL, dtype=torch.float32).train()
    texts = [text_of(tok, problem, lines) for problem, lines in own]
    plan = [group for _ in range(recipe.epochs) for group in batches(texts, recipe.tokens, rng)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min((n + 1) / 20, max(0.02, (len(plan) - n) / len(plan))))
    marks = [tok.convert_tokens_to_ids(mark) for mark in MARKS]
    began, smooth = time.time(), None
    for number, group in enumerate(plan, 1):
        ids, verdicts = tensors(group)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[verdicts != NONE]
            said = hidden @ model.lm_head.weight[marks].T
        loss = torch.nn.functional.cross_entropy(said.float(), 1 - verdicts[verdicts != NONE])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        smooth = loss.item() if smooth is None else 0.9 * smooth + 0.1 * loss.item()
        if not math.isfinite(smooth):
            raise FloatingPointError(f"the loss is {smooth} at step {number}")
        if number % 25 == 0:
            log(f"step {number}/{len(plan)}: loss {smooth:.3f}, {time.time() - began:,.0f} s")
    model.eval().save_pretrained(out)
    tok.save_pretrained(out)
    verdicts = sum(v != NONE for t in texts for v in t.verdicts)
    facts = recipe.__dict__ | {"traces": len(own), "verdicts": verdicts, "tokens_read": sum(len(t.ids) for t in texts)}
    facts |= {"steps": len(plan), "training_seconds": round(time.time() - began)}
    (out / "recipe.json").write_text(json.dumps(facts, indent=1) + "\n")
    return out
