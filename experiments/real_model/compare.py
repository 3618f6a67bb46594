"""Two engines' runs of real_model side by side, and an audit of the bookkeeping that shares no code with the runs.

    python experiments/real_model/compare.py FOLDER [QUESTIONS]

FOLDER holds model/, transformers/ and vllm/ (scripts/real_model.sh). Compared are ids and scores of every trace.
Audited is every trace of transformers, from the sample files and the model's tokenizer alone; and, for the first QUESTIONS
(default 5) of every greedy cell, each id by a plain forward pass of the model: what a cell wrote must be what the model would
have written next. Writes report.json and report.md; exit status 1 when the audit finds something.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ENGINES = ("transformers", "vllm")
TIE = 1e-3  # logits nearer than that are a tie of float32


def main(folder: Path, questions: int = 5) -> int:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    names = sorted((p.parent.name for p in (folder / ENGINES[0]).glob("*/cell.json")), key=int)
    cells, faults = [], []
    for name in names:
        one, other = (cell(folder / engine / name) for engine in ENGINES)
        found = [f"cell {name}, {fault}" for row in one["rows"] for fault in audit(row, one, tokenizer)]
        if one["temperature"] == 0:
            with torch.no_grad():
                read = [fault for row in one["rows"][:questions] for fault in forward(row, one, model, tokenizer)]
            found += [f"cell {name}, {fault}" for fault in read]
        faults += found
        cells.append(summary(name, one, other, model))
        print(json.dumps(cells[-1]), *found, sep="\n", flush=True)
    report = {
        "cells": cells,
        "audited_traces": sum(c["traces"] for c in cells),
        "forward_questions": questions,
        "faults": faults,
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.md").write_text(markdown(cells))
    print(markdown(cells), f"{len(faults)} faults", sep="\n")
    return int(bool(faults))


def cell(directory: Path) -> dict[str, Any]:
    """What was set, what was measured, and every trace of a cell; members of a pool are traces of their own."""
    from omegaconf import OmegaConf

    made = json.loads((directory / "cell.json").read_text())
    cfg = OmegaConf.load(directory / ".hydra" / "config.yaml")
    rows = [json.loads(line) for line in next(directory.glob("samples_*.jsonl")).read_text().splitlines()]
    for row in rows:
        for number, member in enumerate(row.get("samples", [])):
            member |= {"doc_id": f"{row['doc_id']}.{number}", "prompt": row["arguments"]["gen_args_0"]["arg_0"]}
        row["prompt"] = row["arguments"]["gen_args_0"]["arg_0"]
    rows = [member for row in rows for member in row.get("samples") or [row]]
    method = OmegaConf.to_container(cfg.method, resolve=True)
    return {
        "label": method["_target_"].rpartition(".")[2], "method": method, "limits": method.get("inner", method),
        "temperature": cfg.sampling.temperature, "chat": cfg.chat, "answer": cfg.task.max_answer_tokens, "cell": made,
        "rows": rows,
    }  # fmt: skip


def ids_of(row: dict[str, Any], *kinds: str) -> list[int]:
    return [i for s in row["segments"] if not kinds or s["kind"] in kinds for i in s["ids"]]


def audit(row: dict[str, Any], of: dict[str, Any], tokenizer) -> list[str]:
    """Faults of one trace's counts, limits, injected words, end and graded text."""
    end_of_turn, limits, faults = tokenizer.eos_token_id, of["limits"], []

    def must(true: bool, what: str) -> None:
        if not true:
            faults.append(f"question {row['doc_id']}: {what}")

    thinking, injected = ids_of(row, "thinking", "injected"), [s["ids"] for s in row["segments"] if s["kind"] == "injected"]
    answer, most = ids_of(row, "answer"), limits["max_thinking_tokens"]
    must(
        row["thinking_tokens"] == len(thinking) <= most, f"{len(thinking)} thinking tokens counted as {row['thinking_tokens']}"
    )
    must(end_of_turn not in thinking + answer, "an end of turn counts as text")
    must(all(ids == tokenizer.encode(limits["string"]) for ids in injected), "another word than Wait")
    must(row["waits"] == len(injected) <= limits.get("ignore_end", 0), f"{len(injected)} words, {row['waits']} waits")
    final = tokenizer.encode(of["chat"]["final_answer"])
    must([s["ids"] for s in row["segments"]][-2] == final, "the words before the answer are others")
    must(len(answer) <= of["answer"], f"an answer of {len(answer)} tokens")
    if row["end"] == "forced" and not row["info"].get("agreed"):
        must(len(thinking) == most, f"forced at {len(thinking)} of {most}")
    if row["info"].get("agreed"):
        must(row["end"] == "forced" and len(thinking) % limits["every"] == 0, f"agreed at {len(thinking)}")
    text = tokenizer.decode(ids_of(row))  # a format without delimiters: all of it is read, the last number counts
    numbers = re.findall(r"-?[$0-9.,]{2,}|-?[0-9]+", text)  # lm-eval's flexible-extract
    must((row["extracted"] or None) == (numbers[-1] if numbers else None), f"{row['extracted']!r} read from {text[-80:]!r}")
    return faults


