"""The transformers engine against `model.generate` with a static cache, side by side on the same weights.

    python experiments/bench_engine/bench_transformers.py --model PATH

Two loads, greedy, end-of-turn disabled, so that both sides decode the same number of tokens:
  uniform: `slots` requests of 256 new tokens, one batch;
  ragged:  `requests` requests, output lengths log-uniform from 16 to 512 (fixed seed), over `slots` slots; generate takes
           them in batches of `slots` in order of arrival, each of which runs to its longest request.
Rounds alternate between the two sides; the table shows medians and the median of the per-round ratios.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from s1x.engines.transformers import TransformersEngine
from s1x.streams.engine import Open

Load = list[tuple[tuple[int, ...], int]]  # (prompt ids, new tokens)


def make_load(name: str, args: argparse.Namespace, seed: int = 0) -> Load:
    rng = random.Random(seed)
    ragged = [round(math.exp(rng.uniform(math.log(16), math.log(512)))) for _ in range(args.requests)]
    lengths = [256] * args.slots if name == "uniform" else ragged
    return [(tuple(rng.randrange(args.vocabulary) for _ in range(args.prompt_tokens)), n) for n in lengths]


def run_engine(engine: TransformersEngine, load: Load) -> list[list[int]]:
    handles = [engine.open(Open(prompt, limit=n)) for prompt, n in load]
    out: dict[int, list[int]] = {h: [] for h in handles}
    while chunks := engine.poll():
        for chunk in chunks:
            out[chunk.handle] += chunk.ids
    return [out[h] for h in handles]


def run_generate(model, load: Load, slots: int) -> list[list[int]]:
    out = []
    for i in range(0, len(load), slots):
        batch = load[i : i + slots]
        prompts = torch.tensor([prompt for prompt, _ in batch], device=model.device)
        ids = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=max(n for _, n in batch),
            cache_implementation="static",
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        out += [row[prompts.shape[1] :][:n] for row, (_, n) in zip(ids.tolist(), batch, strict=True)]
    return out


def timed(run) -> tuple[float, list[list[int]]]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    out = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, out


def compare(name: str, args: argparse.Namespace, engine: TransformersEngine, model) -> dict:
    load = make_load(name, args)
    tokens = sum(n for _, n in load)
    first = load if engine.device == "cuda" else [(prompt, 16) for prompt, _ in load[: args.slots]]  # GPUs compile by shape
    run_engine(engine, first)
    run_generate(model, first, args.slots)
    sides = {"engine": lambda: run_engine(engine, load), "generate": lambda: run_generate(model, load, args.slots)}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    same = 0
    for r in range(args.rounds):
        written = {}
        for side in sorted(sides, reverse=r % 2 == 1):
            elapsed, written[side] = timed(sides[side])
            seconds[side].append(elapsed)
        same = sum(a == b for a, b in zip(written["engine"], written["generate"], strict=True))
    ratios = [g / e for e, g in zip(seconds["engine"], seconds["generate"], strict=True)]
    return {
        "load": name,
        "requests": len(load),
        "tokens": tokens,
        "tokens_per_second": {side: tokens / statistics.median(s) for side, s in seconds.items()},
        "seconds": seconds,
        "speedup": statistics.median(ratios),
        "speedups": ratios,
        "identical_requests": same / len(load),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or hub id")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--requests", type=int, default=128, help="of the ragged load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--loads", nargs="+", default=["uniform", "ragged"], choices=["uniform", "ragged"])
    parser.add_argument("--compile", action="store_true", help="compile the engine's model")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("bench_transformers.json"))
    args = parser.parse_args()

    engine = TransformersEngine(args.model, slots=args.slots, threads=args.threads, compile=args.compile)
    run_engine(engine, [((1, 2, 3), 2)])
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=engine.dtype).to(engine.device).eval()
    args.vocabulary = engine.vocabulary
    results = [compare(name, args, engine, model) for name in args.loads]

    print(f"\n{'load':9}{'requests':>9}{'tokens':>8}{'engine tok/s':>14}{'generate tok/s':>16}{'speed-up':>10}{'same ids':>11}")
    for r in results:
        speed = r["tokens_per_second"]
        print(
            f"{r['load']:9}{r['requests']:9}{r['tokens']:8}{speed['engine']:14,.0f}{speed['generate']:16,.0f}"
            f"{r['speedup']:9.2f}x{r['identical_requests']:11.1%}"
        )
    setup = {"model": args.model, "slots": args.slots, "device": engine.device, "threads": torch.get_num_threads()}
    args.out.write_text(json.dumps({"setup": setup, "results": results}, indent=1) + "\n")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
