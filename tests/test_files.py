"""Files that are whole or not there."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from s1x.errors import SettingError
from s1x.files import beside, check_writable, checked_line, is_local, read_json, whole_lines, write_text

ROOT = Path(__file__).parents[1]


def test_a_block_that_ends_leaves_the_new_file_alone(tmp_path):
    file = tmp_path / "new" / "a.bin"
    with beside(file) as part:
        part.write_bytes(b"new")
        assert not file.exists() and part.parent == file.parent
    assert os.listdir(file.parent) == ["a.bin"] and file.read_bytes() == b"new"


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"), beside(file) as part:
        part.write_bytes(b"ne")
        raise RuntimeError("half way")
    assert os.listdir(tmp_path) == ["a.bin"] and file.read_bytes() == b"old"


def test_a_block_that_writes_nothing_says_so(tmp_path):
    with pytest.raises(FileNotFoundError), beside(tmp_path / "a.bin"):
        pass


def test_another_process_or_host_writes_elsewhere(tmp_path, monkeypatch):
    def part() -> str:
        with beside(tmp_path / "a") as path:
            path.touch()
        return path.name

    names = {part()}
    monkeypatch.setattr(os, "getpid", lambda: -1)
    names.add(part())
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "another-host", "", "", "")))
    assert len(names | {part()}) == 3


@pytest.mark.parametrize("text", ["Füße\n", "a\r\nb", "", "\N{SNOWMAN}"])
def test_text_is_kept_as_it_is(tmp_path, text):
    write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes() == text.encode("utf-8")


def test_only_one_place_renames_files_into_place():
    """Whatever is written beside its place goes through `files.beside`; the store's own files go their own way, since streams
    import nothing from outside."""
    calls = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "s1x").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("replace", "rename") and ast.unparse(node.value) == "os"
    }
    assert calls == {"s1x/files.py", "s1x/streams/upkeep.py"}


@pytest.mark.parametrize(
    "path, local",
    [("simplescaling/s1-32B", False), ("./model", True), ("~/model", True), ("/data/model", True), ("a/b/c", True)],
)
def test_what_is_a_folder_and_what_a_hub_id(path, local):
    assert is_local(path) is local


def test_a_folder_of_two_parts_that_exists_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_local("my/model")
    (tmp_path / "my" / "model").mkdir(parents=True)
    assert is_local("my/model")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    check_writable("store.dir", tmp_path / "new" / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="store.dir=.*file/below: .*file is not a directory; choose"):
        check_writable("store.dir", tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("/proc/x", "/proc cannot be written"),
        ("/sys/kernel/a/b", "/sys/kernel cannot be written"),
        ("/dev/null/store", "/dev/null is not a directory"),
        ("{tmp}/" + 300 * "n", "File name too long"),
        ("{tmp}/" + 130 * "\N{SNOWMAN}" + "/deeper", "File name too long"),
        ("{tmp}" + 900 * "/part", "File name too long"),
    ],
)
def test_places_that_cannot_be_written_are_one_sentence(tmp_path, place, says):
    with pytest.raises(SettingError) as error:
        check_writable("store.dir", place.format(tmp=tmp_path))
    assert str(error.value).startswith("store.dir=") and says in str(error.value) and len(str(error.value)) < 450
    assert not list(tmp_path.iterdir())


def test_a_place_that_can_be_written_stays_as_it_was(tmp_path):
    check_writable("store.dir", tmp_path / "not" / "there" / "yet")
    check_writable("store.dir", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", [None, "", "{", '{"a": 1', "\xff"])
def test_a_file_that_a_full_disk_cut_off_is_as_good_as_none(tmp_path, text):
    if text is not None:
        (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    assert read_json(tmp_path / "run.json") is None
    write_text(tmp_path / "run.json", '{"a": 1}')
    assert read_json(tmp_path / "run.json") == {"a": 1}


@pytest.mark.parametrize(
    "damage",
    [
        (b"right", b"rigxt"),  # one bit or two, in what was said
        (b"right", b"wrong"),
        (b'"check"', b'"chgck"'),
        (b'"key": "b"', b'"key": "c"'),
        (b'", "said', b"\xff, "),
        (b"}\n{", b"}{"),
        (b"right", b"ri\0\0\0"),
    ],
)
def test_a_damaged_line_is_passed_over(tmp_path, damage):
    rows = [{"key": key, "said": "Verdict: right, Füße"} for key in "abc"]
    data = "".join(map(checked_line, rows)).encode()
    (tmp_path / "a").write_bytes(data + b'{"key": "d", "said": "of old"}\n' + b"[" * 100_000 + b'\n{"key": "e", "sa')
    assert list(whole_lines(tmp_path / "a")) == rows
    (tmp_path / "a").write_bytes(data[: len(data) // 3] + data[len(data) // 3 :].replace(*damage, 1))
    found = list(whole_lines(tmp_path / "a"))
    assert 1 <= len(found) < 3 and all(row in rows for row in found)
