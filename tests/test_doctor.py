"""stage=doctor: one line for each thing that a command needs, and exit status 1 where something would stop it."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path

import pytest

from s1x.files import PACKAGE

from .engines.loopback import Loopback

pytestmark = pytest.mark.long
TINY = PACKAGE / "tiny" / "models" / "tiny-s1"
OFF = ("stage=doctor", "tracking=none")


def lines(out: str) -> dict[str, list[tuple[str, str]]]:
    """{check: [(state, sentence), ...]} of what was printed."""
    found: dict[str, list[tuple[str, str]]] = {}
    check = None
    for line in out.splitlines()[1:]:
        if match := re.match(r"(\S+) +(ok|note|problem) +(.*)", line):
            check = match[1]
            found.setdefault(check, []).append((match[2], match[3].strip()))
        elif check and line.strip():
            state, text = found[check][-1]
            found[check][-1] = (state, f"{text} {line.strip()}")
    return found


def problems(found: dict[str, list[tuple[str, str]]]) -> dict[str, str]:
    return {check: text for check, told in found.items() for state, text in told if state == "problem"}


def test_a_sound_sweep_has_no_problem_and_leaves_nothing(command, tmp_path):
    assert command("+experiment=budget_sweep", *OFF) == (0, "")
    found = lines(command.out)
    assert list(found) == ["settings", "model", "chat", "stops", "task", "memory", "extras", "engine", "store", "W&B"]
    assert not problems(found) and list(tmp_path.iterdir()) == []
    assert found["settings"] == [("ok", "12 cells of budget_sweep")]
    assert found["model"][0][1] == "tiny-s1: 854,144 parameters, one file of 3.4 MB, all there"
    assert "opens '<|im_start|>think'" in found["chat"][0][1] and "a turn ends at '<|im_end|>'" in found["stops"][0][1]
    assert found["task"] == [("ok", "tiny_math: 320 questions, exact_match of the filter answer")]
    assert max(map(len, command.out.splitlines())) <= 80


def test_the_papers_command_on_a_laptop_says_what_is_missing(command, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status, said = command("+experiment=budget_sweep", "scale=paper", *OFF)
    assert status == 1 and re.fullmatch(r"\d of \d+ would stop it.\n", said)
    found = problems(lines(command.out))
    assert {"model", "task", "memory"} <= found.keys()
    assert "hf download" in found["model"] and "which has no GPU" in found["memory"] and "task.file=" in found["task"]
    assert list(tmp_path.iterdir()) == []


def broken(folder: Path) -> Path:
    shutil.copytree(TINY, folder)
    return folder


def cut(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("token*"):
        file.unlink()


def other_ends(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 3}))


@pytest.mark.parametrize(
    ("damage", "typed", "check", "said"),
    [
        (cut, (), "model", "cut short"),
        (without_tokenizer, (), "chat", "'<|im_start|>' is 0 tokens for this model's tokenizer"),
        (None, ("task.file=nope.jsonl",), "task", "task.file=nope.jsonl: there is no such file"),
        (None, ("engine=server", "engine.urls=http://127.0.0.1:9"), "engine", "is it up?"),
        (None, ("store.dir=/proc/x",), "store", "store.dir=/proc/x"),
        (None, ("model.path=./nowhere",), "model", "model.path=./nowhere does not exist"),
        (None, ("stage=[train,evaluate]", "data=tiny_s1k", "train=tiny", "model=tiny_base"), None, "doctor"),
    ],
    ids=["cut", "tokenizer", "task", "server", "store", "model", "several stages"],
)
def test_what_would_stop_a_sweep_is_named(command, tmp_path, monkeypatch, damage, typed, check, said):
    if check is None:
        assert command(*typed, "plan=doctor", "tracking=none")[0] in (0, 1)
        assert "training" in lines(command.out)
        return
    monkeypatch.setattr("s1x.engines.probing.time.sleep", lambda seconds: None)
    if damage:
        damage(broken(tmp_path / "model"))
        typed = (f"model.path={tmp_path / 'model'}", *typed)
    status, _ = command(*typed, *OFF)
    assert status == 1
    assert said in problems(lines(command.out))[check]


def test_ends_that_differ_are_noted(command, tmp_path):
    other_ends(broken(tmp_path / "model"))
    assert command(f"model.path={tmp_path / 'model'}", *OFF)[0] == 0
    ((state, said),) = lines(command.out)["stops"]
    assert state == "note" and "both count" in said


def test_a_wrong_setting_is_a_problem_beside_the_others(command):
    status, _ = command("-m", "method.max_thinking_tokens=64,99999", "task.limit=5", *OFF)
    assert status == 1
    found = lines(command.out)
    assert "method.max_thinking_tokens=99999" in found["settings"][0][1] and found["task"][0][0] == "ok"


def test_a_server_that_answers(command):
    with Loopback("mine", {"vocab": 400, "context_length": 2048}) as server:
        status, _ = command("engine=server", f"engine.urls={server.url}", "engine.model_id=mine", *OFF)
    ((state, said),) = lines(command.out)["engine"]
    assert (status, state) == (0, "ok") and f"{server.url} answers, vLLM 0.32, scores labels" in said


def test_a_server_that_says_nothing_is_not_waited_for(command, monkeypatch):
    monkeypatch.setattr("s1x.evaluation.checkup.PATIENCE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        status, _ = command("engine=server", f"engine.urls={url}", *OFF)
    assert status == 1 and "does not answer within 1 s" in problems(lines(command.out))["engine"]


def test_settings_of_wandbs_own_that_are_wrong_are_a_problem_and_no_crash(composed, monkeypatch):
    from s1x.evaluation import checkup

    monkeypatch.setattr(checkup, "mode_of", lambda _: [][1])  # as with WANDB_MODE=wrong
    found = checkup.wandb(composed())
    assert found == checkup.Found("W&B", checkup.PROBLEM, "list index out of range; nothing will be tracked")
