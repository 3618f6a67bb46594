"""store.fsync: a flush waits for the disk, and changes nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from s1x.streams.store import Store, StoreError

from .test_store import A, files, ids_of


def test_fsync_waits_for_file_and_names_at_every_flush(tmp_path, monkeypatch):
    """What a power cut leaves cannot be seen here; that the disk is asked, of what and after which bytes, can."""
    synced: list[tuple[Path, int]] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        synced.append((path, path.stat().st_size if path.is_file() else -1))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    sizes = {}
    for name, on in (("plain", False), ("safe", True)):
        with Store(tmp_path / name, "model", fsync=on) as store:
            for ids in ([1, 2], [3], range(500)):
                store.append(A, ids, [-1.0] * len(ids))
                store.flush()
                store.flush()  # nothing new: nothing to wait for
            sizes[name] = store.bytes_written
        assert bool(synced) == on
    (file,) = files(tmp_path / "safe")
    assert [path for path, _ in synced] == [file.parent, file.parent.parent, tmp_path, file, file, file]  # names once
    steps = [size for path, size in synced if path == file]
    assert steps == sorted(set(steps)) and steps[-1] == sizes["safe"] == sizes["plain"]  # each time all that was written
    plain, safe = (Store(tmp_path / name, "model").load(A) for name in ("plain", "safe"))
    assert plain == safe and len(safe.ids) == 503


def test_a_disk_that_fails_at_fsync_is_a_sentence_and_nothing_is_lost(tmp_path, monkeypatch):
    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    store = Store(tmp_path, "model", fsync=True)
    store.append(A, [1, 2, 3])
    with monkeypatch.context() as at_fault:
        at_fault.setattr(os, "fsync", broken)
        with pytest.raises(StoreError, match="store.dir=.* cannot be written .*Input/output error"):
            store.flush()
    store.append(A, [4])
    store.close()
    assert ids_of(Store(tmp_path, "model"), A) == (1, 2, 3, 4)


def test_the_setting_reaches_the_store_and_results_are_the_same(command, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for name, on in (("plain", "false"), ("safe", "true")):
        settings = [f"store.dir={name}-store", f"store.fsync={on}", f"hydra.run.dir={name}", "tracking=none", "task.limit=4"]
        assert command("engine=scripted", *settings)[0] == 0
        assert bool(synced) == (on == "true")
    one, other = ([f.read_bytes() for f in sorted((tmp_path / name).glob("samples_*"))] for name in ("plain", "safe"))
    assert one == other != []
    status, said = command("engine=scripted", "store.fsync=sometimes", "tracking=none")
    assert status == 2 and "store.fsync" in said
