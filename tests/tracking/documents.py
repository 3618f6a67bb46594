"""The GraphQL documents that the installed wandb and wandb-workspaces can send: what a stand-in may answer, and nothing else.

Python's are string constants of their sources, those of wandb-core stand in its binary as they are sent.
"""

from __future__ import annotations

import ast
import mmap
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

STARTS = re.compile(r"\b(?:query|mutation|fragment)\s+\w+")


def known(document: str) -> bool:
    """Whether a document is one that the packages hold: whole in the binary, or each definition of it in a Python source."""
    return _in_core(document) or all(part in _of_python() for part in definitions(document))


def definitions(document: str) -> list[str]:
    """The operation and fragments of a document, white space as one space."""
    found, depth, begun = [], 0, 0
    for at, sign in enumerate(document):
        depth += (sign == "{") - (sign == "}")
        if sign == "}" and depth == 0:
            found.append(" ".join(document[begun : at + 1].split()))
            begun = at + 1
    return found


@cache
def _in_core(document: str) -> bool:
    path = _package("wandb") / "bin" / "wandb-core"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(document.strip().encode()) >= 0


@cache
def _of_python() -> frozenset[str]:
    return frozenset(part for name in ("wandb", "wandb_workspaces") if find_spec(name) for part in _constants(_package(name)))


def _constants(package: Path) -> Iterator[str]:
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if STARTS.search(text):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and STARTS.search(node.value):
                    yield from definitions(node.value)


def _package(name: str) -> Path:
    return Path(find_spec(name).origin).parent
