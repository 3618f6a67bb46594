"""Submitting without a cluster: what each task is told, who gets which question, what signals do, and the status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
from omegaconf import OmegaConf

from s1x.cell import telling
from s1x.errors import SettingError
from s1x.evaluation.share import share_out
from s1x.files import python_path
from s1x.processes import birth, here
from s1x.submit import submission
from s1x.submit.command import ended, is_ours
from s1x.submit.settings import check
from s1x.submit.submission import slurm_parameters
from s1x.submit.tasks import tasks

from .records import recorded, status_of

SHARDS = ("submit=slurm", "submit.shards=2")


def question(text):
    return SimpleNamespace(doc_id=hash(text), text=text)


def cell(chat, task):
    return SimpleNamespace(chat=chat, task=task, questions=task.questions)


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 40])
def test_shards_part_the_questions_by_prompt_whatever_the_cell(shards):
    """Each question is in one shard, the same for all cells that ask it so, and shards are as even as can be."""
    one, other = (SimpleNamespace(prompt=lambda text, n=n: SimpleNamespace(ids=(n, *map(ord, text)))) for n in (1, 2))
    long = SimpleNamespace(questions=[question(f"question {n}") for n in range(30)])
    short = SimpleNamespace(questions=[question(f"question {n}") for n in range(10)])
    seen = []
    for shard in range(shards):
        cells = [cell(one, long), cell(one, long), cell(one, short), cell(other, long)]
        share_out(cells, shard, shards)
        texts = [[question.text for question in c.questions] for c in cells]
        assert texts[0] == texts[1] and texts[2] == [t for t in texts[0] if t in {q.text for q in short.questions}]
        seen.append(texts)
    for n, whole in enumerate((long, long, short, long)):
        assert sorted(t for texts in seen for t in texts[n]) == sorted(q.text for q in whole.questions)
    sizes = [len(texts[0]) + len(texts[3]) for texts in seen]
    assert max(sizes) - min(sizes) <= 1


def jobs(composed, *overrides):
    return [(composed(*overrides), list(overrides))]


def test_a_sweep_is_shards_and_then_the_command_itself(composed, tmp_path):
    typed = ["-m", "+experiment=budget_sweep", "seed=0", *SHARDS, "hydra.sweep.dir=old", "--config-dir", "mine"]
    one, two, report = tasks(jobs(composed, "seed=0", *SHARDS), tmp_path, "hydra.sweep.dir", typed)
    kept = ("-m", "+experiment=budget_sweep", "seed=0", "--config-dir", "mine")
    assert report.arguments == (*kept, "submit=none", f"hydra.sweep.dir={tmp_path}")
    assert report.after == ("shard-0", "shard-1") and not report.needs
    own = ("submit=none", "submit.shards=2", "submit.shard=1", "tracking.mode=disabled")
    assert two.arguments == (*kept, *own, f"hydra.sweep.dir={tmp_path / 'submit' / 'shard-1'}")
    assert telling(report.arguments) == [a for a in report.arguments if a != "submit=none"]  # no part of what a cell is called


def test_each_different_training_is_a_job_of_its_own_before_the_shards(composed, tmp_path):
    chosen = ["stage=[train,evaluate]", "data=tiny_s1k", "train=tiny", "model=tiny_base", *SHARDS]
    cfg, grid = composed(*chosen), []
    for seed, budget in ((0, 8), (0, 16), (1, 8), (1, 16)):
        values = {"train.seed": seed, "method.max_thinking_tokens": budget}
        grid.append((cfg.copy(), [*chosen, *(f"{key}={value}" for key, value in values.items())]))
        for key, value in values.items():
            OmegaConf.update(grid[-1][0], key, value)
    found = tasks(grid, tmp_path, "hydra.sweep.dir", ["-m", "train.seed=0,1"])
    assert [task.name for task in found] == ["train-0", "train-1", "shard-0", "shard-1", "report"]
    assert all(task.needs == ("train-0", "train-1") for task in found[2:])
    assert found[1].after == ("train-0",) and not found[1].needs
    arguments = found[1].arguments
    assert arguments[-3:] == ("hydra.mode=RUN", "stage=[train]", f"hydra.run.dir={tmp_path / 'submit' / 'train-1'}")
    assert "train.seed=1" in arguments and "submit=slurm" not in arguments and "-m" not in arguments
    alone = [(OmegaConf.merge(cfg, {"stage": "train"}), chosen)]
    assert [task.name for task in tasks(alone, tmp_path, "hydra.run.dir", [])] == ["train-0"]


def test_a_training_is_told_all_of_hydras_own_settings_that_are_not_of_a_sweep(composed, tmp_path):
    """In both modes: no job's overrides have them, and without a search path its model is not found."""
    kept = ["hydra.searchpath=[file:///home/me/conf]", "+hydra.job.env_set.HF_HOME=/big", "hydra/job_logging=none",
            "~hydra.callbacks.aggregate", "hydra.verbose=true", "hydra.output_subdir=null"]  # fmt: skip
    sweeps = ["-m", "hydra.mode=MULTIRUN", "hydra.sweeper.grids=[{seed: '1,2'}]", "hydra/sweeper=s1x", "hydra/launcher=s1x",
              "+hydra.launcher.n=1", "hydra.sweep.dir=old", "hydra.sweep.subdir=x", "hydra.run={dir: old}"]  # fmt: skip
    chosen = ["stage=[train,evaluate]", "data=tiny_s1k", "train=tiny", "model=tiny_base", "submit=slurm", "submit.shards=1"]
    typed = [*kept[:3], "--config-dir", "hydra/run", *sweeps, *chosen, *kept[3:], "~train.seed"]
    train, _ = tasks([(composed(*chosen), chosen)], tmp_path, "hydra.run.dir", typed)
    said = [*kept[:3], "--config-dir", "hydra/run", *kept[3:]]
    assert train.arguments[: 1 + len(said)] == ("submit=none", *said)
    assert train.arguments[1 + len(said) :] == (*chosen[:4], "hydra.mode=RUN", "stage=[train]", train.arguments[-1])


