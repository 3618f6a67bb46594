from __future__ import annotations

import pytest

from s1x.errors import SettingError


def test_s1_trains_315_steps_with_16_of_warmup(settings):
    s = settings()
    assert (s.steps(1000), s.warmup_steps(1000)) == (315, 16)  # paper, appendix D
    assert s.learning_rate == 1e-5 and s.betas == (0.9, 0.95) and s.weight_decay == 1e-4 and s.epochs == 5


def test_the_weighting_is_part_of_what_the_weights_depend_on(settings):
    assert settings().result()["loss_weighting"] == "sequence"  # s1's
    assert settings(loss_weighting="token").result()["loss_weighting"] == "token"


@pytest.mark.parametrize(("devices", "at_once", "passes"), [(1, 1, 16), (8, 1, 2), (16, 1, 1), (2, 4, 2), (8, 2, 1)])
def test_the_batch_is_kept_whatever_the_number_of_devices(settings, devices, at_once, passes):
    assert settings(device_batch_size=at_once).accumulation(devices) == passes


def test_an_impossible_batch_says_what_would_do(settings):
    sentence = r"global_batch_size=16 is no multiple of 2 devices x train.device_batch_size=3; .*=1 or 2 or 4 or 8"
    with pytest.raises(SettingError, match=sentence):
        settings(device_batch_size=3).accumulation(2)
    with pytest.raises(SettingError, match="multiple of 6"):
        settings().accumulation(6)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("loss_weighting", "tokens"),
        ("loss_weighting", None),
        ("warmup", 1),
        ("betas", [0.9]),
        ("betas", [0.9, 1.0]),
        ("weight_decay", -1),
        ("max_length", 0),
        ("precision", "fp16"),
        ("seed", -1),
        ("seed", True),
        ("lora", {"r": 8}),
        ("lora", {"r": 0, "alpha": 1, "dropout": 0}),
        ("attention", "flash"),
        ("save_every", 0),
        ("name", "a/b"),
    ],
)
def test_values_that_cannot_be_are_sentences(settings, key, value):
    with pytest.raises(SettingError, match=rf"train\.{key}=.*must be"):
        settings(**{key: value})


def test_an_unknown_or_missing_setting_is_named(settings):
    with pytest.raises(SettingError, match="train.batch: no such setting"):
        settings(batch=16)


def test_precision_follows_the_device(settings):
    assert settings(on_gpu=True).precision == "bf16" and settings(on_gpu=False).precision == "fp32"
