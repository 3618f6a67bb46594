"""One rank of a supervised fine-tuning, on TRL's SFTTrainer; a training without ranks runs it in the calling process.

A job is what s1x.training.job makes: plain values, checked before. This module is where torch, transformers and trl load.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import resource
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from .. import interrupts
from ..files import write_text
from ..models.loading import quiet
from ..models.tokenizer import load_tokenizer
from .examples import UNLEARNED, Encoded, order
from .settings import Settings
from .trained import COMPLETE, about, last_checkpoint

LOGGED = ("loss", "grad_norm", "learning_rate", "mean_token_accuracy")
Observe = Callable[[dict[str, Any]], None]


def train(job: Mapping[str, Any], observe: Observe) -> dict[str, Any] | None:
    """Train `job` and save the model to its folder; a training that was cut short goes on from its last checkpoint.

    `observe` is called on the first rank with the numbers of every step. Returns what happened on the first rank, and None on
    the others.
    """
    import torch

    quiet()  # the training's own bar is in watch.py
    settings = Settings(**job["settings"])
    folder, checkpoints = Path(job["folder"]), Path(job["folder"]) / "checkpoints"
    tokenizer = load_tokenizer({"path": job["model"], **{key: job[key] for key in ("revision", "tokenizer")}})
    encoded = Encoded.load(Path(job["examples"]))
    arguments = _arguments(settings, checkpoints, len(encoded), job["devices"], job["deepspeed"], torch.cuda.is_available())
    checkpoint = last_checkpoint(checkpoints)
    before = about(checkpoint)["seconds"] if checkpoint else 0.0
    trainer = _trainer(job, settings, arguments, tokenizer, encoded, observe, before)
    began = time.monotonic()
    with interrupts.patiently():
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    seconds = before + time.monotonic() - began
    _save(trainer, job, settings, tokenizer, folder)
    facts = None
    if trainer.is_world_process_zero():
        rows = [{key: row[key] for key in ("step", *LOGGED)} for row in trainer.state.log_history if "loss" in row]
        write_text(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        facts = {
            "steps": trainer.state.global_step,
            "devices": job["devices"],
            "seconds": round(seconds, 1),
            "resumed_at": int(checkpoint.name.rpartition("-")[2]) if checkpoint else None,
            "mean_loss": sum(row["loss"] for row in rows) / len(rows),
            "last_loss": rows[-1]["loss"],
        }
    del trainer
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return facts


def _arguments(settings: Settings, checkpoints: Path, examples: int, devices: int, deepspeed, on_gpu: bool):
    """TRL's configuration. The whole training is one "epoch" to it: a single pass over examples.order."""
    from trl import SFTConfig

    liger = importlib.util.find_spec("liger_kernel") is not None if settings.liger == "auto" else settings.liger
    return SFTConfig(
        output_dir=str(checkpoints),
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        per_device_train_batch_size=settings.device_batch_size,
        gradient_accumulation_steps=settings.accumulation(devices),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_steps(examples),
        optim="adamw_torch_fused",
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        bf16=settings.precision == "bf16",
        use_cpu=not on_gpu,
        gradient_checkpointing=settings.gradient_checkpointing,
        use_liger_kernel=liger and on_gpu,
        max_length=None,  # cut and counted in examples.encode_all
        dataset_kwargs={"skip_prepare_dataset": True},
        accelerator_config={"use_configured_state": deepspeed is not None},
        deepspeed=deepspeed,
        logging_steps=1,
        save_steps=settings.save_every,
        save_total_limit=2,
        dataloader_pin_memory=on_gpu,
        disable_tqdm=True,
        report_to=[],
    )


