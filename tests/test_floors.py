"""The staircase: a module imports from lower floors or from its own room, never up; and nobody outside methods/ knows a method.

docs/design.md says what each room is for. Imports inside functions and under TYPE_CHECKING count like any other.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {"claims", "errors", "files", "hints", "interrupts", "processes"},
    {"streams"},
    {"chat", "scorer", "models", "cell"},
    {"methods", "engines", "metrics"},
    {"tasks", "tiny"},
    {"data"},
    {"report", "tracking"},
    {"training", "importing", "submit"},
    {"evaluation"},
    {"stages"},
    {"benches"},
    {"config", "composition", "callbacks", "plugins", "run"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# a room beside, on the same floor: what stands left may import what stands right
BESIDE = {
    ("engines", "models"),
    ("files", "errors"),
    ("claims", "errors"),
    ("errors", "hints"),
    ("run", "config"),
    ("run", "composition"),
    ("composition", "config"),
    ("run", "callbacks"),
    ("plugins", "config"),
}
BESIDE |= {("tracking", "report"), ("tasks", "tiny"), ("callbacks", "config"), ("plugins", "callbacks")}
LINE = [
    "types",
    "engine",
    "frames",
    "appending",
    "store",
    "memory",
    "accept",
    "presence",
    "claims",
    "scores",
    "upkeep",
    "reading",
    "scoring",
    "shared",
    "running",
    "scheduler",
]  # of streams, from below
PORT = ("engines", "streams")  # engines see of streams their port and the types, nothing else

MODULES = [ROOT / "run.py", *sorted((ROOT / "s1x").rglob("*.py"))]
METHODS = {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")} - {"none"}


def imports(path: Path) -> list[str]:
    """All modules of ours that a file imports, as dotted paths below s1x."""
    package = path.relative_to(ROOT).with_suffix("").parts
    here = list(package[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
            found += [f"{module}.{alias.name}" for alias in node.names]
    return [name.removeprefix("s1x.") for name in found if name.startswith("s1x.")]


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "s1x" and len(parts) > 1 else parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    own = room(path)
    if own == "__init__":
        return
    up = []
    for name in imports(path):
        other = name.split(".")[0]
        assert own in FLOOR, f"{own}: which floor?"
        if other not in FLOOR or other == own:
            continue
        if FLOOR[other] > FLOOR[own] or (FLOOR[other] == FLOOR[own] and (own, other) not in BESIDE):
            up.append(name)
    assert not up, f"{own} imports {up}"


def test_streams_stand_in_a_line():
    for path in sorted((ROOT / "s1x" / "streams").glob("*.py")):
        if path.stem == "__init__":
            continue
        for name in (name for name in imports(path) if name.startswith("streams.")):
            other = name.split(".")[1]
            assert LINE.index(other) < LINE.index(path.stem), f"streams/{path.stem} imports {other}"


def test_engines_see_only_the_port_and_methods_see_no_engine_and_no_file():
    for path in MODULES:
        own, names = room(path), imports(path)
        if own == "engines":
            allowed = ("streams.engine", "streams.types", "engines", "models", "files", "errors")
            assert [n for n in names if not n.startswith(allowed)] == [], path
        if own == "methods":
            assert [n for n in names if not n.startswith(("streams.types", "methods", "chat.", "scorer."))] == [], path
            assert not re.search(r"\bopen\(|\bPath\(|import os\b", path.read_text(encoding="utf-8")), path
        if own == "report":
            assert not [n for n in names if n.startswith(("models", "engines", "streams", "methods"))], path


def test_a_method_imports_the_contract_and_what_methods_share_and_nothing_else():
    shared = {"base", "checks", "pools", "search", "turns"}
    inside = {"dvts": {"beam_search"}}  # which is a beam search in each of several trees
    for path in sorted((ROOT / "s1x" / "methods").glob("*.py")):
        if path.stem in {"__init__", "facts"} | shared:
            continue
        allowed = {"streams.types"} | {f"methods.{name}" for name in shared | inside.get(path.stem, set())}
        assert {name.rpartition(".")[0] for name in imports(path)} <= allowed, path.stem
    assert METHODS - shared  # there are some


def test_nobody_outside_methods_names_a_method():
    """No string, identifier or import equals a method's name (`none`, which is also a word, excepted)."""
    told = []
    for path in MODULES:
        if room(path) == "methods":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            words = [getattr(node, key) for key in ("id", "attr", "name", "arg", "module", "value") if hasattr(node, key)]
            words = [w for w in words if isinstance(w, str)]
            told += [(path.name, node.lineno, w) for w in words if set(w.split(".")) & METHODS]
    for path in sorted(path for ending in ("jinja", "js") for path in (ROOT / "s1x").rglob(f"*.{ending}")):
        words = set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
        told += [(path.name, 0, word) for word in words & METHODS]
    assert told == []


def test_every_room_stands_on_a_floor():
    rooms = {room(path) for path in MODULES} - {"__init__"}
    assert rooms == set(FLOOR) & rooms and rooms <= set(FLOOR)