def test_what_slurm_is_asked_for(composed, tmp_path):
    typed = ["submit=slurm", "submit.shards=4", "submit.partition=h100", "submit.container=img", "submit.memory=64",
             "submit.train.nodes=2", "submit.train.gpus=8", "+submit.arguments.constraint=sxm"]  # fmt: skip
    cfg = composed(*typed, "stage=[train,evaluate]", "data=tiny_s1k", "train=tiny", "model=tiny_base", "distributed=zero3")
    own, found = OmegaConf.to_container(cfg.submit), tasks([(cfg, typed)], tmp_path, "hydra.run.dir", typed)
    train = slurm_parameters(own, found[:1], "run", {})
    assert (train["nodes"], train["gpus_per_node"], train["ntasks_per_node"], train["time"]) == (2, 8, 1, 24 * 60)
    assert "dependency" not in train and train["additional_parameters"] == {"requeue": True, "constraint": "sxm"}
    shards = slurm_parameters(own, found[1:5], "run", {"train-0": "7"})
    assert (shards["nodes"], shards["gpus_per_node"], shards["mem"], shards["partition"]) == (1, 1, "64GB", "h100")
    assert shards["dependency"] == "afterok:7" and shards["additional_parameters"]["kill-on-invalid-dep"] == "yes"
    assert shards["srun_args"] == ["--cpus-per-task=8", "--container-image=img"] and shards["array_parallelism"] == 4
    report = slurm_parameters(own, found[5:], "run", {"train-0": "7"} | {f"shard-{n}": f"8_{n}" for n in range(4)})
    assert report["dependency"] == "afterok:7,afterany:8"


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("1.5", "1536MB"),
        ("0.0001", "1MB"),
        ("1000000", "1000000GB"),
        ("2.0", "2GB"),
        ("1234567.5", "1264197120MB"),
        ("null", None),
    ],
)
def test_memory_is_a_whole_number_for_slurm(composed, tmp_path, typed, asked):
    cfg = composed("submit=slurm", f"submit.memory={typed}")
    own, (*_, report) = OmegaConf.to_container(cfg.submit), tasks([(cfg, [])], tmp_path, "hydra.run.dir", [])
    check(own, ["evaluate"], OmegaConf.to_container(cfg))
    assert slurm_parameters(own, [report], "run", {f"shard-{n}": f"8_{n}" for n in range(8)}).get("mem") == asked


