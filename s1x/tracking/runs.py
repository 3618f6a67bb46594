"""W&B runs: opened (online, or as files), closed, and where they are found afterwards.

`<directory>/wandb.json` says where the runs of a directory are in W&B: `{entity, project, group, run, url, mode}` (`cell` in
place of `run` where one ran alone), and what stage=dashboard has made of them. wandb is imported at the first run.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..files import beside as beside_file
from ..files import write_text
from . import names
from .thread import beside, failed, has_failed, settle, used, warn

log = logging.getLogger(__name__)

PLACE = "wandb.json"
ROLES = ("part", "training", "cell", "run")  # of a run: one of many cells, a training, a cell alone, a whole sweep
KEPT = ROLES[2:]


class _Told:
    """What is said at the end. `url`: of the run that matters most; `unsent`: directories (absolute) of runs that are
    not, or not yet, whole at W&B."""

    url: str | None = None
    rank = 0
    unsent: list[Path] = []


@cache
def wandb() -> Any:
    """The wandb module, without its error reports: they are sent (to a host of their own) even when a run is offline."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    wandb.setup(wandb.Settings(silent=True))  # what is worth a line, s1x says
    return wandb


def group_of(cfg: DictConfig, sweep: Path) -> str:
    """What groups the runs of a sweep; those of the agents of a W&B sweep are one group, whatever their directories."""
    return names.clean(f"{cfg.name}-{wandb().setup().settings.sweep_id or sweep.name}")


def plain(cfg: DictConfig) -> dict[str, Any]:
    """All settings of a job, without Hydra's own (which at a sweep's end have no values)."""
    task = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    return OmegaConf.to_container(task, resolve=True)  # type: ignore[return-value]


def start(
    cfg: DictConfig, sweep: Path, *, name: str, config: dict[str, Any], key: str = "", alone: bool = False, **identity: Any
) -> Any:
    """A run of its own beside others; its files are under `sweep`/wandb. Where no server answers, it is files alone.

    key: what it is of, in the directory, where a name is not enough: a command that is given again goes on with its runs.
    alone: the command's one run, which under the agent of a W&B sweep is that agent's.
    """
    if "id" not in identity and not (alone and wandb().setup().settings.sweep_id):
        identity["id"] = _own_id(sweep, f"{identity['job_type']} {key} {name}")
    identity |= {"name": names.clean(name), "group": identity.get("group") or group_of(cfg, sweep)}
    config = config | {names.SWEEP: identity["group"]}
    mode = mode_of(cfg.tracking.mode)
    if mode == "online" and has_failed():
        mode = "offline"
    with nullcontext() if alone else _no_agents():
        try:
            run = _init(cfg, sweep, mode=mode, config=config, **identity)
        except Exception as error:
            if mode != "online":
                raise
            if "id" in identity:  # which wandb keeps for the attempt
                identity["id"] = names.run_id(f"{identity['id']}-offline")
            run = _init(cfg, sweep, mode="offline", config=config, **identity)
            failed(error)  # the server, since files will do
    _Told.unsent.append(_files(run))
    return run


def _files(run: Any) -> Path:
    return Path(run.dir).parent.absolute()


def _own_id(sweep: Path, of: str) -> str:
    """The same for a directory whenever it is asked, and another for a directory of the same name that is made anew, whose run
    W&B may have been told to delete."""
    own = sweep / "wandb" / "s1x-id"
    own.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), beside_file(own) as new:  # of processes that ask at once, one is the first
        new.write_text(secrets.token_hex(8), encoding="utf-8")
        os.link(new, own)
    return blake2b(f"{own.read_text(encoding='utf-8')} {of}".encode(), digest_size=6).hexdigest()


@contextmanager
def _no_agents() -> Iterator[None]:
    """Runs that begin here get an id of their own: that of an agent's run wins over whatever `init` is told."""
    settings = wandb().setup().settings
    own = settings.sweep_id, settings.run_id
    settings.sweep_id = settings.run_id = None
    try:
        yield
    finally:
        settings.sweep_id, settings.run_id = own


def sweep(cfg: DictConfig, directory: Path, group: str | None = None) -> Any:
    """The run of a whole sweep; `group`: of its cells, where that is another than its directory's."""
    identity = {"job_type": "aggregate", "name": directory.name, "group": group, "alone": True}
    return start(cfg, directory, config={"name": cfg.name}, **identity)


def _init(cfg: DictConfig, sweep: Path, **identity: Any) -> Any:
    quiet = wandb().Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        x_disable_stats=identity["job_type"] == "eval",
        init_timeout=cfg.tracking.patience / 2,
        finish_timeout=cfg.tracking.patience / 2,  # after one failure there is time for the others' files
        finish_timeout_raises=True,
    )
    return wandb().init(
        project=cfg.tracking.project,
        entity=cfg.tracking.entity,
        tags=names.tags(cfg.tracking.tags) or None,
        dir=str(sweep),
        reinit="create_new",
        settings=quiet,
        resume="allow" if identity["mode"] == "online" and "id" in identity else None,
        **identity,
    )


