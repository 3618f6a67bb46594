"""Upkeep of a store: counted rightly, smaller without losing anything, carried elsewhere, and never under a run's feet."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from s1x.engines.scripted import ScriptedEngine
from s1x.streams import upkeep
from s1x.streams.presence import Presence
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.scores import ScoreStore
from s1x.streams.store import Store, StoreError
from s1x.streams.types import Read, Trace

KEYS = [bytes([n]) * 16 for n in range(5)]
A, B, C, D, E = KEYS


@pytest.fixture
def store(tmp_path) -> Path:
    """Two writers of one model, who disagree on C; D lacks some log-probabilities; another model; scores."""
    root = tmp_path / "store"
    one, two = Store(root, "vllm-0.32/bf16/m1"), Store(root, "vllm-0.32/bf16/m1")
    for writer, ids in ((one, [1, 2, 3]), (two, [1, 2, 4, 5])):
        for _ in range(2):
            writer.append(A, [7, 8], [-1.0, -2.0])
            writer.flush()
        writer.append(C, ids)
        writer.append(D, [1], [-1.0])
        writer.append(D, [2])
        writer.close()
    for fingerprint in ("server-0.32/bf16/m1", "vllm-0.32/bf16/m1"):
        with ScoreStore(root, fingerprint) as scores:
            scores.put(E, (1.0, 2.0))
    with Store(root, "server-0.32/bf16/m1") as other:
        other.append(B, range(100))
    return root


def everything(root: Path):
    found = {}
    for folder in upkeep.folders(root):
        fingerprint = upkeep.fingerprint_of(folder)
        store = Store(root, fingerprint, writable=False)
        found[fingerprint] = {key: store.follow(key)[0] for key in store.keys()}, ScoreStore(root, fingerprint).rows
        found[fingerprint] = (
            {k: (bytes(c.ids), {name: bytes(n) for name, n in c.numbers.items()}) for k, c in found[fingerprint][0].items()},
            found[fingerprint][1],
        )
    return found


def by_engine(root, **how):
    return {one.fingerprint.partition("-")[0]: one for one in upkeep.contents(root, **how)}


def test_contents_are_counted_and_a_check_finds_damage(store):
    found = by_engine(store)
    vllm, server = found["vllm"], found["server"]
    assert (vllm.streams, vllm.tokens, vllm.written, vllm.rows, vllm.files) == (3, 4 + 4 + 2, 8 + 7 + 4, 1, 3)
    assert (server.streams, server.tokens, server.written, server.rows, server.damage) == (1, 100, 100, 1, [])
    checked = by_engine(store, check=True)["vllm"]
    assert checked.apart == 1 and not checked.damage and not checked.torn
    first = sorted(vllm.folder.glob("*.streams"))[0]
    data = bytearray(first.read_bytes())
    data[60] ^= 1
    first.write_bytes(data[:-3])
    checked = by_engine(store, check=True)["vllm"]
    assert "damaged at byte 0; 2 tokens" in checked.damage[0] and checked.torn == 1


def test_compact_keeps_what_readers_see_in_one_file(store):
    before, sizes = everything(store), by_engine(store)
    folder = sizes["vllm"].folder
    (folder / "left.streams.part").write_text("killed")
    with upkeep.alone(store):
        old, new = upkeep.compact(folder)
    assert everything(store) == before and new < old == sizes["vllm"].bytes
    after = by_engine(store, check=True)["vllm"]
    assert (after.files, after.tokens, after.written, after.rows, after.apart, after.damage) == (2, 9, 9, 1, 0, [])
    assert sorted(path.suffix for path in folder.iterdir()) == [".scores", ".streams", ".txt"]
    with Store(store, "vllm-0.32/bf16/m1") as writer:  # goes on from there
        assert writer.load(A).ids == (7, 8, 7, 8)
        writer.append(A, [9])
    assert Store(store, "vllm-0.32/bf16/m1").load(A).ids == (7, 8, 7, 8, 9)


def test_compact_killed_between_new_and_old_files_loses_nothing(store, monkeypatch):
    before = everything(store)
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        upkeep.compact(by_engine(store)["vllm"].folder)
    monkeypatch.undo()
    assert everything(store) == before


def test_nothing_is_rewritten_while_a_run_is_at_work(store):
    run = Presence(store)
    run.enter("?")
    with pytest.raises(StoreError, match="a run is at work on it"), upkeep.alone(store):
        pytest.fail("not alone")
    run.leave()
    with upkeep.alone(store):
        pass
    assert not (store / "owners").exists()


@pytest.mark.parametrize("said", [b"", b"vllm-0.", b"\xff\xfe", b"another/bf16/m1\n"])
def test_a_fingerprint_that_was_cut_off_is_written_again_by_the_next_run(store, said):
    folder = by_engine(store)["vllm"].folder
    (folder / "fingerprint.txt").write_bytes(said)
    before = len(upkeep._files(folder))
    with pytest.raises(StoreError, match="does not say whose"):
        upkeep.compact(folder)
    with Store(store, "vllm-0.32/bf16/m1") as writer:
        writer.append(B, [1])
    assert (folder / "fingerprint.txt").read_text() == "vllm-0.32/bf16/m1\n"
    assert len(upkeep._files(folder)) == before + 1
    upkeep.compact(folder)
    assert len(upkeep._files(folder)) == 2  # streams and scores


def test_a_fingerprint_is_never_half_there(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    store = Store(tmp_path, "model")
    store.append(A, [1])
    with monkeypatch.context() as at_fault:
        at_fault.setattr(os, "replace", full)
        with pytest.raises(StoreError, match="No space left"):
            store.flush()
    assert [path.name for path in store.directory.iterdir()] == []
    store.close()
    assert (store.directory / "fingerprint.txt").read_text() == "model\n"


AT_WORK = """
import sys, time
from pathlib import Path
from s1x.streams.presence import Presence

