"""stage=store as it is typed."""

from __future__ import annotations

import json

import pytest

from s1x.streams import upkeep
from s1x.streams.store import Store

SWEEP = ("engine=scripted", "method.max_thinking_tokens=64", "task.limit=6", "tracking=none")


@pytest.mark.long
def test_what_one_machine_exports_another_one_uses(command, tmp_path, capsys):
    assert command(*SWEEP, "store.dir=here", "hydra.run.dir=out")[0] == 0
    assert command("stage=store", "store.dir=here", "store.action=export", "store.file=sweep.s1x", "report.of=out") == (0, "")
    assert command("stage=store", "store.dir=there", "store.action=import", "store.file=sweep.s1x") == (0, "")
    assert command("stage=store", "store.dir=there", "store.action=verify") == (0, "")
    before = set(tmp_path.iterdir())
    assert command(*SWEEP, "store.dir=there", "hydra.run.dir=again")[0] == 0
    made, again = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("out", "again"))
    assert made["decode_tokens"] > 0 == again["decode_tokens"]
    assert set(tmp_path.iterdir()) - before == {tmp_path / "again"}  # stage=store makes no directory of its own
    status, said = command("stage=store", "store.dir=there", "store.action=prune", "store.only=[vllm]")
    assert status == 2 and "store.only=vllm" in said


@pytest.mark.long
def test_a_cell_says_where_another_run_went_on_differently(command, tmp_path):
    assert command(*SWEEP, "store.dir=store", "hydra.run.dir=one")[0] == 0
    (folder,) = upkeep.folders(tmp_path / "store")
    with Store(tmp_path / "store", upkeep.fingerprint_of(folder)) as store:
        key = max(store.keys(), key=lambda key: len(store.load(key).ids))
        ids = list(store.load(key).ids)
        store.restart(key)
        store.append(key, [*ids[:-1], ids[-1] + 1])
    assert command(*SWEEP, "store.dir=store", "hydra.run.dir=two")[0] == 0
    one, two = (json.loads((tmp_path / name / "cell.json").read_text()) for name in ("one", "two"))
    assert "streams_apart" not in one and two["streams_apart"] == 1
    assert two["accuracy"] == one["accuracy"] and "go on in another way" in (tmp_path / "two" / "run.log").read_text()


A, B, C = (bytes([n]) * 16 for n in range(3))
EXPORT = ("stage=store", "store.dir=store", "store.action=export", "store.file=f")


@pytest.fixture
def two_models(tmp_path):
    """A is kept of both, B of one; a finished cell has read A and C."""
    for fingerprint, keys in (("vllm-0.32/bf16/m", (A,)), ("transformers-5/fp32/m", (A, B))):
        with Store(tmp_path / "store", fingerprint) as store:
            for key in keys:
                store.append(key, [1, 2])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "samples_x.jsonl").write_text(json.dumps({"reads": {A.hex(): 2, C.hex(): 1}}) + "\n")
    return {upkeep.fingerprint_of(folder).partition("-")[0]: folder for folder in upkeep.folders(tmp_path / "store")}


def put(command, *settings):
    """What an export says of how many streams it took, planned and done, and of those that are missing."""
    assert command(*EXPORT, *settings, "plan=true") == (0, "")
    planned = command.out.splitlines()
    assert command(*EXPORT, *settings) == (0, "")
    done = [line for line in command.out.splitlines() if " -> f (" in line or "were read" in line]
    assert planned[1:] == done[1:] and planned[0].replace("would be put into f", "-> f") == done[0].partition(" (")[0]
    return done[0].partition(" ->")[0], *done[1:]