WRONG = {
    "submit.shards=4": "submit.shards=4: submit=none does all of them here; add submit=slurm or submit=local",
    "submit=slurm submit.shards=0": "submit.shards=0: must be a whole number, 1 or more",
    "submit.shards=2 submit.shard=2": "submit.shard=2: must be 0 to 1",
    "submit=slurm submit.shard=1": "submit.shard=1: submit=slurm starts all shards",
    "submit=slurm submit.hours=0": "submit.hours=0: must be a number of hours",
    "submit=slurm stage=report": "stage=report: is done at once",
    "submit=slurm store.dir=null": "store.dir=null: shards hand over what they decoded in the store",
    "submit=slurm stage=train submit.train.nodes=2": "submit.train.nodes=2: distributed=none is for one process",
    "submit=slurm stage=train distributed=zero3 distributed.nodes=2": "distributed.nodes=2: submit=slurm decides",
    "submit.shard=0 submit.shards=2 stage=train": "submit.shard=0: shards are of an evaluation",
}


def test_wrong_settings_get_one_sentence_and_defaults_none(composed):
    groups = {
        name: OmegaConf.to_container(composed(f"submit={name}", "distributed=zero3")) for name in ("none", "local", "slurm")
    }
    for plain in groups.values():
        check(plain["submit"], ["evaluate"], plain)
    alone = OmegaConf.to_container(composed("submit=slurm"))["distributed"]
    for typed, sentence in WRONG.items():
        values = dict(word.split("=") for word in typed.split())
        plain = json.loads(json.dumps(groups[values.pop("submit", "none")]))
        plain["distributed"] = plain["distributed"] if values.pop("distributed", None) else alone
        stage = values.pop("stage", "evaluate")
        cfg = OmegaConf.from_dotlist([f"{key}={value}" for key, value in values.items()])
        plain = OmegaConf.to_container(OmegaConf.merge(plain, cfg), resolve=False)
        with pytest.raises(SettingError) as error:
            check(plain["submit"], [stage], plain)
        assert str(error.value).startswith(sentence) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["submit=local", "submit.shards=1,2"], "submit.shards=1,2: is one for the whole command"),
        (["submit=local,none"], "submit=local,none: is one"),
        (["submit=none,slurm", "submit.shards=2"], "submit=none,slurm: is one"),
        (["submit.shards=2", "submit.shard=0,1"], "submit.shard=0,1: is one"),
        (["submit=slurm", "submit.train.hours=1,2"], "submit.train.hours=1,2: is one"),
        (["plan=true,false"], "plan=true,false: is one"),
        (["hydra.sweeper.grids=[{plan:true,seed:1},{seed:2}]"], "plan=true,false: is one"),
        (["submit=local", "hydra.sweeper.grids=[{submit.gpus:'0,1'}]"], "submit.gpus=0,1: is one"),
    ],
)
def test_who_does_the_work_is_said_once_for_a_command(command, tmp_path, typed, said):
    status, printed = command("-m", "engine=scripted", "method.max_thinking_tokens=8", *typed)
    assert (status, printed.count("\n")) == (2, 1) and printed.startswith(said), printed
    assert not any(tmp_path.iterdir())


class Executor:
    """In place of submitit's, for processes of this machine: they are deaf for the first time that they are told to end, as its
    own are while they begin. The one of `fails` cannot be started."""

    started: list[subprocess.Popen] = []
    fails: str | None = None

    def __init__(self, folder):
        pass

    def update_parameters(self, **_):
        pass

    def submit(self, task):
        if task.place.endswith(f"/{self.fails}"):
            raise OSError(12, "Cannot allocate memory")
        program = "trap 'trap - TERM' TERM; touch \"$0\"; while :; do sleep 0.05; done"
        self.started.append(subprocess.Popen(["sh", "-c", program, f"{task.place}.there"]))
        until(lambda: os.path.exists(f"{task.place}.there"))
        return SimpleNamespace(job_id=str(self.started[-1].pid))


