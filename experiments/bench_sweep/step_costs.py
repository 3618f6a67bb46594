"""What a step of vLLM costs in each way of bench_sweep: least squares on what the steps did.

    python experiments/bench_sweep/step_costs.py [task.limit=120 engine.threads=2 ...]

Needs vLLM, whose engine core must run in this process (it does without a GPU). Prints one row per way.
"""

import sys
import time
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from s1x.benches import sweep as bench_sweep
from s1x.composition import BASE, register
from s1x.engines.build import build
from s1x.evaluation.cells import load_tokenizer

PARTS = ("steps", "decoded tokens", "prefilled tokens", "new requests", "tokens of context behind decoded ones")


def main(overrides: list[str]) -> None:
    register()
    root = Path(__file__).resolve().parents[2]
    with initialize_config_dir(str(root / "conf"), **BASE):
        cfg = compose("config", ["+experiment=bench_sweep", "engine.threads=1", *overrides])
    tokenizer = load_tokenizer(cfg)
    plain = OmegaConf.to_container(cfg, resolve=True)
    engine = build(plain["engine"], plain["model"], ())
    bench_sweep.warm(engine)
    sweep, rows = bench_sweep.Sweep(cfg, tokenizer, engine), watch(engine)
    cells = list(range(len(sweep.methods)))
    for way, commands in {"shared": [cells], "s1": [[cell] for cell in cells]}.items():
        rows.clear()
        for some in commands:
            bench_sweep.forget(engine)
            bench_sweep.WAYS[way](sweep, some, {})
        show(way, np.array(rows))
    engine.close()


def watch(engine) -> list[tuple[float, ...]]:
    """What each step did, and the seconds it took."""
    rows, scheduler = [], engine.llm.engine_core.engine_core.scheduler
    schedule, step = scheduler.schedule, engine._step
    last: tuple[float, ...] = ()

    def scheduled(*args, **kwargs):
        nonlocal last
        output = schedule(*args, **kwargs)
        counts = output.num_scheduled_tokens
        decoding = [name for name, n in counts.items() if n == 1]
        context = sum(scheduler.requests[name].num_computed_tokens for name in decoding)
        new = len(output.scheduled_new_reqs)
        last = (1, len(decoding), sum(counts.values()) - len(decoding), new, context)
        return output

    def stepped():
        began = time.perf_counter()
        outputs = step()
        rows.append((*last, time.perf_counter() - began))
        return outputs

    scheduler.schedule, engine._step = scheduled, stepped
    return rows


def show(way: str, rows: np.ndarray) -> None:
    done, seconds = rows[:, :-1], rows[:, -1]
    costs, *_ = np.linalg.lstsq(done, seconds, rcond=None)
    print(f"{way}: {len(rows):,} steps, {seconds.sum():.1f} s; {100 * (done[:, 1] < 8).mean():.0f}% with fewer than 8 streams")
    for name, n, cost in zip(PARTS, done.sum(0), costs, strict=True):
        print(f"  {n:13,.0f} {name:38} {1e6 * cost:9.3f} microseconds each {cost * n:6.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
