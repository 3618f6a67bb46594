"""The tiny process reward model: after each line of a trace, how probably the line is right.

It starts from tiny-s1 with new layers on top. The first of them begins as a head that looks at the token before and reads what
was expected there, so that a later layer can compare it with what was written: without that, no checking of arithmetic was
learned. Behind each line the model says "+" or "-" (labels.py); in training it also does so behind each digit of a result, and
the layer below the new ones learns to expect the right digit.

    python run.py +experiment=tiny_prm
"""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from . import benchmarks, notes, problems, sampled
from .documents import prompt
from .labels import kind, labels, slipped
from .problems import Problem, Step, operand, three

MARKS = "+-"  # what it says: right, wrong
NONE = -100
SLIPS = {"*": 0.5, "+": 0.25, "-": 0.25}  # of made traces; its own slip less in sums and more in products


@dataclass(frozen=True)
class Recipe:
    """layers: on top of tiny-s1's. problems, samples: own traces trained on. tables, epochs: steps over tables of sums alone,
    with the layers of tiny-s1 fixed, and passes over the own traces, each batch with as many made ones as `made` says (a
    share of the own ones' number). tokens: of a batch. weights: of the losses behind lines, behind digits, and of digits."""

    layers: int = 2
    problems: int = 500
    samples: int = 8
    tables: int = 150
    epochs: int = 1
    made: float = 0.25
    tokens: int = 8192
    muon_lr: float = 0.01
    adam_lr: float = 1e-3
    precision: str = "bf16"
    weights: tuple[float, float, float] = (1.0, 0.5, 0.3)
    seed: int = 0
    world: ClassVar = (
        "benchmarks.py", "documents.py", "labels.py", "muon.py", "notes.py", "prm.py", "problems.py", "sampled.py",
    )  # fmt: skip

    @property
    def plan(self) -> str:
        return f"{self.problems * self.samples:,} traces of tiny-s1 are sampled, labelled and trained on"

    def make(self, out: Path, log=print) -> Path:
        """Sample, label, train; a killed run finds its samples again in `out`."""
        asked = sampled.drawn(self.seed, self.problems, benchmarks.held_out())
        pools = sampled.traces(asked, self.samples, out / "store", seed=self.seed, log=log)
        train(out, self, [(p, text.split("\n")) for p, pool in zip(asked, pools, strict=True) for text in pool], log)
        shutil.rmtree(out / "store")
        return out


@dataclass
class Text:
    """ids; after which of them a verdict is due, behind lines and behind digits (1 right, 0 wrong); what digit comes next."""

    ids: list[int]
    line: list[int]
    digit: list[int]
    expected: list[int]


class Writer:
    """Makes texts of traces and tables."""

    def __init__(self, tokenizer: Any, seed: str, exclude: frozenset = frozenset()):
        self.rng, self.tokenizer, self.exclude = random.Random(seed), tokenizer, exclude
        self.digits = [self._ids(d)[0] for d in "0123456789"]
        self._known: dict[str, list[int]] = {}

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def trace(self, problem: Problem, lines: Sequence[str]) -> Text:
        text = self._begun(prompt(problem.question))
        before = ""
        for line, right in zip(lines, labels(problem, list(lines)), strict=True):
            self._add(text, line, right, before)
            if kind(line):
                before = line.rstrip(".")[-3:]
        return text

    def made(self) -> Text:
        """A trace as the pool's, with slips that it goes on from."""
        while True:
            problem = problems.sample(self.rng, self.rng.randint(1, problems.MAX_STEPS))
            if problem.key not in self.exclude:
                break
        written = notes.trace(self.rng, problem, checks=self.rng.choice((0, 0, 1, 1, 2, 3)), slips=SLIPS)
        lines = written.text.strip().split("\n")
        for i, line in enumerate(lines):
            if kind(line) in ("check", "so") and self.rng.random() < 0.1:
                lines[i] = slipped(self.rng, line)
        return self.trace(problem, lines)

    def table(self, size: int = 40) -> Text:
        """Lines that have nothing to do with one another: right means here that the result is."""
        text = self._begun("")
        for _ in range(size):
            op = self.rng.choice("+-**")
            step, value = Step(op, operand(self.rng, op)), self.rng.randrange(1000)
            line = f"{self.rng.randint(1, 8)}:{three(value)}{op}{step.x}={three(step(value))}"
            right = self.rng.random() < 0.5
            self._add(text, line if right else slipped(self.rng, line), right, "")
        return text

    def _begun(self, start: str) -> Text:
        ids = self._ids(start) if start else []
        return Text(ids, *([NONE] * len(ids) for _ in range(3)))

    def _add(self, text: Text, line: str, right: bool | None, before: str) -> None:
        ids = [*self._ids(line), *self._ids("\n")]
        at = len(text.ids)
        text.ids += ids
        for row in (text.line, text.digit, text.expected):
            row += [NONE] * len(ids)
        if right is not None:
            text.line[-1] = int(right)
        true = result(line, before)
        if true is None:
            return
        first = at + len(ids) - 4 - line.endswith(".")  # of the three digits, each a token
        for i, d in enumerate(true):
            text.digit[first + i] = int(text.ids[first + i] == self.digits[int(d)])
            text.expected[first + i - 1] = self.digits[int(d)]


