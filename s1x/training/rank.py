"""The program of one rank, started by torch.distributed.run: `python -m s1x.training.rank JOB_FILE`.

The first rank writes the numbers of every step to `progress.jsonl` and what happened to `facts.json`; a rank that fails writes
`error-<rank>.json`. The command that started the training reads them (s1x.training.launch).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from .. import interrupts
from ..files import write_text


def main(file: Path) -> int:
    interrupts.listen()
    job = json.loads(file.read_text(encoding="utf-8"))
    rank, scratch = int(os.environ["RANK"]), file.parent
    _end_with([os.getppid()] + ([job["pid"]] if job["host"] == os.uname().nodename else []))
    try:
        from torch.cuda import is_available

        if not is_available():
            _without_gpus()
        from .sft import train

        interrupts.begin()
        with (scratch / "progress.jsonl").open("a", encoding="utf-8") as progress:
            facts = train(job, lambda row: print(json.dumps(row), file=progress, flush=True))
    except interrupts.Stopped as stop:
        return stop.status
    except BaseException as error:
        report = {"rank": rank, "host": os.uname().nodename, "time": time.time(), "error": f"{type(error).__name__}: {error}"}
        write_text(scratch / f"error-{rank}.json", json.dumps(report))
        traceback.print_exc()
        return 1
    if facts is not None:
        write_text(scratch / "facts.json", json.dumps(facts))
    return 0


def _without_gpus() -> None:
    """Let the ranks talk through gloo, which needs no compiler."""
    from accelerate import PartialState
    from deepspeed import ops

    # DeepSpeed would compile a shared-memory reduction at its first use: a minute, and killed in it, it leaves a lock for which
    # every later training waits for ever
    ops.__compatible_ops__["deepspeed_shm_comm"] = False
    PartialState(backend="gloo")  # before the arguments: accelerate and DeepSpeed then agree about the world size


def _end_with(processes: list[int]) -> None:
    """End this rank when one of `processes` is gone: the agent that started it, or the command that started the agent."""

    def watch() -> None:
        while True:
            time.sleep(1)
            for process in processes:
                try:
                    os.kill(process, 0)
                except ProcessLookupError:
                    os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
