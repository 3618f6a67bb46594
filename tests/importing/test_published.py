"""experiments/published_outputs done as it stands, where the published files are at hand: its numbers are those of its page."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from s1x.metrics.scaling import Series, measure
from s1x.report.compare import scores_on
from s1x.report.load import load_cells

from .tables import imported

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "outputs"
PAGE = ROOT / "experiments" / "published_outputs" / "README.md"
FILES = {
    f"gemini-2.5-flash_frames_budget{n}": f"gemini-2_5-flash/gemini-2.5-flash_frames_budget{n}" for n in (256, 512, 1024, 2048)
}
FILES |= {f"Qwen3-8B_simpleqa_wait{n}": f"qwen3-8b/Qwen3-8B_simpleqa_exd{n}" for n in (0, 2, 4)}


@pytest.fixture
def published(tmp_path):
    """The repository's files, under the names that they have there."""
    if not DATA.is_dir():
        pytest.skip("shared/data/outputs is not beside this checkout")
    for ours, theirs in FILES.items():
        file = tmp_path / "tts-knowledge" / "outputs" / f"{theirs}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.decompress((DATA / f"{ours}.jsonl.gz").read_bytes()))


def commands():
    """What the page types, without `python run.py`."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line)[2:] for line in re.findall(r"^    (python run\.py .*)$", text, re.MULTILINE)]


def test_control_and_slope_of_gemini_on_frames(tmp_path, published):
    columns = {"question": "id", "correct": "grading", "thinking_tokens": "reasoning_tokens"}
    files = str(tmp_path / "tts-knowledge/outputs/gemini-2_5-flash")
    names = "{model}_{task}_budget{budget}"
    imported(tmp_path / "out", format="table", files=files, names=names, columns=columns, right="A")
    cells, problems = load_cells(tmp_path / "out")
    limits = tuple(cell.record["limit_tokens"] for cell in cells)
    scores, tokens = (np.stack([scores_on(cell, cells[0].questions, key) for cell in cells], 1) for key in ("scores", "tokens"))
    found = measure(Series(tuple("abcd"), scores, tokens, limits))
    assert problems == [] and found["control"]["value"] == 1.0
    slope = found["scaling"]["least_squares"]
    assert (round(slope["value"], 2), [round(end, 1) for end in slope["ci95"]]) == (9.63, [8.1, 11.2])


@pytest.mark.long
def test_gemini_on_frames_and_wait_on_qwen(command, tmp_path, published):
    typed = commands()
    assert len(typed) == 3
    for arguments in typed:
        more = ["hydra.run.dir=both"] if "stage=report" in arguments else []
        assert command(*arguments, *more) == (0, "")
    summary = json.loads((tmp_path / "both" / "summary.json").read_text())
    gemini, qwen = summary["metrics"]
    assert (gemini["control"]["value"], gemini["n_questions"], gemini["n_points"]) == (1.0, 824, 4)
    slope = gemini["scaling"]["least_squares"]
    assert [round(n, 2) for n in (slope["value"], *slope["ci95"])] == [9.63, 8.07, 11.2]
    assert round(gemini["scaling"]["value"], 2) == 8.15 and round(gemini["performance"]["value"], 3) == 0.510
    assert (qwen["control"]["value"], qwen["n_questions"], round(qwen["scaling"]["value"], 2)) == (None, 800, 0.11)
    assert [(r["budget"], round(r["thinking_tokens"]["mean"])) for r in summary["cells"][:4]] == [
        (256, 198), (512, 405), (1024, 608), (2048, 785)
    ]  # fmt: skip
    for row in (tmp_path / "both" / "summary.md").read_text().splitlines():
        if row.startswith(("| frames", "| simpleqa", "| gemini-2.5-flash | frames", "| Qwen3-8B | simpleqa")):
            assert row in PAGE.read_text(encoding="utf-8")