def _trainer(
    job: Mapping[str, Any], settings: Settings, arguments, tokenizer, encoded: Encoded, observe: Observe, before: float
):
    from datasets import Dataset
    from transformers import PrinterCallback

    lengths = [len(ids) for ids in encoded.input_ids]
    steps = order(lengths, epochs=settings.epochs, batch=settings.global_batch_size, seed=settings.seed)
    rows = Dataset.from_dict({"input_ids": encoded.input_ids, "labels": encoded.labels}).select(steps)
    watch = _watch(observe, _tokens(lengths, steps, settings), job["identity"], before)
    trainer = _kind(settings)(
        model=_model(job, settings, arguments),
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=batch,
        peft_config=_lora(settings),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _kind(settings: Settings) -> Callable[..., Any]:
    """The trainer whose loss weighs what `settings` say."""
    if settings.loss_weighting == "token":
        from trl import SFTTrainer

        return SFTTrainer
    from .weighting import SequenceTrainer

    return partial(SequenceTrainer, sequences=settings.global_batch_size)


def batch(examples: list[dict[str, list[int]]]) -> dict[str, Any]:
    """Examples side by side, filled up on the right: input_ids, labels, position_ids, each of shape [examples, longest].

    There is no attention mask: under causal attention a token sees only what stands left of it, never the filling, and
    PyTorch's attention is much faster without one (on CPUs several times).
    """
    import torch

    longest = max(len(e["input_ids"]) for e in examples)

    def rows(key: str, filling: int):
        return torch.tensor([e[key] + [filling] * (longest - len(e[key])) for e in examples])

    places = torch.arange(longest).expand(len(examples), longest)
    return {"input_ids": rows("input_ids", 0), "labels": rows("labels", UNLEARNED), "position_ids": places}


def _tokens(lengths: list[int], steps: list[int], settings: Settings) -> list[int]:
    """Tokens read up to the end of each step, filling left out."""
    size = settings.global_batch_size
    return list(accumulate(sum(lengths[i] for i in steps[at : at + size]) for at in range(0, len(steps), size)))


def _model(job: Mapping[str, Any], settings: Settings, arguments):
    """The model to train. bf16 without DeepSpeed keeps float32 weights under autocast, as s1 does."""
    import torch
    from transformers import AutoModelForCausalLM

    attention = settings.attention
    if attention == "auto":
        attention = "flash_attention_2" if importlib.util.find_spec("flash_attn") and not arguments.use_cpu else "sdpa"
    half = settings.precision == "bf16" and arguments.deepspeed is not None
    return AutoModelForCausalLM.from_pretrained(
        job["model"],
        revision=job["revision"],
        dtype=torch.bfloat16 if half else torch.float32,
        attn_implementation=attention,
    )


def _lora(settings: Settings):
    if settings.lora is None:
        return None
    from peft import LoraConfig

    lora = settings.lora
    return LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"]
    )


def _watch(observe: Observe, tokens: list[int], identity: str, before: float):
    """A callback that marks complete checkpoints with `identity` and passes each step's numbers on.

    tokens: read up to each step's end. before: seconds that earlier tries trained up to the checkpoint.
    """
    from accelerate import PartialState
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, **_):
            self.began = time.monotonic() - before

        def on_step_end(self, args, state, control, **_):
            if _anyone(interrupts.asked() is not None):  # of all ranks: they are told at different moments
                control.should_save = control.should_training_stop = True

        def on_save(self, args, state, control, **_):
            PartialState().wait_for_everyone()  # only now have all ranks written their part
            if state.is_world_process_zero:
                mark = {"of": identity, "seconds": time.monotonic() - self.began}
                write_text(Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE, json.dumps(mark))

        def on_log(self, args, state, control, logs=None, **_):
            if state.is_world_process_zero and "loss" in (logs or {}):
                step = state.global_step
                row = {key: logs[key] for key in LOGGED}
                row |= {"step": step, "steps": state.max_steps, "num_tokens": tokens[step - 1]}
                observe(row | {"memory_gb": _peak_memory() / 1e9, "time": time.time()})

    return Watch()


def _anyone(here: bool) -> bool:
    """Whether any rank says so."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import reduce

    state = PartialState()
    return here if state.num_processes == 1 else bool(reduce(torch.tensor(float(here), device=state.device)).item())


def _peak_memory() -> int:
    """Bytes: the most that was allocated on this rank's GPU, or that this process had in memory."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _save(trainer, job: Mapping[str, Any], settings: Settings, tokenizer, folder: Path) -> None:
    """Weights in safetensors with config and tokenizer; adapters are merged into the base model first."""
    if settings.lora is None:
        trainer.model.config.use_cache = True  # the trainer turned it off
        trainer.save_model(str(folder))  # every rank takes part: under ZeRO-3 each holds a share of every matrix
    else:
        adapters = Path(trainer.args.output_dir) / "adapters"
        trainer.save_model(str(adapters))
        if trainer.is_world_process_zero():
            _merge(job, adapters, folder)
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(folder)
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nobody needs
    trainer.accelerator.wait_for_everyone()


def _merge(job: Mapping[str, Any], adapters: Path, folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # else ZeRO-3 would spread this copy over ranks that do not take part
    base = AutoModelForCausalLM.from_pretrained(job["model"], revision=job["revision"], dtype="auto")
    PeftModel.from_pretrained(base, str(adapters)).merge_and_unload().save_pretrained(folder)