Presence(Path(sys.argv[1])).enter("?")
print("there", flush=True)
time.sleep(60)
"""


def test_a_run_that_is_held_counts_on_its_own_machine(store):
    """However long: it goes on writing where it was. It counts at every try, until its process is gone."""
    run = subprocess.Popen([sys.executable, "-c", AT_WORK, str(store)], stdout=subprocess.PIPE, text=True)
    try:
        assert run.stdout.readline() == "there\n"
        run.send_signal(signal.SIGSTOP)
        (file,) = (store / "owners").iterdir()
        os.utime(file, (time.time() - 100,) * 2)
        passing = Presence(store)
        assert passing.enter("?") == {}  # its questions are free
        passing.leave()
        for _ in range(2):
            with pytest.raises(StoreError, match="a run is at work on it"), upkeep.alone(store):
                pytest.fail("not alone")
    finally:
        run.kill()
        run.communicate()
    with upkeep.alone(store):
        pass
    assert not (store / "owners").exists()


@pytest.mark.parametrize("call", ["mkdir", "replace", "rmtree"])
def test_a_store_of_somebody_else_is_a_sentence(store, monkeypatch, call):
    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr({"mkdir": Path, "replace": os, "rmtree": shutil}[call], call, forbidden)
    with pytest.raises(StoreError, match=r"store\.dir=.*store cannot be written \(Permission denied\)"), upkeep.alone(store):
        assert call != "mkdir"
        (upkeep.prune if call == "rmtree" else upkeep.compact)(by_engine(store)["vllm"].folder)
    monkeypatch.undo()
    with upkeep.alone(store):
        pass


def taken_away(root: Path, how: str, key: bytes) -> None:
    """What happens below a run that is held, on a machine from which it cannot be seen."""
    (folder,) = upkeep.folders(root)
    if how == "compact":
        upkeep.compact(folder)
        return
    fingerprint = upkeep.fingerprint_of(folder)
    shutil.rmtree(root if how == "rm" else folder)
    if how == "another":  # which went on differently
        with Store(root, fingerprint) as other:
            other.append(key, [1, 2, 3])


@pytest.mark.parametrize("how", ["compact", "prune", "rm", "another"])
def test_a_run_that_goes_on_when_its_file_is_gone_keeps_what_it_generates(tmp_path, how):
    model, root, seen = ScriptedEngine(tokens_per_poll=1), tmp_path / "store", []
    reads = [Read((n,), limit=10 + n) for n in range(3)]
    kept = Store(root, model.fingerprint)

    def method(read):
        seen.append((yield read))
        return Trace((1,))

    def progress(said):
        if said.generated == 15:
            taken_away(root, how, reads[2].key(model.fingerprint))

    run = Scheduler(model, kept, on_progress=progress, flush_seconds=0)
    run.run(Job((n,), method(read), print) for n, read in enumerate(reads))
    kept.close()
    with Store(root, model.fingerprint) as store:
        found = [store.load(read.key(model.fingerprint)).ids for read in reads]
        assert store.apart([read.key(model.fingerprint) for read in reads]) == (how == "another")
    assert sorted(map(len, found[:2])) == [10, 11]
    assert {span.ids for span in seen} >= set(found[:2])
    assert found[2] == (1, 2, 3) if how == "another" else found[2] in {span.ids for span in seen}
    assert not [one for one in upkeep.contents(root, check=True) if one.damage]


def test_scores_go_on_when_their_file_is_gone(tmp_path):
    scores = ScoreStore(tmp_path, "model")
    for key in (A, B):
        scores.put(key, (1.0,))
        scores.flush()
        if key == A:
            upkeep.compact(scores.directory)
    scores.close()
    assert ScoreStore(tmp_path, "model").rows == {A: (1.0,), B: (1.0,)}


def test_folders_are_chosen_by_name_and_age(store):
    def chosen(only=(), older=None):
        return {one.fingerprint.partition("-")[0] for one in upkeep.matching(store, list(only), older)}

    server = by_engine(store)["server"].folder
    for path in server.iterdir():
        os.utime(path, (time.time() - 5 * 86400,) * 2)
    assert chosen() == {"vllm", "server"} and chosen(["vllm"]) == chosen(["vllm-0.32"]) == {"vllm"}
    assert chosen(older=4) == chosen([server.name]) == {"server"} and chosen(["vllm"], 4) == chosen(older=6) == set()
    with pytest.raises(ValueError, match="store.only=vllm-0.9: .* it has those of server-0.32, vllm-0.32"):
        chosen(["vllm-0.9"])
    upkeep.prune(server)
    assert chosen() == {"vllm"}


def exported(root, file, keys, **how):
    """All folders of a store; how many streams that were, and which."""
    found, taken = upkeep.export(upkeep.folders(root), file, keys, **how)
    return sum(one.streams for one in found), taken


def test_what_is_exported_is_found_elsewhere(store, tmp_path):
    place, file = tmp_path / "there", tmp_path / "sub" / "sweep.s1x"
    assert exported(store, file, {A, B, E}, scored=False) == (2, {A, B})  # there are only scores of E
    (wanted,) = [found for fingerprint, found in everything(store).items() if fingerprint.startswith("vllm")]
    new, there = upkeep.load(place, file)
    assert len(new) == 2 and there == 0 and upkeep.load(place, file) == ([], 2)
    found = everything(place)
    assert found["vllm-0.32/bf16/m1"] == ({A: wanted[0][A]}, {}) and list(found["server-0.32/bf16/m1"][0]) == [B]
    exported(store, file, None)
    upkeep.load(tmp_path / "all", file)
    assert everything(tmp_path / "all") == everything(store)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == [file.name]


def evil(file: Path, name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = len(data) * (kind == tarfile.REGTYPE), kind, "/etc/passwd"
        archive.addfile(member, io.BytesIO(data))
    return file


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("../evil.streams", b"", tarfile.REGTYPE),
        ("/tmp/evil.streams", b"", tarfile.REGTYPE),
        ("0123456789abcdef/../../evil.streams", b"", tarfile.REGTYPE),
        ("0123456789abcdef/a.streams", b"", tarfile.SYMTYPE),
        ("0123456789abcdef/a.streams", b"no frame at all" * 9, tarfile.REGTYPE),
        ("0123456789abcdef/fingerprint.txt", b"of another folder", tarfile.REGTYPE),
    ],
)
def test_only_files_of_a_store_are_taken_in(tmp_path, name, data, kind):
    file = evil(tmp_path / "file", name, data, kind)
    with pytest.raises(StoreError, match="store.file="):
        upkeep.load(tmp_path / "store", file)
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()] and not list(tmp_path.glob("evil*"))


def test_half_a_file_is_refused(store, tmp_path):
    file = tmp_path / "file"
    exported(store, file, None)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(StoreError, match="cannot be taken in|is damaged there"):
        upkeep.load(tmp_path / "there", file)
