from __future__ import annotations

import json
import multiprocessing
import time

import pytest

from s1x.errors import SettingError
from s1x.training.trained import Training, last_checkpoint


def test_the_same_content_is_the_same_folder_and_any_change_another(tmp_path):
    content = {"base": "a", "train": {"seed": 0}}
    one = Training.of(content, str(tmp_path), "m")
    assert one.folder == Training.of({"train": {"seed": 0}, "base": "a"}, str(tmp_path), "m").folder
    assert one.folder != Training.of({"base": "a", "train": {"seed": 1}}, str(tmp_path), "m").folder


def test_a_finished_training_is_found_under_another_name(tmp_path):
    first = Training.of({"seed": 0}, str(tmp_path), "first")
    assert Training.of({"seed": 0}, str(tmp_path), "second").folder.name.startswith("second-")
    first.folder.mkdir()
    first.finish({"steps": 1})
    assert Training.of({"seed": 0}, str(tmp_path), "second").folder == first.folder
    assert Training.of({"seed": 1}, str(tmp_path), "second").folder != first.folder


def test_done_is_written_last_and_checkpoints_go(tmp_path):
    training = Training.of({}, str(tmp_path), "m")
    (training.folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    assert not training.done
    training.finish({"steps": 1})
    assert training.done and not (training.folder / "checkpoints").exists()
    assert '"steps": 1' in (training.folder / "training.json").read_text()


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None
    for step, complete in ((50, True), (100, True), (150, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if complete:
            (folder / "COMPLETE").touch()
    assert last_checkpoint(tmp_path).name == "checkpoint-100"


def _hold(training: Training, held) -> None:
    with training.lock():
        held.set()
        time.sleep(0.5)
        training.finish({})


def test_whoever_wants_the_same_training_waits_and_finds_it_done(tmp_path):
    training = Training.of({}, str(tmp_path), "m")
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold, args=(training, held))
    other.start()
    assert held.wait(30)
    with training.lock():
        assert training.done
    other.join()


def test_a_full_disk_is_a_sentence_before_training(tmp_path):
    training = Training.of({}, str(tmp_path / "new"), "m")
    training.check_space(1)
    with pytest.raises(SettingError, match=r"train.dir=.*new: .*GB are free there"):
        training.check_space(10**18)


def test_a_checkpoint_must_be_of_this_training_and_as_many_devices(tmp_path):
    ours, theirs = (Training.of({"seed": seed}, str(tmp_path), "m") for seed in (0, 1))
    one = ours.identity(1, None)
    ours.check_checkpoint(one)  # there is none
    for mark, problem in ((ours.identity(2, 3), "2 devices, ZeRO-3"), (theirs.identity(1, None), theirs.id), ("", "unknown")):
        folder = ours.checkpoints / "checkpoint-1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "COMPLETE").write_text(mark and json.dumps({"of": mark, "seconds": 1.0}))
        with pytest.raises(SettingError, match=rf"written by another training \(.*{problem}"):
            ours.check_checkpoint(one)
    (folder / "COMPLETE").write_text(json.dumps({"of": one, "seconds": 1.0}))
    ours.check_checkpoint(one)
