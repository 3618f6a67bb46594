"""The store stage: what is kept in `store.dir`, whether it is whole, and making it smaller or carrying it elsewhere.

    python run.py stage=store                                                  streams, tokens and bytes of each model
    python run.py stage=store store.action=verify                              read every byte; status 1 where any is damaged
    python run.py stage=store store.action=compact                             one file instead of many, nothing twice
    python run.py stage=store store.action=prune store.only=[vllm-0.31] store.older=90     remove (days)
    python run.py stage=store store.action=export store.file=F report.of=DIR   the streams of a sweep, for another machine
    python run.py stage=store store.action=import store.file=F                 take them in there

With plan=true it says what it would do. What rewrites or removes files refuses while a run is at work on the store.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

from omegaconf import DictConfig

from ..errors import SettingError
from ..files import check_writable
from ..streams import upkeep
from ..streams.appending import StoreError
from ..streams.upkeep import Contents

ACTIONS = ("statistics", "verify", "compact", "prune", "export", "import")


def run(cfg: DictConfig) -> None:
    """Do `store.action`. Raises SettingError for settings that will not do, StoreError where the store is in use, damaged or
    another one's."""
    try:
        _act(cfg)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        place = error.filename or cfg.store.file or cfg.store.dir
        raise StoreError(f"store.action={cfg.store.action}: {place} cannot be used ({error.strerror})") from error


def _act(cfg: DictConfig) -> None:
    s = cfg.store
    if s.action not in ACTIONS:
        raise SettingError(f"store.action={s.action}: must be one of {', '.join(ACTIONS)}")
    if s.dir is None:
        raise SettingError("store.dir=null: there is no store on disk; set store.dir")
    root = Path(s.dir).expanduser()
    if s.action == "import":
        return _import(root, _file(cfg), cfg.plan)
    if not root.is_dir():
        raise SettingError(f"store.dir={s.dir}: there is no such directory")
    try:
        chosen = upkeep.matching(root, list(s.only), s.older)
    except ValueError as error:
        raise SettingError(str(error)) from None
    if s.action == "export":
        return _export(root, chosen, cfg)
    if s.action == "verify":
        names = {one.folder for one in chosen}
        chosen = [one for one in upkeep.contents(root, check=True) if one.folder in names]
    if s.action == "prune" and not s.only and s.older is None:
        raise SettingError("store.action=prune: say what may go, with store.only=[...], store.older=DAYS or both")
    changes = s.action in ("compact", "prune") and not cfg.plan
    with upkeep.alone(root) if changes else nullcontext():
        _show(chosen)
        for one in chosen if changes else ():
            if s.action == "prune":
                upkeep.prune(one.folder)
            else:
                before, after = upkeep.compact(one.folder)
                print(f"{one.folder.name}: {_mb(before)} MB became {_mb(after)} MB")
    if s.action == "prune":
        what = f"{_several(len(chosen), 'folder')} with {_mb(sum(one.bytes for one in chosen))} MB"
        print(f"{what} {'would be' if cfg.plan else 'is' if len(chosen) == 1 else 'are'} removed.")
    if s.action == "verify":
        _verdict(chosen)


def _show(chosen: list[Contents]) -> None:
    from rich.console import Console
    from rich.table import Table

    heads = ("streams", "tokens", "written twice", "scores", "MB", "files")
    table = Table("engine", "numbers", "model", "folder")
    for head in heads:
        table.add_column(head, justify="right")
    for one in chosen:
        engine, _, rest = one.fingerprint.partition("/")
        numbers, _, model = rest.rpartition("/")
        table.add_row(engine[:24] or "?", numbers, model[:8], one.folder.name, *_counts([one]))
    if len(chosen) > 1:
        table.add_row("all", "", "", "", *_counts(chosen))
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.print(table)


