"""What `stage=doctor` looks at before an expensive sweep: each function yields what it found, one line for each thing.

Nothing is generated, loaded into a device or fetched, but a task's questions, which come from where the run takes them from.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ..cell import stage_names
from ..engines.build import build, check_installed, context_length, facts_of, needs_model
from ..errors import SettingError
from ..files import check_writable, is_local
from ..methods.facts import check as check_method
from ..models import files, weights
from ..models.known import KNOWN
from ..models.tokenizer import load_tokenizer
from ..report.labels import size_text
from ..scorer import Scorer
from ..tracking.runs import mode_of
from ..tracking.runs import wandb as wandb_module
from . import scorers
from .cells import chat_of
from .naming import method_of
from .notes import family
from .plan import rooms_of

OK, NOTE, PROBLEM = "ok", "note", "problem"
LEAST = 1e9  # bytes free on the store's disk: a hundred million tokens, and the results
PATIENCE_S = 15.0  # with a server
LOOKED_S = 2.0  # at the files of a store; one of more is said to have at least what was counted


class Found(NamedTuple):
    """What was looked at, one of OK, NOTE and PROBLEM, and a sentence: what there is, or what to do."""

    check: str
    state: str
    said: str


def model(cfg: Mapping[str, Any], setting: str = "model.path") -> Found:
    """Whether a model's files are on this machine, and whole."""
    path, revision, kind = cfg["path"], cfg.get("revision"), setting.partition(".")[0]
    try:
        where = files.locate(path, revision, fetch=False)
        parts = weights.needed(where.folder)
        for part in parts:
            weights.check_file(part)
        if not parts:
            raise ValueError(f"{setting}={path}: its weights are not there")
        sizes = facts_of({}, cfg)
    except (ValueError, FileNotFoundError) as error:
        said = str(error).replace("model.path", setting)
        if not is_local(path):
            known = f" ({size_text(2 * KNOWN[path]['parameters'])} in 16 bits)" if path in KNOWN else ""
            said = f"{said.partition(';')[0]}; fetch it first{known}: hf download {path}"
            said += f" --revision {revision}" if revision else ""
        return Found(kind, PROBLEM, said)
    size = sum(part.stat().st_size for part in parts)
    many = f"{len(parts)} files" if len(parts) > 1 else "one file"
    return Found(
        kind, OK, f"{cfg.get('name', path)}: {sizes['parameters']:,} parameters, {many} of {size_text(size)}, all there"
    )  # fmt: skip


def talk(cfg: DictConfig) -> Iterator[Found]:
    """The chat format on the model's tokenizer: how thinking opens and ends, and where a turn ends."""
    engine = _plain(cfg.engine)
    try:
        tokenizer = load_tokenizer(cfg.model)
        chat = chat_of(cfg, tokenizer, context_length(engine, _plain(cfg.model)))
        prompt = chat.prompt("?")
        stops = {chat.decode((i,)) for i in chat.thinking_stops.ids}
    except (ValueError, FileNotFoundError) as error:
        yield Found("chat", PROBLEM, str(error))
        return
    format = chat.format
    opens = "the chat template opens the thinking" if format.opened(prompt.rendered) else f"opens {format.thinking_start!r}"
    if prompt.closed:
        opens = "the chat template ends the thinking in the prompt"
    how = f"{opens}, {format.thinking_end!r} closes" if format.thinking_end else "no marks around the thinking"
    yield Found("chat", OK, f"chat={format.name} on {cfg.model.name}: {how}; thinking stops at {_quoted(stops)}")
    for sentence in family(chat, cfg.model):
        yield Found("chat", NOTE, sentence)
    for name in chat.unread_arguments:
        yield Found("chat", NOTE, f"chat.arguments.{name}: the chat template of {cfg.model.name} reads no such argument")
    declared = files.end_ids(cfg.model.path, cfg.model.revision)
    own = {ids[0] for text in format.answer_stop if len(ids := chat.encode(text)) == 1}
    theirs, ours = ({chat.decode((i,)) for i in ids} for ids in (declared, own))
    if not declared or own & declared:
        yield Found("stops", OK, f"a turn ends at {_quoted({chat.decode((i,)) for i in chat.answer_stops.ids})}")
    else:
        said = f"the files of {cfg.model.name} end a turn at {_quoted(theirs)}, chat={format.name} at {_quoted(ours)}"
        yield Found("stops", NOTE, f"{said}: both count; is it the model's chat format?")