def result(line: str, before: str) -> str | None:
    """What the line should say for its result, by its own words alone; `before` is the result of the line before."""
    what = kind(line)
    if what is None:
        return None
    if what == "so":
        return before or None
    expression = line.partition(":")[2].partition("=")[0].split(" ")[0]
    return three(Step(expression[3], int(expression[4:]))(int(expression[:3])))


def batches(texts: list[Text], tokens: int, rng: random.Random) -> Iterator[list[Text]]:
    """Texts of like length together, at most `tokens` with the filling, in random order."""
    groups: list[list[Text]] = [[]]
    for text in sorted(texts, key=lambda t: (len(t.ids), rng.random())):
        if groups[-1] and (len(groups[-1]) + 1) * len(text.ids) > tokens:
            groups.append([])
        groups[-1].append(text)
    rng.shuffle(groups)
    yield from groups


def tensors(texts: list[Text]) -> tuple[Any, ...]:
    import torch

    longest = max(len(t.ids) for t in texts)
    rows = ((t.ids, t.line, t.digit, t.expected) for t in texts)
    padded = [[row + [0 if n == 0 else NONE] * (longest - len(row)) for n, row in enumerate(four)] for four in rows]
    return tuple(torch.tensor([four[n] for four in padded]) for n in range(4))


