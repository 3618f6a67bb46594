from __future__ import annotations

import pytest

from s1x.models.facts import model_facts
from s1x.training import watch
from s1x.training.trained import Training

from .conftest import BASE


@pytest.fixture
def rows(composed, tmp_path, monkeypatch):
    """Passes two steps of 1,000 tokens, two seconds apart, to a watch of two devices; what is logged of them."""

    def log(*overrides: str, peak: float | None = None) -> list[dict]:
        monkeypatch.setattr(watch, "peak_flops", lambda: peak)
        cfg = composed("train=tiny", "data=tiny_s1k", "tracking=none", *overrides)
        logged: list[dict] = []
        with watch.Watch(cfg, tmp_path, Training({}, tmp_path), model_facts(str(BASE)), devices=2) as watching:
            watching.track.log = logged.append
            for step in (1, 2):
                watching({"step": step, "steps": 2, "loss": 1.0, "num_tokens": 1000 * step, "time": 2.0 * step})
        return logged

    return log


def test_speed_is_that_of_the_last_step(rows):
    first, second = rows()
    assert "tokens_per_second" not in first and second["tokens_per_second"] == 500
    assert "time" not in second and "mfu" not in second


def test_utilization_counts_six_operations_per_weight_and_four_under_lora(rows):
    n = 854_144  # tied embeddings: all of them
    assert rows(peak=1e9)[1]["mfu"] == pytest.approx(500 * 6 * n / 2e9)
    lora = "train.lora={r: 4, alpha: 8, dropout: 0.0}"
    assert rows(lora, peak=1e9)[1]["mfu"] == pytest.approx(500 * 4 * n / 2e9)
    untied = model_facts(str(BASE)) | {"tied_embeddings": False}
    assert watch.multiplied(untied) == n - 512 * 128