def methods(cfgs: Sequence[DictConfig]) -> Iterator[Found]:
    """Whether each method can be asked of its model: settings, context, and that there is thinking to read."""
    found: dict[str, None] = {}
    chats: dict[str, Any] = {}
    for cfg in cfgs:
        try:
            context = context_length(_plain(cfg.engine), _plain(cfg.model))
            if (key := f"{cfg.model} {cfg.chat} {context}") not in chats:
                chats[key] = chat_of(cfg, load_tokenizer(cfg.model), context)
            chat = chats[key]
            own = {"context_length": context, "temperature": cfg.sampling.temperature, "reserve": cfg.answer.reserve}
            check_method(method_of(cfg), chat=chat, **own)
        except (ValueError, FileNotFoundError) as error:
            found[str(error)] = None
    yield from (Found("method", PROBLEM, sentence) for sentence in found)


def task(cfg: DictConfig) -> Found:
    """Whether the questions can be had, and graded."""
    from ..tasks import load_task

    try:
        loaded = load_task(_plain(cfg.task))
    except (ValueError, FileNotFoundError) as error:
        return Found("task", PROBLEM, str(error))
    loaded.close()
    said = f"{loaded.name}: {len(loaded.questions):,} questions, {loaded.metric} of the filter {loaded.filter}"
    return Found("task", OK, said + (", and a judge" if loaded.judge else ""))


def memory(cfg: DictConfig) -> Iterator[Found]:
    """Whether model and scorer fit on this machine, and how many streams at once."""
    rooms = rooms_of(cfg, here=True)
    for name, room in ((cfg.model.name, rooms.policy), (rooms.scorer, rooms.reader)):
        if room:
            state = NOTE if room.fits is None else OK if room.fits else PROBLEM
            yield Found("memory", state, f"{name}: {room.said}")


def extras(cfg: DictConfig) -> Found:
    """Whether what the engine runs on is installed."""
    name = f"engine={cfg.engine.get('name')}"
    try:
        check_installed(_plain(cfg.engine))
    except ValueError as error:
        return Found("extras", PROBLEM, str(error))
    return Found("extras", OK, f"{name}: installed")


def engine(cfg: DictConfig) -> Found:
    """Whether the engine can be made, and a server answers."""
    settings = scorers.beside(_plain(cfg.engine), _plain(cfg.scorer) if cfg.scorer else None)
    return _engine("engine", f"engine={settings.get('name')}", settings, _plain(cfg.model))


def _engine(check: str, name: str, settings: Mapping[str, Any], model: Mapping[str, Any]) -> Found:
    def asked() -> str:
        made: Any = build(settings, model)
        try:
            if "urls" not in settings:
                return f"{name}: {made.context_length:,} tokens of context, {made.capacity:,} streams at once"
            able = ", ".join(sorted(made.scores)) or "nothing"
            return f"{name}: {settings['urls']} answers, vLLM {made.version_there()}, scores {able}"
        finally:
            made.close()

    return _bounded(check, asked, f"{name}: {settings.get('urls')} does not answer within {PATIENCE_S:.0f} s; start it")


def scorer(cfg: DictConfig) -> Iterator[Found]:
    """The reward model: its files, and whether its labels are tokens."""
    settings = _plain(cfg.scorer)
    own = scorers.engine_of(_plain(cfg.engine), settings, cfg.model.path)
    if not needs_model(own):
        return
    found = model(scorers.model_of(settings) | {"name": settings["name"]}, "scorer.model.path")
    yield found
    if found.state == OK:
        try:
            strings = scorers.format_of(settings)
            assert strings is not None
            Scorer(strings, load_tokenizer(scorers.model_of(settings), "scorer.model.path")).of  # noqa: B018  raises
        except ValueError as error:
            yield Found("scorer", PROBLEM, str(error))
        if "urls" in own:
            yield _engine("scorer", f"scorer={settings['name']}", own, scorers.model_of(settings))


