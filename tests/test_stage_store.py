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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("store.action=tidy",), "store.action=tidy: must be one of statistics, verify"),
        (("store.dir=nowhere",), "store.dir=nowhere: there is no such directory"),
        (("store.action=import",), "needs store.file=FILE"),
        (("store.action=import", "store.file=none"), "store.file=none: there is no such file"),
        (("store.action=prune", "store.dir=."), "say what may go"),
        (("store.older=-1",), "store.older=-1"),
    ],
)
def test_what_will_not_do_is_a_sentence(command, settings, said):
    status, printed = command("stage=store", *settings)
    assert status == 2 and said in printed and printed.count("\n") == 1
