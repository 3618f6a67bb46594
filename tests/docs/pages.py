"""Pages as data: the blocks of a guide that are files, and those that are commands with what they print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/**/*.md"), *ROOT.glob("s1x/**/*.md")])
_BLOCK = re.compile(r"^```(\w*) *(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"# ([\w.-]+(?:/[\w.-]+)*\.\w+)\n")
_COMMAND = re.compile(r"python run\.py(?: [^`#\n|]*)?")


@dataclass(frozen=True)
class File:
    """To be written as `name`: a block with a file's name after the language, or in a comment on its first line."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """To be typed: a line `$ ...` of a `console` block, and the lines below it, which its output must hold in this order."""

    line: str
    prints: tuple[str, ...]


def steps(page: Path) -> Iterator[File | Command]:
    """What a reader of the page does, from top to bottom. Other blocks are for reading."""
    for language, name, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, *prints = part.splitlines()
                yield Command(line, tuple(filter(str.strip, prints)))
        elif name or (first := _NAME.match(text)):
            yield File(name or first[1], text)


def missing(prints: tuple[str, ...], output: str) -> str | None:
    """The first line that the output does not hold, in order; spaces count as one, `...` is anything."""
    left = " ".join(output.split())
    for line in prints:
        found = re.search(".*?".join(re.escape(" ".join(part.split())) for part in line.split("...")), left)
        if found is None:
            return line
        left = left[found.end() :]
    return None


def commands(page: Path) -> list[str]:
    """Every `python run.py ...` that a page mentions, wherever it stands."""
    return [found.strip() for found in _COMMAND.findall(page.read_text(encoding="utf-8"))]


def links(page: Path) -> list[str]:
    """Every relative link of a page, without the part after #."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return [link.partition("#")[0] for link in found if not re.match(r"\w+:|#", link)]