@pytest.fixture
def local(composed, tmp_path, monkeypatch):
    """Submits to this machine, which has one GPU."""
    module = ModuleType("submitit")
    module.__spec__, module.LocalExecutor = ModuleSpec("submitit", None), Executor
    monkeypatch.setitem(sys.modules, "submitit", module)
    monkeypatch.setattr(submission, "cuda_devices", lambda: 1)
    monkeypatch.setattr(submission, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(Executor, "started", [])
    monkeypatch.setattr(sys, "argv", ["run.py"])
    monkeypatch.setenv("PYTHONPATH", "")

    def call(*typed):
        (tmp_path / "submit").mkdir()
        submission.submit(jobs(composed, "submit=local", *typed), tmp_path, "hydra.run.dir")

    yield call
    for process in Executor.started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (("submit.shards=2", "submit.gpus=1"), "submit.shards=2: need 2 GPUs of this machine, which has 1"),
        (("submit.shards=1", "submit.gpus=2"), "submit.gpus=2: is more than the GPUs of this machine, which has 1"),
        (("submit.gpus=2", "stage=train"), "submit.gpus=2: is more than the GPUs of this machine, which has 1"),
    ],
)
def test_what_a_machine_cannot_do_is_said_before_its_first_task_begins(local, tmp_path, typed, sentence):
    with pytest.raises(SettingError) as error:
        local("stage=[train,evaluate]", "data=tiny_s1k", "train=tiny", "model=tiny_base", *typed)
    assert str(error.value) == sentence and not Executor.started and not list((tmp_path / "submit").iterdir())


@pytest.mark.parametrize("fails", ["shard-1", "report", "the record"])
def test_a_submission_that_fails_leaves_nobody_at_work(local, tmp_path, monkeypatch, fails):
    monkeypatch.setattr(Executor, "fails", fails)
    if fails == "the record":
        monkeypatch.setattr(submission, "write_text", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError if fails == "the record" else OSError):
        local("submit.shards=2", "submit.gpus=0")
    assert len(Executor.started) == (1 if fails == "shard-1" else 2)
    assert [process.wait(1) for process in Executor.started] == [-signal.SIGTERM] * len(Executor.started)
    submission.check_free(tmp_path, "hydra.run.dir")


CHILD = "trap 'echo saved > saved; exit 143' TERM; touch there; while :; do sleep 0.05; done"


@pytest.mark.parametrize("handled", ["pass on", "checkpoint"])
def test_a_task_ends_after_its_child_has_saved_and_without_a_result(handled, tmp_path):
    """SIGTERM to the task alone reaches the child; a checkpoint waits for the child's end, and is of the task as it was."""
    program = (
        "import signal, sys; from s1x.submit.command import Command\n"
        f"c = Command(['sh', '-c', {CHILD!r}], folder='.', place='task')\n"
        "def checkpoint(*_):\n    import pathlib; again = c.checkpoint().function\n"
        "    sys.exit(7 if pathlib.Path('saved').exists() and again == c and again is not c else 1)\n"
        "signal.signal(signal.SIGUSR2, checkpoint)\nc()\n"
    )
    if handled == "checkpoint":
        pytest.importorskip("submitit")
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": python_path()})
    until(lambda: (tmp_path / "there").exists())
    process.send_signal(signal.SIGTERM if handled == "pass on" else signal.SIGUSR2)
    assert process.wait(20) == (143 if handled == "pass on" else 7)
    assert (tmp_path / "saved").exists()
    said = json.loads((tmp_path / "task" / "task.json").read_text())
    assert said["state"] == "stopped" and said["birth"].startswith(f"{here()} ")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_a_task_that_is_killed_leaves_no_child_at_work(tmp_path):
    """It saves what it has, and the place counts as ended."""
    program = f"from s1x.submit.command import Command; Command(['sh', '-c', {CHILD!r}], folder='.', place='task')()"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": python_path()})
    until(lambda: (tmp_path / "there").exists())
    assert not ended(tmp_path / "task")
    process.kill()
    process.wait()
    until(lambda: (tmp_path / "saved").exists())
    assert ended(tmp_path / "task")