def test_an_export_takes_what_is_chosen_and_counts_what_is_not_there(command, two_models):
    missing = "1 of the 2 streams that were read are not there (store.dir=store{})"
    assert put(command) == ("3 streams",)
    assert put(command, "store.only=[vllm]") == ("1 stream",)
    assert put(command, "store.older=1") == ("0 streams",)
    assert put(command, "report.of=out") == ("2 streams", missing.format(""))  # A lies there twice
    only = put(command, "report.of=out", "store.only=[vllm]")
    assert only == ("1 stream", missing.format(", store.only=[vllm]"))
    assert put(command, "report.of=out", "store.older=1")[1].startswith("2 of the 2 streams")
    assert command("stage=store", "store.dir=new", "store.action=import", "store.file=f") == (0, "")


def test_an_export_says_which_folder_it_cannot_name(command, two_models, tmp_path):
    (two_models["vllm"] / "fingerprint.txt").write_text("of somebody else")
    status, said = command(*EXPORT)
    assert status == 1 and said.count("\n") == 1 and "fingerprint.txt is damaged" in said and two_models["vllm"].name in said
    assert "2 streams -> f" in command.out
    assert command(*EXPORT, "plan=true")[0] == 1 and command(*EXPORT, "store.only=[transformers]") == (0, "")
    status, said = command(*EXPORT, "store.only=[vllm]")
    assert status == 2 and said.endswith(f"it has those of {two_models['vllm'].name}, transformers-5\n")


def test_what_is_little_is_told_too(command, two_models):
    assert command("stage=store", "store.dir=store", "store.action=verify", "store.only=[vllm]") == (0, "")
    assert "0.0001" in command.out and "0 torn tails" in command.out and "0 streams with two" in command.out
    prune = ("stage=store", "store.dir=store", "store.action=prune", "store.only=[vllm]")
    assert command(*prune, "plan=true") == (0, "") and "1 folder with 0.0001 MB would be removed." in command.out
    assert command(*prune) == (0, "") and "1 folder with 0.0001 MB is removed." in command.out
    assert command(*EXPORT) == (0, "") and command("stage=store", "store.dir=new", "store.action=import", "store.file=f") == (
        0,
        "",
    )
    assert "1 file is new in store.dir=new." in command.out


def test_a_file_that_is_no_archive_is_a_sentence(command, tmp_path):
    for data in (b"no archive", b"", b"\x1f\x8b\x08" + b"x" * 99):
        (tmp_path / "f").write_bytes(data)
        status, said = command("stage=store", "store.dir=new", "store.action=import", "store.file=f")
        assert status == 1 and said.count("\n") == 1 and said.startswith("store.file=f: cannot be taken in ("), said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("store.action=tidy",), "store.action=tidy: must be one of statistics, verify"),
        (("store.dir=nowhere",), "store.dir=nowhere: there is no such directory"),
        (("store.action=import",), "needs store.file=FILE"),
        (("store.action=import", "store.file=none"), "store.file=none: there is no such file"),
        (("store.action=prune", "store.dir=."), "say what may go"),
        (("store.older=-1",), "store.older=-1"),
        (("store.action=export", "store.dir=.", "store.file=."), "store.file=.: is a directory; name a file"),
        (
            ("store.action=export", "store.dir=.", "store.file=/dev/null/f"),
            "store.file=/dev/null: /dev/null is not a directory",
        ),
        (("store.action=import", "store.dir=.", "store.file=."), "store.file=.: is a directory; name a file"),
    ],
)
def test_what_will_not_do_is_a_sentence(command, settings, said):
    status, printed = command("stage=store", *settings)
    assert status == 2 and said in printed and printed.count("\n") == 1


@pytest.mark.parametrize("action", ["compact", "prune", "statistics", "verify", "export"])
def test_a_store_of_somebody_else_is_a_sentence(command, two_models, monkeypatch, action):
    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    changes = action in ("compact", "prune")
    monkeypatch.setattr(upkeep.Presence, "_write", forbidden) if changes else monkeypatch.setattr(upkeep, "_files", forbidden)
    status, said = command("stage=store", "store.dir=store", f"store.action={action}", "store.older=0", "store.file=f")
    assert status == 1 and said.count("\n") == 1 and "store" in said and "Permission denied" in said
