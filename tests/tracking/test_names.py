"""Names that W&B would refuse are mended; settings that it would refuse are said before anything starts."""

import re
from contextlib import suppress

import pytest

from s1x.errors import SettingError
from s1x.tracking import names
from s1x.tracking.settings import Tracking, check_tracking


@pytest.mark.parametrize("name", ["a:b", "a/b#c", "x" * 200, "\n", "tiny\x1b[31m", "50%?", "ü 1", ""])
def test_names_become_what_wandb_takes(name):
    from wandb.sdk.artifacts._validators import validate_artifact_name, validate_project_name

    validate_project_name(names.clean(name))
    validate_artifact_name(names.artifact(name))
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", names.artifact(name)) and names.clean(name).strip()


ODD = [*map(chr, range(256)), "a,b", " a;b ", "x" * 200, "ü" * 64, "\ud800", "\u2028", "a b", "wandb-registry-"]


def test_the_installed_wandb_takes_whatever_becomes_of_a_name():
    """Ids, names, groups and tags; of projects and entities those that are no sentence."""
    from wandb import Settings

    for name in [name for odd in ODD for name in (odd, f"a{odd}b")]:
        own = {"run_id": names.run_id(name), "run_name": names.clean(name), "run_group": names.clean(name)}
        Settings(**own, run_tags=names.tags([name]))
        assert names.run_id(f"{own['run_id']}-offline") != own["run_id"] and len(own["run_id"]) <= 64, name
        for key in ("project", "entity"):
            with suppress(SettingError):
                check_tracking(vars(Tracking()) | {key: name})
                Settings(**{key: name})


def test_ids_of_long_names_that_differ_stay_different():
    assert names.run_id("x" * 70 + "a") != names.run_id("x" * 70 + "b") and names.run_id("s1-mine_1.5") == "s1-mine_1.5"


def test_long_names_that_differ_stay_different():
    assert names.clean("x" * 200 + "a") != names.clean("x" * 200 + "b")
    assert names.clean("plain name") == "plain name"


def test_tags_are_short_and_each_is_there_once():
    assert names.tags(["a", "", " ", "a", 7]) == ["a", "7"]
    assert [len(tag) for tag in names.tags(["y" * 65])] == [64]


def test_a_metrics_name_has_no_dot():
    assert names.metric("majority(n=4.5)/x") == "majority_n_4_5_x"


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"project": "team/s1x"}, "tracking.project=team/s1x: must be up to 128 characters, none of / \\ # ? % :; the team"),
        ({"project": " "}, "tracking.project= : must be"),
        ({"project": "x" * 129}, "must be up to 128 characters"),
        ({"entity": "a?b"}, "tracking.entity=a?b: must be"),
        ({"samples": -1}, "tracking.samples=-1: must be a whole number, 0 (none) or more"),
        ({"patience": 0}, "tracking.patience=0: must be more than 0 seconds"),
        ({"mode": "loud"}, "tracking.mode=loud: must be one of auto, online, offline, disabled"),
    ],
)
def test_settings_that_will_not_do_are_one_sentence(setting, sentence):
    with pytest.raises(SettingError) as caught:
        check_tracking(vars(Tracking()) | setting)
    assert sentence in str(caught.value)
    check_tracking(vars(Tracking()))