def finish(run: Any, directory: Path, role: str) -> None:
    """Close a run, and keep in mind where it is: the address that is said is that of the highest role (ROLES).

    directory: whose wandb.json names it, where it is that of the sweep or of a cell that ran alone.
    """
    online, files = not run.offline, _files(run)
    try:
        run.finish()
    except TimeoutError as error:
        failed(error)
    else:
        if online:
            _Told.unsent.remove(files)
        elif role != "training":  # the same run as an earlier command left it: this one has all of it
            for earlier in files.parent.glob(f"offline-run-*-{run.id}"):
                if earlier != files and not any(earlier.glob("*.wandb.synced")):
                    shutil.rmtree(earlier, ignore_errors=True)
    url, rank = run.url if online else None, ROLES.index(role)
    if rank >= _Told.rank:
        _Told.rank, _Told.url = rank, url
    if role in KEPT:
        place = {"entity": run.entity or None, "project": run.project, "group": run.group, role: run.id}
        remember(directory, **place, url=url, mode="online" if online else "offline")


def remember(directory: Path, **facts: Any) -> None:
    write_text(directory / PLACE, json.dumps(recall(directory) | facts, indent=1) + "\n")


def recall(directory: Path) -> dict[str, Any]:
    """What wandb.json says; {} where there is none."""
    try:
        found = json.loads((directory / PLACE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@cache
def mode_of(mode: str) -> str:
    """What `auto` means here: online when there is a login (an environment's or `wandb login`'s), else offline."""
    if mode != "auto":
        return mode
    own = wandb().setup().settings.mode  # what the user has set for all of W&B
    if own != "online":
        return own
    try:
        return "online" if logged_in() else "offline"
    except Exception as error:
        warn(error, "runs are kept in files; tracking=none turns W&B off")
        return "offline"


def logged_in() -> bool:
    """Raises what wandb does of a login that cannot be one, such as a key that is too short."""
    return bool(wandb().login(prompt=False, verify=False))


def end(cfg: DictConfig, directory: Path) -> None:
    """Wait until all is written, `tracking.patience` seconds at most, and say where it is: the run's address, or the command
    that sends what is in files."""
    if not used():
        return
    whole = settle(cfg.tracking.patience)
    if not whole:
        log.warning(
            f"W&B: did not take everything within {cfg.tracking.patience:g} s (tracking.patience), and is waited for no "
            "longer; tracking=none turns W&B off"
        )
    if _Told.url:
        log.info(f"W&B: {_Told.url}")
    if waiting := unsent(directory):
        log.info(f"W&B, in files; this sends them: wandb sync {waiting}")


def unsent(directory: Path) -> str:
    """What `wandb sync` takes to send the runs of a directory, and of this process, that are still files; empty where there are
    none. Those of a directory that W&B cannot write to are elsewhere."""
    place = directory / "wandb"
    offline = {path.resolve() for path in place.glob("offline-run-*") if not any(path.glob("*.wandb.synced"))}
    rest = [path for path in _Told.unsent if path.resolve() not in offline and path.is_dir()]
    whole = [f"{shlex.quote(str(place))}/offline-run-*"] if offline else []
    return " ".join([*whole, *map(shlex.quote, map(str, rest))])


class Training:
    """The run of one training (job_type train); evaluations of its model have its id in their config (`training`)."""

    def __init__(self, cfg: DictConfig, directory: Path, name: str, content: dict[str, Any]):
        self.run: Any = None
        self.on = cfg.tracking.mode != "disabled"
        self.directory, self.folder = directory, None
        if self.on:
            self._open(cfg, name, content)

    @beside
    def _open(self, cfg: DictConfig, name: str, content: dict[str, Any]) -> None:
        identity = {"name": name, "id": names.run_id(name), "job_type": "train"}
        self.run = start(cfg, self.directory, config=plain(cfg) | {"content": content}, **identity)

    def log(self, row: dict[str, Any]) -> None:
        """Numbers of one step; those of a step that was logged before a crash are left out by W&B."""
        if self.on:
            self._log(row)

    @beside
    def _log(self, row: dict[str, Any]) -> None:
        if self.run is not None:
            numbers = {f"train/{key}": value for key, value in row.items() if key not in ("step", "steps")}
            self.run.log(numbers, step=row["step"])

    def finish(self, folder: Path | None = None) -> None:
        """End it; `folder`: of the model that it made, where it came to its end."""
        if self.on:
            self._finish(folder)

    @beside
    def _finish(self, folder: Path | None) -> None:
        from .content import model_artifact

        if self.run is None:
            return
        try:
            if folder and (made := model_artifact(folder)):
                self.run.log_artifact(made)
        except Exception as error:
            warn(error)
        finish(self.run, self.directory, "training")