def forward(row: dict[str, Any], of: dict[str, Any], model, tokenizer) -> list[str]:
    """Ids of a greedy trace that the model would not have written at their place, by one forward pass over all of it."""
    import torch

    messages = [{"role": "user", "content": f"{row['prompt']}\n\n{of['chat']['instruction']}"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer.encode(text, add_special_tokens=False)
    logits = model(torch.tensor([prompt + ids_of(row)])).logits[0]
    end_of_turn, at, faults = tokenizer.eos_token_id, len(prompt), []
    if len(prompt) != row["prompt_tokens"]:
        faults.append(f"question {row['doc_id']}: a prompt of {len(prompt)} tokens counted as {row['prompt_tokens']}")
    last = [s for s in row["segments"] if s["kind"] == "thinking"][-1]
    for number, segment in enumerate(row["segments"]):
        written = segment["kind"] in ("thinking", "answer")
        follows = number and row["segments"][number - 1]["kind"] in ("thinking", "injected") and segment["kind"] == "thinking"
        for place, token in enumerate(segment["ids"]):
            scores = logits[at - 1].clone()
            if follows and place == 0:
                scores[end_of_turn] = -torch.inf  # forbidden right behind an ignored end
            if written and scores.max() - scores[token] > TIE:
                faults.append(f"question {row['doc_id']}: id {token} at {at - len(prompt)} is not what the model writes")
            at += 1
        if written:
            over = (
                row["end"] == "natural" or segment is not last
                if segment["kind"] == "thinking"
                else len(segment["ids"]) < of["answer"]
            )
            if over and logits[at - 1].max() - logits[at - 1, end_of_turn] > TIE:
                faults.append(f"question {row['doc_id']}: {segment['kind']} ends at {at - len(prompt)} where the model goes on")
    return faults


def summary(name: str, one: dict[str, Any], other: dict[str, Any], model) -> dict[str, Any]:
    """One cell on both engines: what each measured, how many traces have the same ids, and where the others part."""
    same, parted, graded = 0, [], 0
    for a, b in zip(one["rows"], other["rows"], strict=True):
        left, right = ids_of(a), ids_of(b)
        same += left == right
        graded += a["score"] == b["score"]
        if left != right:
            parted.append(next((i for i, (x, y) in enumerate(zip(left, right)) if x != y), min(len(left), len(right))))
    measured = {engine: figures(c) for engine, c in zip(ENGINES, (one, other))}
    keys = ("max_thinking_tokens", "ignore_end", "every", "agree")
    given = {k: one["limits"][k] for k in keys if one["limits"].get(k)} | {
        k: one["method"][k] for k in ("n",) if k in one["method"]
    }
    return {
        "cell": int(name), "method": one["label"], "settings": given, "traces": len(one["rows"]), "same_ids": same,
        "same_score": graded, "parted_at": sorted(parted), **measured,
    }  # fmt: skip


def figures(of: dict[str, Any]) -> dict[str, Any]:
    rows, ends = of["rows"], Counter(row["end"] for row in of["rows"])
    return {
        "accuracy": of["cell"]["accuracy"]["value"] if isinstance(of["cell"]["accuracy"], dict) else of["cell"]["accuracy"],
        "thinking_tokens": sum(row["thinking_tokens"] for row in rows) / len(rows),
        "forced": ends["forced"] / len(rows),
        "waits": sum(row["waits"] for row in rows) / len(rows),
        "no_answer": sum(bool(row["no_answer"]) for row in rows) / len(rows),
    }


def markdown(cells: list[dict[str, Any]]) -> str:
    columns = ("accuracy %", "thinking tokens", "forced %", "Wait", "no answer %", "same ids", "same score")
    lines = ["| method | settings | " + " | ".join(columns) + " |", "| --- | --- |" + " ---: |" * len(columns)]
    for c in cells:
        a, b = (c[engine] for engine in ENGINES)

        def both(key: str, form: str, scale: float = 1) -> str:
            return ", ".join(form.format(scale * x[key]) for x in (a, b))

        settings = ", ".join(f"{k}={v}" for k, v in c["settings"].items())
        lines.append(
            f"| {c['method']} | {settings} | {both('accuracy', '{:.1f}', 100)} | {both('thinking_tokens', '{:.1f}')} | "
            f"{both('forced', '{:.0f}', 100)} | {both('waits', '{:.2f}')} | {both('no_answer', '{:.0f}', 100)} | "
            f"{c['same_ids']} of {c['traces']} | {c['same_score']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:3])))
