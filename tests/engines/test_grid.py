"""Two models in one grid on vLLM: one engine after the other, each started once for all its cells."""

from __future__ import annotations

import json
import logging
import threading

import pytest

psutil = pytest.importorskip("psutil")
pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = pytest.mark.vllm

GRID = [
    "-m", "model=tiny_s1,tiny_base", "method.max_thinking_tokens=16,32", "task.limit=4",
    "engine=vllm", "engine.max_num_seqs=16", "engine.kv_cache_gib=0.25",
    "tracking=none", "store.dir=store", "hydra.sweep.dir=sweep",
]  # fmt: skip


@pytest.fixture(autouse=True)
def logging_as_before():
    """Hydra points the root logger at a stream that ends with the test."""
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers


class Watch(threading.Thread):
    """Engine processes among the children of this one: all that were seen, and the most at any one time."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen: set[int] = set()
        self.most, self._end = 0, threading.Event()

    def alive(self) -> set[int]:
        pids = set()
        for child in psutil.Process().children():  # direct ones: what an engine process forks has its name for a moment
            try:
                if "EngineCore" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                    pids.add(child.pid)
            except psutil.NoSuchProcess:
                pass
        return pids

    def run(self):
        while not self._end.wait(0.05):
            now = self.alive()
            self.seen |= now
            self.most = max(self.most, len(now))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self.join()


@pytest.mark.parametrize(("own_process", "processes"), [pytest.param("true", 2, marks=pytest.mark.slow), ("false", 0)])
def test_models_of_a_grid_follow_each_other_and_leave_nothing_behind(command, tmp_path, own_process, processes):
    with Watch() as watch:
        status, said = command(*GRID, f"engine.own_process={own_process}")
    assert status == 0, said
    assert len(watch.seen) == processes and watch.most == min(processes, 1) and not watch.alive()
    run = json.loads((tmp_path / "sweep" / "run.json").read_text())
    assert run["engine_starts"] == 2 and run["decode_tokens"] > 0
    cells = [json.loads((tmp_path / "sweep" / str(job) / "cell.json").read_text()) for job in range(4)]
    assert {cell["model"] for cell in cells} == {"tiny-s1", "tiny-base"} and all(cell["n_questions"] == 4 for cell in cells)
