"""What the log says once, before anything is generated: what was decided, what has no effect, what does not fit together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ..chat import Chat, ChatFormat, has_template
from ..hints import CONF
from ..models.generation import unused

if TYPE_CHECKING:
    from .cells import Opened


def notes(o: Opened, *, model: bool) -> Iterator[str]:
    """Sentences about a cell; `model`: its engine runs one, and not a script."""
    cfg, chat, task = o.cell.cfg, o.chat, o.task
    for name in chat.unread_arguments:
        yield f"chat.arguments.{name}: the chat template of {cfg.model.name} reads no such argument"
    yield from family(chat, cfg.model)
    if model:
        yield from sampling(cfg)
    if task.until:
        stops, rule = ", ".join(map(repr, task.until)), task.until_rule
        ends = "ends its answers" if chat.ends_turns else "has no end of an answer"
        why = f"task.until=auto, and chat={chat.format.name} {ends}" if rule == "auto" else f"task.until={rule}"
        yield f"{task.name}: {why}: its stops {stops} {'end answers' if o.until else 'are ignored'}"


def sampling(cfg: DictConfig) -> Iterator[str]:
    """What generation_config.json has and this run has not."""
    used = {key: cfg.sampling[key] for key in ("temperature", "top_p", "top_k")}
    if found := unused(cfg.model.path, cfg.model.revision, used):
        theirs, ours = (", ".join(f"{key}={value}" for key, value in values.items()) for values in (found, used))
        yield (
            f"generation_config.json of {cfg.model.name} has {theirs}, which nothing here follows: this run samples with "
            f"{ours} (the group sampling) and without penalties"
        )


def family(chat: Chat, model: Any) -> Iterator[str]:
    """Where the model's family marks its thinking in another way than the chat format: its chat template shows it, or its name
    is one that conf/model has."""
    own = marks(chat.format)
    text = str(getattr(chat.tokenizer, "chat_template", "")).replace("\\n", "\n") + chat.prompt("?").rendered
    if not has_template(chat.tokenizer) or any(mark in text for mark in own):
        return
    known = families().get(model.path)
    shown = [known] if known else fitting(chat, text)
    shown = [format for format in shown if marks(format) and marks(format) != own]
    if shown:
        names = " or ".join(f"chat={format.name}" for format in shown)
        ours = " and ".join(map(repr, own)) or "nothing"
        yield (
            f"chat={chat.format.name}: it has {ours} around the thinking, and {model.name} "
            f"{' and '.join(map(repr, marks(shown[0])))}; {names} fits"
        )


def marks(format: ChatFormat) -> tuple[str, ...]:
    """What stands around the thinking, without white space."""
    return tuple(filter(None, (format.thinking_start.strip(), format.thinking_end.strip())))


def fitting(chat: Chat, text: str) -> list[ChatFormat]:
    """The formats whose marks a chat template (or what it renders) shows, best first: those whose ends the tokenizer has, whose
    arguments the template reads, and whose end of thinking stands in it with its line breaks. Several where they are alike."""

    def rank(format: ChatFormat) -> tuple[float, int, int]:
        ends = [len(chat.encode(end)) == 1 for end in format.answer_stop]
        read = all(name in text for name in format.arguments)
        return (
            sum(ends) / len(ends),
            len(format.arguments) if read else -1,
            len(format.thinking_end) * (format.thinking_end in text),
        )

    found = [format for format in formats().values() if any(mark in text for mark in marks(format))]
    best = max(map(rank, found), default=None)
    return [format for format in found if rank(format) == best]


@cache
def formats() -> dict[str, ChatFormat]:
    """The chat formats of conf/chat, by the names of their files."""

    def settings(path: Path) -> dict[str, Any]:
        own: Any = OmegaConf.to_container(OmegaConf.load(path))
        base = [name for name in own.pop("defaults", ()) if name != "_self_"]
        return (settings(path.with_name(f"{base[0]}.yaml")) if base else {}) | own

    return {path.stem: ChatFormat(**settings(path)) for path in sorted((CONF / "chat").glob("*.yaml"))}


@cache
def families() -> dict[str, ChatFormat]:
    """The chat formats that the files of conf/model choose, by the model's path."""
    found = {}
    for path in (CONF / "model").glob("*.yaml"):
        own: Any = OmegaConf.to_container(OmegaConf.load(path))
        chosen = [default["override /chat"] for default in own.get("defaults", ()) if "override /chat" in default]
        if chosen:
            found[own["model"]["path"]] = formats()[chosen[0]]
    return found
