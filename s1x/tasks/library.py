"""From a task name to an lm-eval Task: our YAML files, any YAML file by path, or lm-eval's own tasks by name.

lm-eval's TaskManager parses its 14,000 YAML files to find one (19 s); searching them for the line `task: <name>` finds the
same file in about one second.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from . import graders, sources

YAML = Path(__file__).parent / "yaml"
_LINE = rb"""^["']?(task|group|tag)["']?:[ \t]*["']?([^\s"'#\[\]]+)["']?[ \t]*(?:#.*)?\r?$"""


def ours() -> list[str]:
    """Names of the tasks that s1x brings."""
    return sorted(path.stem for path in YAML.glob("*.yaml"))


def own_name(name: str) -> str:
    """What a task is called: a task file by its line `task: <name>`, any other by the name it was found by."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not os.path.isfile(path):
        return name
    lines = dict(re.findall(_LINE, path.read_bytes(), re.MULTILINE))
    return lines.get(b"task", path.stem.encode()).decode()


def build(name: str, *, own: bool = True, file: str | None = None, split: str | None = None, num_fewshot: int | None = None):
    """The lm-eval Task `name`, with its questions from `file` or the data set's `split`, and so many solved examples before
    each, where given. `own`: where s1x and lm-eval have a task of that name, s1x's.

    Raises ValueError (one sentence) when there is no such task, it is not one of text in and text out, or its data cannot be
    had.
    """
    path = find(name, own=own)
    from lm_eval.tasks import TaskManager

    config = _read(path, name)
    kind = config.get("output_type", "generate_until")
    if kind != "generate_until":
        raise ValueError(f"task.lm_eval={name} is a {kind} task; s1x generates answers, so only generate_until tasks work")
    _check_text(name, config)
    config |= _data(name, config, file, split)
    if num_fewshot is not None:
        config["num_fewshot"] = num_fewshot
    local = file is not None or callable(config.get("custom_dataset"))
    with _quiet(), nullcontext() if local else sources.hub():
        try:
            task = _load(TaskManager(include_defaults=False), config)
        except Exception as error:  # a task may run any code; people need to know which one failed, and what to do
            typed = f"task={name}" if path.parent == YAML else f"task.lm_eval={name}"
            raise ValueError(_failure(typed, config, file, local, error)) from error
    if task.OUTPUT_TYPE != "generate_until":  # tasks written in Python say so only now
        raise ValueError(f"task.lm_eval={name} is a {task.OUTPUT_TYPE} task; s1x can run generate_until tasks only")
    _check_text(name, vars(task.config))
    return task


def _read(path: Path, name: str) -> dict[str, Any]:
    """A task file with its functions. Those of s1x are imported; lm-eval would take s1x/ beside a task file for loose files.

    Raises ValueError with one sentence.
    """
    from lm_eval.tasks import _yaml_loader

    theirs = _yaml_loader._import_func_in_yml

    def named(qualified: str, folder: Path) -> Any:
        module, _, function = qualified.rpartition(".")
        if module.split(".")[0] != __package__.split(".")[0]:
            return theirs(qualified, folder)
        return getattr(importlib.import_module(module), function)

    _yaml_loader._import_func_in_yml = named
    try:
        return _yaml_loader.load_yaml(path)
    except Exception as error:  # a task file may import anything
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ValueError(f"task.lm_eval={name}: the task file cannot be read ({reason})") from error
    finally:
        _yaml_loader._import_func_in_yml = theirs


def _check_text(name: str, config: Mapping[str, Any]) -> None:
    for key, what in (("doc_to_image", "images"), ("doc_to_audio", "sound"), ("doc_to_video", "video")):
        if config.get(key):
            raise ValueError(f"task.lm_eval={name} asks about {what} ({key}); s1x asks and answers in text only")
    if prefix := config.get("gen_prefix"):
        raise ValueError(
            f"task.lm_eval={name} begins the answer itself (gen_prefix: {prefix!r}), which would stand before the thinking; "
            "take a copy of its file without gen_prefix, and say in doc_to_text how the answer is to begin"
        )


def _load(manager, config: dict[str, Any]):
    (task,) = manager.load(config)["tasks"].values()
    task.set_fewshot_seed(1234)  # lm-eval's default
    return task


def find(name: str, *, own: bool = True) -> Path:
    """The YAML file of a task name or path; of two tasks of one name s1x's (`own`) or lm-eval's."""
    if name in ours() and own:
        return YAML / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise ValueError(f"task.lm_eval={name}: there is no such file")
        return Path(name)
    import lm_eval

    names: set[str] = set()
    grouped: list[str] = []
    for path in sorted((Path(lm_eval.__file__).parent / "tasks").rglob("*.yaml")):
        lines = re.findall(_LINE, path.read_bytes(), re.MULTILINE)
        found = {kind.decode(): value.decode() for kind, value in lines}
        if found.get("task") == name:
            return path
        names.update(found.values())
        if found.get("tag") == name and "task" in found:
            grouped.append(found["task"])
    if name in ours():
        return YAML / f"{name}.yaml"
    if name in names:
        some = f", for example {', '.join(grouped[:4])}" if grouped else ""
        raise ValueError(f"task.lm_eval={name} is a group of lm-eval tasks; name one of its tasks{some}")
    close = difflib.get_close_matches(name, [*ours(), *names], n=3)
    raise ValueError(
        f"task.lm_eval={name}: no such task{' (did you mean ' + ', '.join(close) + '?)' if close else ''}; s1x brings "
        f"{', '.join(ours())}, any generate_until task of lm-eval works by its name (task=lm_eval task.lm_eval=gsm8k), "
        "and your own by the path of its YAML file"
    )


def _data(name: str, config: dict[str, Any], file: str | None, split: str | None) -> dict[str, Any]:
    """The config keys that take the questions from `file` or `split`."""
    if "class" in config and (file or split):
        raise ValueError(f"task.file={file}, task.split={split}: {name} loads its own data; leave both null")
    if file:
        kinds = ("training_split", "validation_split", "test_split", "fewshot_split")
        splits = [config[kind] for kind in kinds if config.get(kind)]
        columns = (config.get("metadata") or {}).get("columns", [])
        rows = sources.file(Path(file).expanduser(), columns, splits)
        for pipeline in config.get("filter_list") or ():
            for step in pipeline["filter"]:
                if step.get("filter_fn") is graders.extract_integer:
                    step["filter_fn"] = graders.extract_value
        return {"custom_dataset": partial(_given, rows), "dataset_kwargs": None}
    if split is None:
        return {}
    kwargs = config.get("dataset_kwargs") or {}
    return {"test_split": split, "dataset_kwargs": {**kwargs, "split": split} if "split" in kwargs else kwargs}


def _given(rows: dict, **_: Any) -> dict:
    return rows


def _failure(typed: str, config: dict[str, Any], file: str | None, local: bool, error: Exception) -> str:
    name = typed.partition("=")[2]
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if file is not None:
        return f"task.file={file}: the prompts of {name} cannot be made from its rows ({type(error).__name__}: {reason})"
    if reason.startswith("task."):  # a sentence of ours
        return reason
    if local or not isinstance(error, ConnectionError | FileNotFoundError | ValueError):
        return f"{typed}: lm-eval cannot load this task ({reason})"
    data = " ".join(str(config[key]) for key in ("dataset_path", "dataset_name") if config.get(key))
    columns = (config.get("metadata") or {}).get("columns")
    return (
        f"{typed} needs the data set {data} from the Hugging Face hub and could not get it ({reason}): connect and "
        "run again (log in first if the data set asks for it), or point task.file=... at a local .json, .jsonl or .parquet file"
        + (f" with the columns {', '.join(columns)}" if columns else "")
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without lm-eval's and datasets' chatter about defaults; their errors still arrive as exceptions."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
