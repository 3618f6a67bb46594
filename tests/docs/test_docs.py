"""The guides and the README, done as they stand: files are written, commands typed, and what they print compared.

Each page gets a copy of the repository, so that its files lie where it says and nothing is left behind.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..test_floors import FLOORS
from . import pages
from .pages import PAGES, ROOT, Command, File, steps

GUIDES = ("README.md", "docs/method.md", "docs/task.md", "docs/model.md", "docs/scorer.md", "docs/engine.md", "docs/import.md")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for all pages: what one of them generated, the next one finds."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def checkout(tmp_path, store):
    """A copy of what the commands need, whose own settings keep tokens in `store` and send nothing to W&B."""
    for name in ("conf", "s1x"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "local.yaml"))
    for name in ("run.py", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".s1x").mkdir()
    (tmp_path / ".s1x" / "store").symlink_to(store)
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize("page", GUIDES)
def test_a_guide_done_as_it_stands(page, checkout):
    done = list(steps(ROOT / page))
    assert any(isinstance(step, Command) for step in done) and any(isinstance(step, File) for step in done)
    for step in done:
        if isinstance(step, File):
            file = checkout / step.name
            assert not file.exists(), f"{page} would overwrite {step.name}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(step.text, encoding="utf-8")
        else:
            _type(step, checkout)


def _type(step: Command, folder: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "WANDB_MODE": "disabled",
        "COLUMNS": "200",
    }
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step.line], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    printed = f"$ {step.line}\n{ran.stdout}{ran.stderr}"
    assert ran.returncode == 0, printed
    missing = pages.missing(step.prints, ran.stdout + ran.stderr)
    assert missing is None, f"not printed: {missing}\n{printed}"


def test_every_guide_is_done():
    """A new page with a file or a command in it must be among the guides."""
    assert {str(p.relative_to(ROOT)) for p in PAGES if any(steps(p))} == set(GUIDES)


@pytest.mark.parametrize("page", [str(p.relative_to(ROOT)) for p in PAGES])
def test_links_lead_somewhere(page):
    for link in pages.links(ROOT / page):
        assert (ROOT / page).parent.joinpath(link).exists(), link


def _commands() -> list[str]:
    """Those of the README that tests/experiments does not plan already, and that are typed nowhere here."""
    blocks = {step.line for step in steps(ROOT / "README.md") if isinstance(step, Command)}
    plain = re.compile(r"python run\.py \+experiment=\w+( scale=paper| train\.seed=\S+| plan=true)?$|.*(--help|report\.of)")
    return sorted({c for c in pages.commands(ROOT / "README.md") if c not in blocks and not plain.match(c)})


@pytest.mark.parametrize("line", _commands())
def test_every_command_of_the_readme_is_accepted(line, command):
    """It composes, is valid, and can say what it would do."""
    status, said = command(*shlex.split(line)[2:], "plan=true", "tracking=none")
    assert status == 0, said


def test_the_floors_are_those_that_are_held():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs/design.md").read_text(encoding="utf-8"), re.MULTILINE)
    rooms = [{word.removesuffix(".py") for word in re.findall(r"`([\w.]+)`", text)} for _, text in rows]
    assert [int(number) for number, _ in rows] == list(range(len(FLOORS), 0, -1))
    assert rooms == FLOORS[::-1]


def test_expected_output_that_is_not_there_is_noticed():
    assert pages.missing(("a ... c", "d"), "x a  b\nc d") is None
    assert pages.missing(("d", "a"), "a d") == "a"
    assert pages.missing(("1.0 B",), "1x0 B") == "1.0 B"
