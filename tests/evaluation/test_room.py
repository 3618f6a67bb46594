"""plan=true: how many streams fit, how fast that decodes, what it costs; no model, no GPU, no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from s1x.cell import Cell
from s1x.errors import SettingError
from s1x.evaluation import plan, room
from s1x.evaluation.forecast import forecast

GPU = {"devices": 8, "device_gib": 79, "gb_per_second": 2000, "tflops": 300, "step_ms": 4}


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(room, "cuda_devices", lambda: 0)


def cell(cfg) -> Cell:
    return Cell(cfg, Path(), Path())


def test_speed_by_hand():
    """Ten streams of 2,000 tokens, half written: 20 GB of weights and 10 x 1,000 x 1 MB of keys and values, over two devices
    that read 2 TB a second, are 7.5 ms, and 4 ms besides."""
    one = room.Room("", True, streams=10, devices=2, mean=2000, weights=20e9, kv_token=1e6, parameters=10e9)
    assert one.rate(GPU, streams=50) == pytest.approx(10 / 0.0115)
    assert one.rate(GPU, streams=1) == pytest.approx(1 / (0.004 + (20e9 + 1e9) / 4e12))
    # a thousand streams of a small model multiply longer than they read: 2 x 10 billion x 1,000 operations
    many = room.Room("", True, streams=1000, devices=2, mean=2, weights=20e9, kv_token=1e3, parameters=10e9)
    assert many.rate(GPU, streams=5000) == pytest.approx(1000 / (0.004 + 2e13 / 6e14))
    assert one.rate(GPU | {"tokens_per_second": 123}, 50) == 123  # what is set is taken
    assert one.scored(GPU) == pytest.approx(2 * 300e12 / 2e10) and one.scored({"scored_per_second": 7}) == 7


def test_two_copies_read_their_weights_twice():
    one = room.Room("", True, streams=10, devices=1, mean=2, weights=20e9, kv_token=0, parameters=1e9)
    two = room.Room("", True, streams=20, devices=2, mean=2, weights=20e9, kv_token=0, parameters=1e9, replicas=2)
    assert two.rate(GPU, 20) == pytest.approx(2 * one.rate(GPU, 10))


@pytest.mark.long
def test_known_speeds_come_out(composed):
    tiny = plan.rooms_of(composed()).policy
    assert tiny.rate(plan._plain(composed().scale.plan), 1000) == pytest.approx(3000, rel=0.1)  # measured on two CPU cores
    scale = composed("scale=paper", "model=qwen3-32b", "scale.plan.devices=1", "engine.max_model_len=8192")
    alone = plan.rooms_of(scale).policy
    # Qwen3-32B on one H100, ShareGPT: 1,175 tokens a second written, of chats of some 500 tokens, and as many read, which takes
    # 2 x 32.8 billion operations each: a quarter of the time
    short = room.room(plan._plain(scale.engine), plan._plain(scale.model), 500, plan._plain(scale.scale.plan))
    assert alone.streams < short.streams and short.rate(plan._plain(scale.scale.plan), 1000) == pytest.approx(
        1175 / 0.75, rel=0.15
    )


def test_another_model_on_the_laptop_does_not_have_the_tiny_ones_hours(composed, monkeypatch):
    monkeypatch.setattr(room, "device_memory", lambda: 24 * 2.0**30)
    large, small = composed("model=qwen3-8b"), composed("model=qwen3-0.6b")
    at, no = plan.rooms_of(small).policy, plan.rooms_of(large).policy
    assert no.fits is False and "does not fit in this machine of 24 GiB" in no.said and no.rate(GPU, 9) is None
    assert at.fits and at.rate(plan._plain(small.scale.plan), 64) < 100  # 2 x 0.6 billion x 64 operations a step
    (group,) = plan.groups([plan.Row(cell(large), 1, 1000, 1, 1000)])
    assert group.seconds(1000) is None and group.device_seconds is None


@pytest.mark.long
def test_a_server_is_as_fast_as_it_is_said_to_be(composed):
    unknown = plan.rooms_of(composed("engine=server")).policy
    assert unknown.fits is None and "scale.plan.tokens_per_second" in unknown.said
    there = plan.rooms_of(composed("engine=server", "scale=paper", "engine=server")).policy
    assert there.fits and there.devices == 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("overrides", "thinks"),
    [
        (("method=none",), True),
        (("method=none", "chat.arguments.enable_thinking=true"), True),
        (("method=none", "chat.arguments.enable_thinking=false"), False),
        (("method=none", "model=nemotron-nano-9b-v2", "chat.system=/no_think"), False),
        (("method=none", "model=seed-oss-36b", "chat.arguments.thinking_budget=0"), False),
        (("method=no_thinking",), False),
    ],
)
def test_thinking_that_is_switched_off_is_not_priced(composed, overrides, thinks):
    cfg = composed("model=qwen3-8b", "scale=paper", "task.limit=3", *overrides)
    tokens = sum(forecast(cell(cfg)).values()) / 3
    assert (tokens > 4000) == thinks and (thinks or tokens == pytest.approx(700, abs=5))


@pytest.mark.long
def test_a_method_that_has_nothing_to_read_is_a_sentence(composed):
    cfg = composed("model=qwen3-8b", "scale=paper", "chat.arguments.enable_thinking=false")
    with pytest.raises(SettingError, match="ends the thinking in the prompt .* method=none answers at once"):
        forecast(cell(cfg))


@pytest.mark.long
def test_a_price_is_shown_where_it_is_set(composed):
    cfg = composed("scale=paper", "scale.plan.price_per_hour=2.5", "scale.plan.tokens_per_second=1000")
    rows = [plan.Row(cell(cfg), 30, 3_600_000, 30, 3_600_000)]
    lines = plan.totals(rows, plan.groups(rows), cfg.scale.plan)
    assert "Price: 2.0 device hours, 5.00 at 2.5 an hour (scale.plan.price_per_hour)." in lines  # an hour of two devices
    free = plan.totals(rows, plan.groups(rows), composed("scale=paper").scale.plan)
    assert not any("rice" in line for line in free)