SMALL = ("engine=scripted", "method.max_thinking_tokens=8", "task.limit=1", "tracking=none", "store.dir=store")
UNDER_WAY = "hydra.run.dir=out: is under way already; wait until it ends, or kill {} first\n"


@pytest.mark.parametrize("host", [None, "another"])
def test_nobody_else_works_where_a_submission_is_under_way(command, tmp_path, gone, host):
    here = os.getpid()
    done, running = {"process": gone, "state": "done"}, {"process": here, "state": "running"}
    recorded(tmp_path / "out", {"shard-0": (gone, done), "shard-1": (here, running), "report": (gone, running)}, host)
    for typed in ((), ("submit=local", "submit.gpus=0"), ("submit.shards=2", "submit.shard=0"), ("seed=1",)):
        assert command(*SMALL, *typed, "hydra.run.dir=out") == (2, UNDER_WAY.format(f"{here} {gone if host else here}"))
    assert not (tmp_path / "out" / ".claim").exists()
    if host:  # which speaks no more
        for file in (tmp_path / "out").rglob("task.json"):
            os.utime(file, (1, 1))
        from s1x.submit.submission import check_free

        check_free(tmp_path / "out", "hydra.run.dir")


@pytest.mark.parametrize("place", [None, "host/an-earlier-start/pid:[1]"])
def test_a_number_that_a_stranger_has_now_is_nobody_at_work(tmp_path, capsys, place):
    """Days later, or after the machine was started again: nobody is told to kill a process that is not ours."""
    number, parent = os.getpid(), os.getppid()
    old = f"{place or here()} 1"  # a clock tick after the machine's start
    for said in (None, {"process": number, "state": "running", "birth": old}):
        recorded(tmp_path, {"report": (number, said)}, births={"report": old})
        submission.check_free(tmp_path, "hydra.run.dir")
        assert ended(tmp_path / "submit" / "report") == bool(said)
        assert "report  failed   job" in status_of(tmp_path, capsys)
    recorded(tmp_path, {"report": (number, {"process": parent, "state": "running", "birth": old})})
    assert not is_ours(tmp_path / "submit" / "report")
    for said in (None, {"process": number, "state": "running", "birth": birth(number)}):
        recorded(tmp_path, {"report": (number, said)}, births={"report": birth(number)})
        with pytest.raises(SettingError, match=f"is under way already; wait until it ends, or kill {number} first"):
            submission.check_free(tmp_path, "hydra.run.dir")
        assert "failed" not in status_of(tmp_path, capsys)
    recorded(tmp_path, {"report": (number, {"process": parent, "state": "running", "birth": birth(parent)})})
    assert is_ours(tmp_path / "submit" / "report")


def test_a_submission_says_which_process_each_task_is(local, tmp_path):
    local("submit.shards=2", "submit.gpus=0")
    record = json.loads((tmp_path / "submit" / "submit.json").read_text())
    births = {
        name: birth(process.pid) for name, process in zip(("shard-0", "shard-1", "report"), Executor.started, strict=True)
    }
    assert record["births"] == births


@pytest.mark.parametrize("report", [{"state": "running"}, {"state": "running", "restarts": 3}])
def test_a_task_of_a_submission_and_who_comes_after_it_work_there(command, tmp_path, gone, report):
    recorded(tmp_path / "out", {"shard-0": (os.getpid(), None), "report": (gone, report | {"process": os.getppid()})})
    assert command(*SMALL, "submit=none", "hydra.run.dir=out") == (0, "")  # the report, which a shard is still beside
    recorded(tmp_path / "out", {"shard-0": (gone, {"process": gone, "state": "running"}), "report": (gone, None)})
    assert command(*SMALL, "hydra.run.dir=out") == (0, "")  # a machine that was switched off


def until(there):
    end = time.monotonic() + 20
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)
