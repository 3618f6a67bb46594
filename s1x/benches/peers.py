"""One greedy cell by lm-eval's own `hf` backend and by s1x, as whole commands, and whether both give the same answers.

    python run.py +experiment=bench_peers

Each command is a process of its own, as a user types it: Python starts, imports, finds the task, loads the model, generates,
grades and writes samples. The two take turns, `ROUNDS` times, since a machine's speed drifts; the first of each is not counted
(files are in the page cache afterwards, for both alike). Nothing is stored from one to the next. Writes bench_peers.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ..errors import SettingError
from ..files import PACKAGE, write_text

ROUNDS, BATCH = 3, 64
YAML = PACKAGE / "tasks" / "yaml"
Answers = dict[int, tuple[str, float]]  # by question: the answer that was read, its score


def run(cfg: DictConfig) -> None:
    """The cell of `cfg` both ways; prints a table and writes bench_peers.json."""
    peers = {f"lm-eval hf, batch {BATCH}": lm_eval, "s1x": s1x}
    if not (YAML / f"{cfg.task.lm_eval}.yaml").is_file() or cfg.task.file:
        raise SettingError(f"task.lm_eval={cfg.task.lm_eval}: must be a task that s1x brings, for lm-eval to run it alike")
    if cfg.sampling.temperature != 0 or cfg.method.get("thinking", True) or not cfg.method.get("max_tokens"):
        raise SettingError("stage=bench_peers: compares method=none method.thinking=false method.max_tokens=N at temperature 0")
    if find_spec("accelerate") is None:
        raise SettingError("stage=bench_peers: lm-eval's hf backend needs accelerate: pip install -e '.[train]'")
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    found: dict[str, Answers] = {}
    for turn in range(ROUNDS + 1):
        for name, peer in peers.items():
            with tempfile.TemporaryDirectory() as place:
                took, answers = timed(cfg, peer, Path(place))
            if found.setdefault(name, answers) != answers:
                raise RuntimeError(f"{name} did not give the same answers twice")
            seconds[name] += [took] * (turn > 0)
    figures = summarise(cfg, seconds, found)
    path = Path(HydraConfig.get().runtime.output_dir) / "bench_peers.json"
    write_text(path, json.dumps(figures, indent=1) + "\n")
    show(figures)
    print(f"written to {path}")


def lm_eval(cfg: DictConfig, place: Path) -> list[str]:
    """lm-eval's command for the cell, on our task files. It writes its samples somewhere below `place`."""
    limit = [f"--limit={cfg.task.limit}"] if cfg.task.limit else []
    ends = ",".join(repr(end) for end in cfg.chat.answer_stop)
    return [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", str(BATCH)),
        *(
            "--model_args",
            f"pretrained={cfg.model.path},dtype=float32",
            "--tasks",
            cfg.task.lm_eval,
            "--include_path",
            str(YAML),
        ),
        *("--gen_kwargs", f"max_gen_toks={cfg.method.max_tokens},until=[{ends}]", "--apply_chat_template", *limit),
        *("--log_samples", "--output_path", str(place)),
    ]


def s1x(cfg: DictConfig, place: Path) -> list[str]:
    """s1x's command for the cell."""
    limit = [f"task.limit={cfg.task.limit}"] if cfg.task.limit else []
    return [
        *(sys.executable, str(PACKAGE.parent / "run.py"), "method=none", "method.thinking=false"),
        *(f"method.max_tokens={cfg.method.max_tokens}", f"model.path={cfg.model.path}", f"model.name={cfg.model.name}"),
        *(f"task={cfg.task.name}", *limit, "engine=transformers", "engine.device=cpu", "engine.dtype=float32"),
        *("store.dir=null", "tracking=none", f"hydra.run.dir={place}"),
    ]


def timed(cfg: DictConfig, peer: Callable[[DictConfig, Path], list[str]], place: Path) -> tuple[float, Answers]:
    """Seconds of the command from start to end, and its answers."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}  # for lm-eval: our tasks' functions
    began = time.perf_counter()
    done = subprocess.run(peer(cfg, place), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    took = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(done.args)} ended with status {done.returncode}:\n{done.stdout[-3000:]}")
    (file,) = place.rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return took, {row["doc_id"]: (str(row["filtered_resps"][0]), float(row["exact_match"])) for row in rows}


def summarise(cfg: DictConfig, seconds: dict[str, list[float]], found: dict[str, Answers]) -> dict[str, Any]:
    """Medians, their ratio, and how many answers are the same."""
    one, other = found.values()
    slow, fast = (median(some) for some in seconds.values())
    return {
        "cell": f"{cfg.model.name}, {cfg.task.lm_eval}, at most {cfg.method.max_tokens} tokens, greedy",
        "questions": len(one),
        "seconds": {name: [round(s, 1) for s in some] for name, some in seconds.items()},
        "median_s": {name: median(some) for name, some in seconds.items()},
        "ratio": slow / fast,
        "accuracy": {name: sum(score for _, score in answers.values()) / len(answers) for name, answers in found.items()},
        "same_answers": sum(one[i] == other.get(i) for i in one) / len(one),
        "different": [{"doc_id": i, "answers": [one[i], other.get(i)]} for i in one if one[i] != other.get(i)],
    }


def show(figures: dict[str, Any]) -> None:
    from rich.console import Console

    from ..report import listings
    from ..report.render import say, terminal

    rows = []
    for name, some in figures["seconds"].items():
        each, middle = ", ".join(f"{s:.1f}" for s in some), figures["median_s"][name]
        rows.append([name, each, f"{middle:.1f}", f"{100 * figures['accuracy'][name]:.1f}"])
    console = Console()
    terminal(listings.plain(("by", "seconds, each turn", "median", "accuracy %"), rows, f"{figures['cell']}."), console)
    say(
        f"{figures['ratio']:.1f}x less time; "
        f"{100 * figures['same_answers']:.1f}% of {figures['questions']} answers are the same",
        console,
    )
