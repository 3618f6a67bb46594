"""One step of a training on ranks of its own, and the gradients that its optimizer is given.

    python -m tests.training.gradients JOB_FILE RANKS

The ranks are forked from one process that has imported torch, TRL and DeepSpeed: sixteen of them fit a laptop. The first one
writes gradients.pt beside the job.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import torch
from deepspeed.utils import safe_get_full_grad
from transformers import TrainerCallback

from s1x.training import sft
from s1x.training.rank import _without_gpus


def main(file: Path, ranks: int) -> int:
    import trl.trainer.sft_trainer  # noqa: F401  before the fork

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    start = multiprocessing.get_context("fork").Process
    processes = [start(target=rank, args=(file, number, ranks, meet)) for number in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return max(abs(process.exitcode) for process in processes)


def rank(file: Path, number: int, ranks: int, meet: dict[str, str]) -> None:
    job = json.loads(file.read_text())
    if ranks > 1:
        own = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
        os.environ |= meet | own
        if job["deepspeed"]:
            os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu"}
            _without_gpus()
    torch.set_num_threads(1)
    make = sft._trainer

    def watched(*args):
        trainer = make(*args)
        trainer.add_callback(Gradients(trainer, file.with_name("gradients.pt")))
        return trainer

    sft._trainer = watched
    sft.train(job, lambda row: None)


class Gradients(TrainerCallback):
    """Saves every parameter's whole gradient just before the optimizer's step."""

    def __init__(self, trainer, file: Path):
        self.trainer, self.file = trainer, file

    def on_train_begin(self, args, state, control, **_):
        if (engine := self.trainer.deepspeed) is not None:  # it steps inside the backward pass
            step = engine.step
            engine.step = lambda *a, **k: (self.save(safe_get_full_grad), step(*a, **k))

    def on_pre_optimizer_step(self, args, state, control, **_):
        if self.trainer.deepspeed is None:
            self.save(lambda parameter: parameter.grad)

    def save(self, gradient) -> None:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
        found = {name: gradient(parameter).clone() for name, parameter in model.named_parameters()}  # all ranks take part
        if self.trainer.is_world_process_zero():
            torch.save(found, self.file)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
