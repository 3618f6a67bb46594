"""Streams of other versions: read where somebody says so, never written, never mixed with those of one version."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from s1x.engines.scripted import ScriptedEngine
from s1x.streams.accept import accepted, open_store
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.store import Store, StoreError
from s1x.streams.types import Read, Sampling

ROOT = Path(__file__).parents[2]
HASH, OTHER = "a" * 32, "b" * 32
NEW, OLD, SERVED = f"vllm-0.32/bfloat16/{HASH}", f"vllm-0/bfloat16/{HASH}", f"server-0/served/{HASH}"
PREFIX = (1, 2, 3)


def engine(fingerprint: str, seed: int = 0) -> ScriptedEngine:
    made = ScriptedEngine(vocab=40, context_length=200, seed=seed)
    made.fingerprint = fingerprint
    return made


def read(directory: Path, fingerprint: str, limit: int, accept=(), seed: int = 0, sampling=Sampling()) -> tuple[list[int], int]:
    """The first `limit` ids of a stream and how many of them were decoded here."""
    got: list = []

    def method():
        got.append((yield Read(PREFIX, sampling, limit=limit)))

    store = open_store(directory, fingerprint, accept)
    played = engine(fingerprint, seed)
    Scheduler(played, store).run([Job((0,), method(), lambda _: None, lambda error: pytest.fail(str(error)))])
    store.close()
    return list(got[0].ids), played.counters.decoded


def content(directory: Path) -> dict[str, bytes]:
    return {str(f.relative_to(directory)): f.read_bytes() for f in sorted(directory.rglob("*")) if f.is_file()}


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0, noise=5)])
def test_an_accepted_stream_goes_on_where_it_ends(tmp_path, sampling):
    old, _ = read(tmp_path, OLD, 40, seed=1, sampling=sampling)  # another version writes other tokens
    before = content(tmp_path)
    ids, decoded = read(tmp_path, NEW, 60, ["vllm-0"], sampling=sampling)
    assert ids[:40] == old and (len(ids), decoded) == (60, 20)
    assert {name: data for name, data in content(tmp_path).items() if name in before} == before  # only read
    assert read(tmp_path, NEW, 60, ["vllm-0"], sampling=sampling) == (ids, 0)  # kept
    again, decoded = read(tmp_path, NEW, 60, sampling=sampling)  # without the setting nothing of it is there
    assert decoded == 60 and again != ids
    assert read(tmp_path, OLD, 40, seed=1, sampling=sampling) == (old, 0)


def test_of_several_the_longest_counts_and_ones_own_is_among_them(tmp_path):
    read(tmp_path, OLD, 20, seed=1)
    served, _ = read(tmp_path, SERVED, 30, seed=2)
    name = next(f.parent.name for f in tmp_path.glob("*/fingerprint.txt") if f.read_text().strip() == SERVED)
    ids, decoded = read(tmp_path, NEW, 35, ["vllm-0", name])
    assert ids[:30] == served and decoded == 5
    own, _ = read(tmp_path, NEW, 50)
    assert read(tmp_path, NEW, 50, [SERVED]) == (own, 0)


def test_what_an_entry_names(tmp_path):
    for fingerprint in (OLD, SERVED, f"vllm-0/float32/{HASH}", f"vllm-0/bfloat16/{OTHER}"):
        read(tmp_path, fingerprint, 5)
    read(tmp_path, NEW, 9, ["vllm-0"])  # makes a folder of both, which is nobody's to accept
    folders = {f.read_text().strip(): f.parent.name for f in tmp_path.glob("*/fingerprint.txt")}
    assert accepted(tmp_path, NEW, []) == []
    assert accepted(tmp_path, NEW, ["vllm-0"]) == [OLD]  # of the same dtype
    assert accepted(tmp_path, NEW, [SERVED, "vllm-0"]) == [SERVED, OLD]
    assert accepted(tmp_path, NEW, [folders[f"vllm-0/float32/{HASH}"]]) == [
        f"vllm-0/float32/{HASH}"
    ]  # named: another dtype too
    assert accepted(tmp_path, NEW, [folders[f"vllm-0/bfloat16/{OTHER}"]]) == []  # another model's cells in the same sweep
    assert accepted(tmp_path, OLD, ["vllm-0"]) == []  # its own
    for wrong in ("vllm-0.31", "vllm", "transformers-5", "nonsense", ""):
        with pytest.raises(ValueError, match=f"store.accept={wrong}: the store .* it has those of server-0, vllm-0"):
            accepted(tmp_path, NEW, [wrong])


def test_an_empty_store_has_nothing_to_accept(tmp_path):
    with pytest.raises(ValueError, match="it has those of nothing"):
        open_store(tmp_path / "none", NEW, ["vllm-0"])
    assert type(open_store(tmp_path / "none", NEW)) is Store


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["store.accept=[vllm-0]"], "store.accept=vllm-0: the store"),
        (["store.accept=[vllm-0]", "store.dir=null"], "store.dir=null keeps no streams to read"),
        (["store.accept=vllm-0"], "store.accept"),
    ],
)
def test_a_wrong_entry_is_a_sentence(tmp_path, settings, said):
    command = [
        sys.executable,
        "run.py",
        "task.limit=2",
        f"store.dir={tmp_path}/s",
        f"hydra.run.dir={tmp_path}/o",
        "tracking=none",
    ]
    done = subprocess.run([*command, *settings], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("accept", [(), ("vllm-0",)])
def test_a_store_that_cannot_be_written_is_read(read_only, accept, caplog):
    place, protect = read_only
    whole, _ = read(place / "other", NEW, 60)
    read(place / "store", OLD if accept else NEW, 40)
    protect()
    ids, decoded = read(place / "store", NEW, 30, accept)
    assert (ids, decoded) == (whole[:30], 0)
    ids, decoded = read(place / "store", NEW, 60, accept)  # the rest is decoded, and kept nowhere
    assert (ids, decoded) == (whole, 20)
    assert read(place / "store", NEW, 60, accept)[1] == 20
    assert "is only read" in caplog.text
    with pytest.raises(StoreError):
        open_store(place / "new", NEW)