def grown(layers: int, digits: list[int]) -> Any:
    """tiny-s1 with new layers on top, as the module's head says."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

    base = AutoModelForCausalLM.from_pretrained(sampled.MODEL, dtype=torch.float32)
    below = base.config.num_hidden_layers
    model = Qwen2ForCausalLM(
        Qwen2Config(**base.config.to_diff_dict() | {"num_hidden_layers": below + layers, "layer_types": None})
    )
    model.load_state_dict(base.state_dict(), strict=False)
    if not layers:
        return model
    with torch.no_grad():
        first, *others = model.model.layers[below:]
        first.input_layernorm.weight.copy_(base.model.norm.weight)  # so that it reads what the model below would say next
        looks_back(first.self_attn, 1.0, 7.0)
        value = first.self_attn.v_proj
        value.bias.zero_()
        value.weight[:10].copy_(0.1 * base.model.embed_tokens.weight[digits])
        first.self_attn.o_proj.weight[:, : first.self_attn.head_dim].normal_(std=0.7)  # as loud as what is there
        for layer in others:
            looks_back(layer.self_attn, 2.5, 3.0)
    return model


def looks_back(attention: Any, tokens: float, sharp: float) -> None:
    """Make half of the heads look at what stands so many tokens before, whatever it is (rotary positions, biases alone)."""
    import torch

    half, size = attention.q_proj.weight.shape[0] // 2, attention.head_dim
    angles = 1e4 ** (-2 * torch.arange(size // 2) / size) * tokens
    attention.q_proj.weight[:half].zero_()
    attention.k_proj.weight[:size].zero_()
    attention.q_proj.bias[:half] = torch.cat([torch.full_like(angles, sharp), torch.zeros_like(angles)]).repeat(half // size)
    attention.k_proj.bias[:size] = sharp * torch.cat([angles.cos(), angles.sin()])


def losses(model: Any, batch: tuple[Any, ...], marks: tuple[int, int], below: int) -> list[Any]:
    """Cross entropy behind lines, behind digits, and of the digits that the layer below the new ones expects."""
    import torch

    cross = torch.nn.functional.cross_entropy
    ids, line, digit, expected = batch
    out = model.model(input_ids=ids, use_cache=False, output_hidden_states=True)
    head = model.lm_head.weight

    def verdicts(wanted: Any) -> Any:
        chosen = wanted != NONE
        return cross(out.last_hidden_state[chosen] @ head[list(marks)].T, 1 - wanted[chosen])

    found = [verdicts(line), verdicts(digit)]
    if len(model.model.layers) > below:
        chosen = expected != NONE
        hidden = model.model.layers[below].input_layernorm(out.hidden_states[below][chosen])
        found.append(cross(hidden @ head.T, expected[chosen]))
    return found


def train(out: Path, recipe: Recipe, own: list[tuple[Problem, list[str]]], log=print) -> Path:
    """Train on `own` traces (their lines) and save to `out`."""
    import torch
    from transformers import AutoTokenizer

    from .muon import Muon

    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    tok = AutoTokenizer.from_pretrained(sampled.MODEL)
    writer = Writer(tok, f"prm-{recipe.seed}", benchmarks.held_out())
    marks = tuple(tok.convert_tokens_to_ids(m) for m in MARKS)
    model = grown(recipe.layers, writer.digits).train()
    below = len(model.model.layers) - recipe.layers
    plan: list[tuple[bool, list[Text]]] = []
    plan += [(True, [writer.table() for _ in range(4)]) for _ in range(recipe.tables)]
    texts = [writer.trace(problem, lines) for problem, lines in own]
    for _ in range(recipe.epochs if texts else 0):
        more = [writer.made() for _ in range(round(recipe.made * len(texts)))]
        plan += [(False, group) for group in batches(texts + more, recipe.tokens, rng)]

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    some = rest if recipe.muon_lr else list(model.parameters())
    optimizers: list[Any] = [torch.optim.AdamW(some, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)]
    if recipe.muon_lr:
        optimizers.append(Muon(matrices, lr=recipe.muon_lr, momentum=0.95, weight_decay=0.0))

    def factor(step: int) -> float:
        return min((step + 1) / 20, max(0.02, (len(plan) - step) / len(plan)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in optimizers]
    fixed = [p for part in (model.model.embed_tokens, *model.model.layers[:below]) for p in part.parameters()]
    began, smooth = time.time(), [0.0] * 3
    for number, (tables, group) in enumerate(plan):
        for p in fixed:
            p.requires_grad_(not tables)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            found = losses(model, tensors(group), marks, below)
        sum(weight * loss for weight, loss in zip(recipe.weights, found)).backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
        for part in (*optimizers, *schedules):
            part.step()
        for o in optimizers:
            o.zero_grad(set_to_none=True)
        smooth = [loss.item() + (0.9 * (s - loss.item()) if number else 0) for s, loss in zip(smooth, found)]
        if not math.isfinite(sum(smooth)):
            raise FloatingPointError(f"the loss is {smooth} at step {number}")
        if (number + 1) % 25 == 0:
            said = ", ".join(f"{s:.3f}" for s in smooth)
            log(f"step {number + 1}/{len(plan)}: {said} behind lines, behind digits, of digits; {time.time() - began:,.0f} s")
    model.eval().save_pretrained(out)
    tok.save_pretrained(out)
    facts = recipe.__dict__ | {"steps": len(plan), "training_seconds": round(time.time() - began)}
    (out / "recipe.json").write_text(json.dumps(facts, indent=1))
    return out
