"""Reports of directories whose files are damaged: a sentence, or what is whole."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("*/cell.json", '"declared"', '"decmared"'),
        ("*/cell.json", '"free"', '"frfe"'),
        ("*/cell.json", '"accuracy_ci95"', '"bccuracy_ci95"'),
        ("*/cell.json", '"settings": {', '"settings": 3, "x": {'),
        ("report.json", '"of"', '"og"'),
        ("report.json", "{", "["),
        ("run.json", '"decode_tokens"', '"decode_tokenz"'),
    ],
)
def test_a_damaged_directory_is_a_sentence_at_most(aggregated, command, tmp_path, file, before, after):
    place = tmp_path / "copy"
    shutil.copytree(aggregated[0], place)
    for path in place.glob(file):
        text = json.dumps(json.loads(path.read_text()))
        path.write_text(text.replace(before, after, 1))
    status, said = command("stage=report", f"report.of={place}")
    assert status in (0, 2) and said.count("\n") <= 1, said
    assert status == 0 or "the command that made them makes them again" in said or "no measured cell" in said
