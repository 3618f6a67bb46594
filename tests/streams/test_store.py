"""The store's promises: nothing flushed is lost, nothing is read that no writer saw, damage is survived."""

import logging
import math
import os
import random
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import s1x
from s1x.streams.frames import HEAD, half
from s1x.streams.store import FLUSH_BYTES, Store, StoreError
from s1x.streams.types import digest

A, B = digest("stream a"), digest("stream b")


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*/*.streams"))


def ids_of(store: Store, key: bytes) -> tuple[int, ...]:
    stored = store.load(key)
    return stored.ids if stored else ()


def test_what_was_flushed_is_read_back(tmp_path):
    with Store(tmp_path, "model") as store:
        assert store.load(A) is None
        store.append(A, [1, 2, 3], [-0.1, -1.0, -30000.0])
        store.append(B, range(5000))
        store.append(A, (4,), [-math.inf])
        assert files(tmp_path) == []  # buffered
        store.flush()
        assert store.bytes_written == files(tmp_path)[0].stat().st_size > 0
    with Store(tmp_path, "model") as store:
        assert store.load(A)[:2] == ((1, 2, 3, 4), half([-0.1, -1.0, -30000.0, -65504.0]))
        assert store.load(B)[:2] == (tuple(range(5000)), None)
        assert store.bytes_written == 0
    assert Store(tmp_path, "another model").load(A) is None
    assert len(files(tmp_path)) == 1
    assert (files(tmp_path)[0].parent / "fingerprint.txt").read_text() == "model\n"


def test_half_rounds_like_the_store(tmp_path):
    values = [random.Random(0).uniform(-40, 0) for _ in range(1000)]
    assert half(values) == half(half(values))
    assert max(abs(a - b) for a, b in zip(values, half(values), strict=True)) < 0.02
    with Store(tmp_path, "model") as store:
        store.append(A, range(1000), values)
        assert store.load(A).logprobs == half(values)


def test_a_stream_goes_on_from_its_last_stored_token(tmp_path):
    for i in range(5):
        with Store(tmp_path, "model") as store:
            assert ids_of(store, A) == tuple(range(10 * i))
            store.append(A, range(10 * i, 10 * i + 10), [-0.5] * 10)
    assert Store(tmp_path, "model").load(A)[:2] == (tuple(range(50)), [-0.5] * 50)


def test_one_token_at_a_time_makes_one_frame_per_flush_and_large_buffers_flush_themselves(tmp_path):
    store = Store(tmp_path, "model")
    for i in range(100):
        store.append(A, [i])
    store.flush()
    assert store.bytes_written == HEAD.size + 400
    store.append(B, range(FLUSH_BYTES // 4))
    assert store.bytes_written > FLUSH_BYTES


def test_refresh_shows_what_others_wrote_meanwhile(tmp_path):
    one, two = Store(tmp_path, "model"), Store(tmp_path, "model")
    one.append(A, [1, 2])
    one.flush()
    assert two.load(A) is None
    two.refresh()
    assert ids_of(two, A) == (1, 2)
    two.append(A, [3])
    two.flush()
    one.refresh()
    assert ids_of(one, A) == (1, 2, 3)
    one.append(A, [4])
    one.flush()
    assert ids_of(Store(tmp_path, "model"), A) == (1, 2, 3, 4)


def test_two_writers_that_disagree_are_never_mixed_and_each_keeps_its_own(tmp_path):
    one, two = Store(tmp_path, "model"), Store(tmp_path, "model")
    one.append(A, [1, 2, 3])
    two.append(A, [1, 2, 9, 9])
    one.flush()
    two.flush()
    one.append(A, [4])
    two.append(A, [9])
    for store in (one, two):
        store.flush()
        store.refresh()
    assert ids_of(one, A) == (1, 2, 3, 4)
    assert ids_of(two, A) == (1, 2, 9, 9, 9)
    assert ids_of(Store(tmp_path, "model"), A) == (1, 2, 3, 4)


def test_writers_that_agree_continue_each_other(tmp_path):
    stores = [Store(tmp_path, "model") for _ in range(3)]
    for store, n in zip(stores, (3, 7, 5), strict=True):
        store.append(A, range(n), [-float(i) for i in range(n)])
        store.flush()
    assert Store(tmp_path, "model").load(A)[:2] == (tuple(range(7)), [-float(i) for i in range(7)])


def test_all_readers_follow_the_same_writer_whichever_file_they_saw_first(tmp_path):
    for token_id in (1, 2):
        with Store(tmp_path, "model") as store:
            store.append(A, [token_id])
            store.flush()
    first, _ = files(tmp_path)
    hidden = first.rename(first.with_suffix(".hidden"))
    early = Store(tmp_path, "model")
    hidden.rename(first)
    early.refresh()
    assert ids_of(early, A) == ids_of(Store(tmp_path, "model"), A) == (1,)


def test_missing_logprobs_make_none_and_restart_fills_them_in(tmp_path):
    with Store(tmp_path, "model") as store:
        store.append(A, [1, 2], [-1.0, -2.0])
        store.append(A, [3])
        store.append(B, [7, 8])
        assert store.load(A)[:2] == ((1, 2, 3), None)
    with Store(tmp_path, "model") as store:
        assert store.load(A)[:2] == ((1, 2, 3), None)
        store.restart(A)
        store.append(A, [1, 2, 3, 4], [-1.0, -2.0, -3.0, -4.0])
        store.load(B)
        store.restart(B)
        store.append(B, [7, 6], [-1.0, -1.0])  # a tie fell the other way: these belong to other ids
    store = Store(tmp_path, "model")
    assert store.load(A)[:2] == ((1, 2, 3, 4), [-1.0, -2.0, -3.0, -4.0])
    assert store.load(B)[:2] == ((7, 8), None)


def test_wrong_number_of_logprobs(tmp_path):
    with pytest.raises(ValueError, match="2 ids came with 1 log-probabilities"):
        Store(tmp_path, "model").append(A, [1, 2], [-1.0])


def test_unwritable_directory_is_one_sentence_about_the_setting(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"store\.dir=.*file.deeper cannot be written .* not a directory"):
        Store(tmp_path / "file" / "deeper", "model")
    store = Store(tmp_path / "later", "model")  # fine now, spoiled before the first flush
    (tmp_path / "later").write_text("")
    store.append(A, [1, 2])
    with pytest.raises(StoreError, match=r"store\.dir=.*later cannot be written"):
        store.flush()
    (tmp_path / "later").unlink()
    store.flush()  # nothing was lost
    assert ids_of(Store(tmp_path / "later", "model"), A) == (1, 2)


def test_short_and_interrupted_writes_go_on_where_they_stopped(tmp_path, monkeypatch):
    store, write = Store(tmp_path, "model"), os.write
    results = iter([7, OSError(28, "No space left on device"), 30, KeyboardInterrupt])

    def weak_write(fd, data):
        result = next(results, len(data))
        if isinstance(result, OSError):
            raise result
        if result is KeyboardInterrupt:
            write(fd, data)
            raise result
        return write(fd, data[:result])

    monkeypatch.setattr(os, "write", weak_write)
    store.append(A, [1, 2, 3])
    with pytest.raises(StoreError, match="No space left on device"):
        store.flush()
    store.append(A, [4])
    with pytest.raises(KeyboardInterrupt):
        store.flush()
    store.append(A, [5])
    assert ids_of(store, A) == (1, 2, 3, 4, 5)
    assert ids_of(Store(tmp_path, "model"), A) == (1, 2, 3, 4, 5)


def test_a_torn_tail_is_quiet_and_read_once_it_is_whole(tmp_path, caplog):
    with Store(tmp_path, "model") as store:
        store.append(A, [1, 2])
        store.flush()
        store.append(A, range(3000))
    path = files(tmp_path)[0]
    data = path.read_bytes()
    for cut in (1, 4 * 3000, 4 * 3000 + HEAD.size - 1):
        path.write_bytes(data[:-cut])
        reader = Store(tmp_path, "model")
        assert ids_of(reader, A) == (1, 2)
        path.write_bytes(data)
        reader.refresh()
        assert len(ids_of(reader, A)) == 3002
    assert not caplog.records


@pytest.mark.parametrize("where", ["magic", "length", "payload"])
def test_a_flipped_bit_costs_at_most_the_rest_of_its_file_and_one_warning(tmp_path, caplog, where):
    for i in range(2):  # two files with three frames each
        store = Store(tmp_path, "model")
        for j in range(3):
            store.append((A, B)[i], [j] * 10)
            store.flush()
        store.close()
    path = files(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[HEAD.size + 40 + {"magic": 0, "length": 40, "payload": HEAD.size + 3}[where]] ^= 64
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        store = Store(tmp_path, "model")
        for _ in range(3):
            assert ids_of(store, A) == (0,) * 10
            assert len(ids_of(store, B)) == 30
            store.refresh()
        store.append(A, [5])
        store.flush()
    if where != "length":  # a length that points behind the end looks like a torn tail
        assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert ids_of(Store(tmp_path, "model"), A) == (0,) * 10 + (5,)


def token(key: bytes, position: int, variant: int) -> int:
    return (key[0] * 31 + position * 7) % 50 + 100 * variant


def logprob(token_id: int) -> float:
    return -token_id / 8  # exact in float16


def confidence(name: str, token_id: int) -> float:
    return token_id / {"top20": 8, "kl": 16}[name]  # exact in float32


writer, key_of = st.integers(0, 2), st.sampled_from([A, A, A, B])
numbers = st.frozensets(st.sampled_from(["logprob", "top20", "kl"]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), writer, key_of, st.integers(1, 3), st.integers(0, 1), numbers, st.booleans()),
        st.tuples(st.just("append"), writer, key_of, st.integers(1, 3), st.just(0), numbers, st.just(True)),
        st.tuples(st.sampled_from(["load", "load", "restart"]), writer, key_of),
        st.tuples(st.sampled_from(["refresh", "refresh", "flush", "reopen"]), writer),
    ),
    min_size=10,
    max_size=50,
)


def believed(stored) -> None:
    """Numbers are those of their tokens, or not there."""
    assert stored.logprobs is None or stored.logprobs == [logprob(t) for t in stored.ids]
    for name, values in stored.confidences.items():
        assert len(values) == len(stored.ids)
        assert all(math.isnan(v) or v == confidence(name, t) for v, t in zip(values, stored.ids, strict=True))


@settings(max_examples=120, deadline=None)
@given(steps, st.randoms(use_true_random=False), st.sampled_from(["none", "cut", "flip"]))
def test_any_interleaving_of_writers(steps, rng, damage):
    """Whatever three writers do, and whatever happens to their files, a load is the beginning of what some writer saw; without
    damage no writer's flushed tokens could extend it; and no writer ever sees a stream change."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        writers = [Store(directory, "model") for _ in range(3)]
        views = [defaultdict(tuple) for _ in writers]  # writer -> key -> what it knows
        seen, flushed = defaultdict(set), defaultdict(set)  # key -> all views; those that are on disk

        def load(i, key):
            stored = writers[i].load(key)
            flushed[key].add(views[i][key])  # a load flushes
            ids = stored.ids if stored else ()
            assert ids[: len(views[i][key])] == views[i][key]
            assert any(view[: len(ids)] == ids for view in seen[key]) or not ids
            if stored:
                believed(stored)
            views[i][key] = ids

        def flush(i):
            writers[i].flush()
            for key, view in views[i].items():
                flushed[key].add(view)

        for step, i, *rest in steps:
            if step == "append":
                key, n, variant, beside, now = rest
                start = len(views[i][key])
                ids = tuple(token(key, start + j, variant) for j in range(n))
                given = {name: [confidence(name, t) for t in ids] for name in beside - {"logprob"}}
                writers[i].append(key, ids, [logprob(t) for t in ids] if "logprob" in beside else None, given)
                views[i][key] += ids
                seen[key].add(views[i][key])
                if now:
                    flush(i)
            elif step == "flush":
                flush(i)
            elif step == "refresh":
                writers[i].refresh()
            elif step == "load":
                load(i, rest[0])
            elif step == "restart":
                flush(i)
                writers[i].restart(rest[0])
                views[i][rest[0]] = ()
            else:
                flush(i)
                writers[i].close()
                writers[i], views[i] = Store(directory, "model"), defaultdict(tuple)
        for i in range(3):
            flush(i)
            writers[i].close()
        for path in files(directory):
            data = bytearray(path.read_bytes())
            if damage == "cut" and rng.random() < 0.5:
                path.write_bytes(data[: rng.randrange(len(data))])
            elif damage == "flip" and rng.random() < 0.5:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
                path.write_bytes(data)
        for key in (A, B):
            ids = ids_of(Store(directory, "model"), key)
            assert ids == ids_of(Store(directory, "model"), key)
            if ids:
                believed(Store(directory, "model").load(key))
            assert any(view[: len(ids)] == ids for view in seen[key]) or not ids
            if damage == "none":
                assert not any(len(view) > len(ids) and view[: len(ids)] == ids for view in flushed[key])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), min_size=3, max_size=30), st.randoms(use_true_random=False))
def test_untorn_files_lose_nothing(writes, rng):
    """Agreeing writers that each wrote the stream from its start: the result is the longest among the files left whole, or
    longer (a torn file keeps its whole frames)."""
    with tempfile.TemporaryDirectory() as name:
        lengths, paths = [0, 0, 0], {}
        stores = [Store(Path(name), "model") for _ in range(3)]
        for i, n in writes:
            before = set(files(Path(name)))
            stores[i].append(A, [token(A, lengths[i] + j, 0) for j in range(n)])
            stores[i].flush()
            lengths[i] += n
            for path in set(files(Path(name))) - before:
                paths[i] = path
        torn = [i for i in paths if rng.random() < 0.5]
        for i in torn:
            os.truncate(paths[i], rng.randrange(paths[i].stat().st_size))
        ids = ids_of(Store(Path(name), "model"), A)
        assert ids == tuple(token(A, j, 0) for j in range(len(ids)))
        assert max([lengths[i] for i in paths if i not in torn], default=0) <= len(ids) <= max(lengths)


WRITER = """
import sys, os, random
from pathlib import Path
from s1x.streams.store import Store
directory, variant, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng, keys = random.Random(seed), [bytes([k]) * 16 for k in range(4)]
store, known = Store(directory, "model"), {}
for key in keys:
    stored = store.load(key)
    known[key] = len(stored.ids) if stored else 0
    if stored and key == keys[3] and known[key] > 50:
        variant = stored.ids[50] // 10**6  # go on with the branch that is there
while True:
    for key in keys:
        n = rng.choice([1, 5, 50, 30000])
        v = variant if key == keys[3] else 0
        ids = [p + (v * 10**6 if p >= 50 else 0) for p in range(known[key], known[key] + n)]
        store.append(key, ids, [-0.5] * n, {"top20": [i % 999 / 2 for i in ids]} if key == keys[0] else {})
        known[key] += n
    store.flush()
    os.write(1, (" ".join(str(known[key]) for key in keys) + "\\n").encode())
"""


def test_sigkill_at_random_instants_loses_nothing_that_was_flushed(tmp_path):
    """Two processes write four streams at the same time (on the fourth they disagree from token 50 on) and are killed at a
    random instant, again and again; the next ones go on from what is there."""
    rng, keys = random.Random(0), [bytes([k]) * 16 for k in range(4)]
    env = {**os.environ, "PYTHONPATH": str(Path(s1x.__file__).parents[1])}
    flushed, torn = [0, 0, 0, 0], 0
    for attempt in range(5):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        writers = [subprocess.Popen([*command, str(v), str(10 * attempt + v)], stdout=subprocess.PIPE, env=env) for v in (1, 2)]
        outputs = {writer.stdout.fileno(): b"" for writer in writers}
        end = None
        while end is None or time.monotonic() < end:
            for fd in select.select(list(outputs), [], [], 0.001)[0]:
                outputs[fd] += os.read(fd, 1 << 16)
            if end is None and all(outputs.values()):  # both have started
                end = time.monotonic() + rng.uniform(0, 0.05)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        for writer in writers:
            outputs[writer.stdout.fileno()] += writer.stdout.read()
            writer.stdout.close()
            assert writer.wait() == -signal.SIGKILL
        for output in outputs.values():
            lengths = [int(n) for n in output[: output.rindex(b"\n")].split(b"\n")[-1].split()]
            flushed = [max(a, b) for a, b in zip(flushed, lengths, strict=True)]
        store = Store(tmp_path, "model")
        torn += sum(path.stat().st_size > file.end for path, file in zip(files(tmp_path), store._files, strict=True))
        for key, least in zip(keys[:3], flushed[:3], strict=True):
            stored = store.load(key)
            assert stored.ids == tuple(range(len(stored.ids)))
            assert len(stored.ids) >= least and stored.logprobs == [-0.5] * len(stored.ids)
            assert stored.confidences == ({"top20": tuple(i % 999 / 2 for i in stored.ids)} if key == keys[0] else {})
        branch = ids_of(store, keys[3])
        assert len(branch) > 50
        v = branch[50] // 10**6
        assert v in (1, 2)
        assert branch == tuple(p + (v * 10**6 if p >= 50 else 0) for p in range(len(branch)))
    print(f"{torn} torn tails")


def test_too_many_open_files_is_not_damage(tmp_path, caplog):
    with Store(tmp_path, "model") as store:
        store.append(A, [1, 2])
    reader = Store(tmp_path, "model")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
    try:
        held = [os.dup(0) for _ in range(64) if _free()]
        for look in (lambda: reader.load(A), lambda: Store(tmp_path, "model")):
            with pytest.raises((StoreError, OSError), match="Too many open files"):
                look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)
    assert not caplog.records and ids_of(reader, A) == (1, 2)


def _free() -> bool:
    """Whether this process may open another file."""
    try:
        os.close(os.dup(0))
    except OSError:
        return False
    return True