def _counts(of: list[Contents]) -> list[str]:
    streams, tokens, written, rows, size, files = (
        sum(getattr(one, key) for one in of) for key in ("streams", "tokens", "written", "rows", "bytes", "files")
    )
    return [f"{n:,}" for n in (streams, tokens, written - tokens, rows)] + [_mb(size), f"{files:,}"]


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}" if size >= 1e5 else f"{size / 1e6:.4f}"


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _verdict(chosen: list[Contents]) -> None:
    damage = [sentence for one in chosen for sentence in one.damage]
    for sentence in damage:
        print(sentence)
    torn, apart = (sum(getattr(one, key) for one in chosen) for key in ("torn", "apart"))
    tails = f"{_several(torn, 'torn tail')} (of runs that were killed, or are writing)"
    print(f"{tails}, {_several(apart, 'stream')} with two continuations.")
    if damage:
        places = f"{_several(len(damage), 'place')} {'is' if len(damage) == 1 else 'are'} damaged"
        raise StoreError(f"{places}; what is left out there is generated again when it is asked for")
    print("Nothing is damaged.")


def _file(cfg: DictConfig) -> Path:
    s = cfg.store
    if not s.file:
        raise SettingError(f"store.action={s.action}: needs store.file=FILE")
    file = Path(s.file).expanduser()
    if file.is_dir():
        raise SettingError(f"store.file={s.file}: is a directory; name a file")
    return file


def _export(root: Path, chosen: list[Contents], cfg: DictConfig) -> None:
    file = _file(cfg)
    check_writable("store.file", file.parent)
    keys, scored = _read_by(cfg.report.of) if cfg.report.of else (None, True)
    places = [one.folder for one in chosen if one.fingerprint]
    if cfg.plan:
        there = [upkeep.held([place]) for place in places]
        taken = set().union(*there)
        count = sum(len(one if keys is None else one & keys) for one in there)
        print(f"{_several(count, 'stream')} would be put into {file}")
    else:
        found, taken = upkeep.export(places, file, keys, scored=scored)
        _show(found)
        print(f"{_several(sum(one.streams for one in found), 'stream')} -> {file} ({_mb(file.stat().st_size)} MB)")
    if missing := len((keys or set()) - taken):
        of = ", ".join([f"store.dir={root}", *_choice(cfg)])
        print(f"{missing:,} of the {len(keys or ()):,} streams that were read are not there ({of})")
    if left := [one.folder for one in chosen if not one.fingerprint]:
        raise StoreError("; ".join(f"{upkeep.damaged(folder)}, so they are left out" for folder in left))


def _choice(cfg: DictConfig) -> list[str]:
    """What was chosen of a store, as it was typed."""
    said = {"store.only": f"[{','.join(cfg.store.only)}]" * bool(cfg.store.only), "store.older": cfg.store.older}
    return [f"{key}={value}" for key, value in said.items() if value not in ("", None)]


def _read_by(of: object) -> tuple[set[bytes], bool]:
    """The streams that finished cells have read, and whether anything was scored."""
    keys: set[bytes] = set()
    scored = False
    for name in [of] if isinstance(of, str) else list(of):  # type: ignore[call-overload]
        files = sorted(Path(name).expanduser().rglob("samples_*.jsonl"))
        if not files:
            raise SettingError(f"report.of={name}: holds no samples of a finished cell")
        for file in files:
            for line in file.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                keys.update(map(bytes.fromhex, row.get("reads", {})))
                scored = scored or bool(row.get("scored_tokens"))
    return keys, scored


def _import(root: Path, file: Path, plan: bool) -> None:
    if not file.is_file():
        raise SettingError(f"store.file={file}: there is no such file")
    if plan:
        print(f"{file} would be taken into store.dir={root}")
        return
    new, there = upkeep.load(root, file)
    are = "is" if len(new) == 1 else "are"
    before = f", {there:,} {'was' if there == 1 else 'were'} there already" * bool(there)
    print(f"{_several(len(new), 'file')} {are} new in store.dir={root}{before}.")