def store(cfg: DictConfig) -> Iterator[Found]:
    """Whether tokens can be kept, how many bytes are there, and how many are free."""
    if cfg.store.dir is None:
        yield Found("store", NOTE, "store.dir=null: tokens are kept in memory, and gone with the process")
        return
    place = Path(cfg.store.dir).expanduser()
    try:
        check_writable("store.dir", place)
    except SettingError as error:
        yield Found("store", PROBLEM, f"{error} (what is there is still read)" if place.is_dir() else str(error))
        return
    there = place if place.is_dir() else next(above for above in place.absolute().parents if above.is_dir())
    free, (size, whole) = shutil.disk_usage(there).free, _size(place)
    said = f"{place}: {'' if whole else 'more than '}{size_text(size)}, {size_text(free)} free on its disk"
    yield Found("store", PROBLEM, f"{said}; free some, or set store.dir") if free < LEAST else Found("store", OK, said)


def _size(place: Path) -> tuple[int, bool]:
    """Bytes of all files below a directory, and whether all were counted in time."""
    began, size = time.monotonic(), 0
    for directory, _, names in os.walk(place):
        for name in names:
            try:
                size += os.lstat(os.path.join(directory, name)).st_size
            except OSError:  # gone, or not ours to see
                continue
        if time.monotonic() - began > LOOKED_S:
            return size, False
    return size, True


def training(cfg: DictConfig) -> Iterator[Found]:
    """Whether what trains is installed, and its devices have room."""
    from ..training import extras
    from ..training.plan import verdict

    try:
        extras.check(_plain(cfg))
        state, said = verdict(cfg)
    except (SettingError, ValueError) as error:
        state, said = PROBLEM, str(error)
    yield Found("training", state, said)


def wandb(cfg: DictConfig) -> Found:
    """Whether W&B can be written to; a server is asked only where runs go online."""
    if cfg.tracking.mode == "disabled":
        return Found("W&B", OK, "off")
    try:
        mode = mode_of(cfg.tracking.mode)
    except Exception as error:  # of an environment variable or a settings file of its own
        return Found("W&B", PROBLEM, f"{' '.join(str(error).split())[:300]}; nothing will be tracked")
    if mode != "online":
        why = "not logged in (wandb login), so " if cfg.tracking.mode == "auto" else ""
        return Found("W&B", OK, f"{why}files only, which wandb sync sends")

    def asked() -> str:
        try:
            name = wandb_module().Api(timeout=int(PATIENCE_S)).viewer.username
        except wandb_module().errors.Error as error:
            raise OSError(f"{' '.join(str(error).split())}; wandb login, or tracking=wandb_offline") from error
        return f"online as {name}, project {cfg.tracking.project}"

    late = f"no answer within {PATIENCE_S:.0f} s; tracking=wandb_offline writes files"
    return _bounded("W&B", asked, late)


def _bounded(check: str, asked: Callable[[], str], late: str) -> Found:
    """What `asked` says, or why it cannot; `late` where it takes longer than PATIENCE_S."""
    found: list[Found] = []

    def look() -> None:
        try:
            found.append(Found(check, OK, asked()))
        except Exception as error:  # of an engine, a server or a library: whatever it is, it would stop the command as well
            found.append(Found(check, PROBLEM, " ".join(str(error).split()) or type(error).__name__))

    thread = threading.Thread(target=look, daemon=True)  # which the process does not wait for at its end
    thread.start()
    thread.join(PATIENCE_S)
    return found[0] if found else Found(check, PROBLEM, late)


def wants_scorer(cfg: DictConfig) -> bool:
    from ..methods.facts import facts

    return facts(method_of(cfg)).needs_scorer and bool(scorers.format_of(_plain(cfg.scorer) if cfg.scorer else None))


def trains(cfg: DictConfig) -> bool:
    return "train" in stage_names(cfg)


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node


def _quoted(texts: set[str]) -> str:
    return " and ".join(map(repr, sorted(texts))) or "nothing"
