import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from s1x.report import tables
from s1x.report.aggregate import aggregate

from .sweep import BUDGETS, sample, write_job, write_sweep

ROOT = Path(__file__).parents[2]
FILES = ("summary.json", "summary.md", "cells.csv", "scaling.png", "scaling.svg", "scaling.pdf", "report.html")


def test_summary_has_the_keys_of_the_contract(aggregated):
    directory, summary = aggregated
    assert set(summary) == {
        "experiment",
        "command",
        "git",
        "versions",
        "settings",
        "cells",
        "metrics",
        "comparisons",
        "ablation",
        "pools",
        "variance",
        "equal_cost",
        "cost",
        "problems",
    }
    assert summary["experiment"] == "budget_sweep" and summary["git"]["commit"] == "abc1234" and summary["problems"] == []
    assert set(summary["cost"]) == {"path_tokens_independent", "path_tokens_union", "sharing_ratio", "run"}
    assert set(summary["cost"]["run"]) == {
        "decode_tokens",
        "prefill_tokens",
        "prefill_tokens_cached",
        "engine_starts",
        "wall_s",
    }
    assert json.loads((directory / "summary.json").read_text()) == summary
    for row in summary["metrics"]:
        assert {"model", "task", "series", "n_points", "control", "scaling", "performance"} <= set(row)
        assert all({"value", "ci95"} <= set(row[figure]) for figure in ("control", "scaling", "performance"))


def test_identical_cells_count_once_and_rows_are_in_order(aggregated):
    _, summary = aggregated
    ids = [c["cell_id"] for c in summary["cells"]]
    assert ids == [f"tiny_math-{b}-0" for b in BUDGETS] + [f"tiny_math-256-{w}" for w in (1, 2, 4)] + ["tiny_math-base"]
    assert [row["n_points"] for row in summary["metrics"]] == [8, 1]
    assert summary["metrics"][0]["scaling"]["ci95"][0] > 0 and summary["metrics"][1]["scaling"]["value"] is None


def test_cells_of_the_same_settings_are_identical_whatever_their_ids(tmp_path):
    for job, name in enumerate("ab"):
        write_job(
            tmp_path / str(job),
            job,
            [sample(q, 16, 0) for q in range(5)],
            cell_id=name,
            series="bf",
            overrides=["x=1"],
            budget=16,
        )
    assert [c["cell_id"] for c in aggregate(tmp_path)["cells"]] == ["a"]


def test_cost_counts_each_stream_once_to_its_longest_read(aggregated):
    _, summary = aggregated
    lines = [sample(q, b, 0) for q in range(60) for b in BUDGETS] + [sample(q, 256, w) for q in range(60) for w in (1, 2, 4)]
    lines += [sample(q, None, 0, base=True) for q in range(60)]
    longest = {}
    for line in lines:
        for key, read in line["reads"].items():
            longest[key] = max(read, longest.get(key, 0))
    cost = summary["cost"]
    assert cost["path_tokens_independent"] == sum(line["path_tokens"] for line in lines)
    assert cost["path_tokens_union"] == sum(longest.values())
    assert cost["sharing_ratio"] == pytest.approx(cost["path_tokens_independent"] / sum(longest.values()), abs=1e-6)


def test_comparisons_are_paired_by_question(aggregated):
    _, summary = aggregated
    kinds = [c["kind"] for c in summary["comparisons"]]
    assert {k: kinds.count(k) for k in kinds} == {"step": 4, "ends": 1, "extended": 3, "reference": 1}
    wait = next(c for c in summary["comparisons"] if c["b"] == "tiny_math-256-2")
    assert wait["a"] == "tiny_math-256-0" and wait["n_questions"] == 60
    expected = np.mean([sample(q, 256, 2)["score"] - sample(q, 256, 0)["score"] for q in range(60)])
    assert wait["difference"] == pytest.approx(expected, abs=1e-6) and wait["ci95"][0] <= expected <= wait["ci95"][1]
    base = next(c for c in summary["comparisons"] if c["kind"] == "reference")
    assert (base["a"], base["b"]) == ("tiny_math-256-0", "tiny_math-base") and base["ci95"][1] < 0


def test_pools_show_votes_with_intervals(tmp_path):
    lines = [sample(q, 64, 0) | {"votes": {"maj": {"1": 0.5, "2": q % 2}, "pass": {"1": 0.5, "2": 1}}} for q in range(20)]
    write_job(tmp_path / "0", 0, lines, cell_id="vote", series="majority_voting", overrides=[], budget=64)
    pools = aggregate(tmp_path)["pools"]
    assert [(row["k"], row["maj"]["value"], row["pass"]["value"]) for row in pools] == [(1, 0.5, 0.5), (2, 0.5, 1.0)]
    assert pools[0]["maj"]["ci95"] == [0.5, 0.5] and pools[1]["maj"]["ci95"][0] < 0.4
    assert "maj@k" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("sizes", [("1", "2"), ("1", None), (None, None)])
def test_pools_of_several_sizes_or_of_none_are_not_averaged(tmp_path, sizes):
    """What adaptive methods draw, and samples that are no draws alike."""
    lines = [
        sample(q, 64, 0) | {"votes": {"maj": {size: 1}, "pass": {size: 1}} if size else {}} for q, size in enumerate(sizes)
    ]
    write_job(tmp_path / "0", 0, lines, cell_id="vote", series="a", overrides=[], budget=64)
    summary = aggregate(tmp_path)
    assert summary["pools"] == [] and summary["cells"][0]["n_questions"] == 2


def test_votes_by_score_and_of_the_first_k(tmp_path):
    def votes(q):
        first = {"first_maj": {"1": 1, "2": 1}, "first_pass": {"1": 1, "2": 1}}
        return {"maj": {"1": 0.5, "2": 0}, "pass": {"1": 0.5, "2": 0}, "best": {"1": 0.5, "2": 0.25}, "shortest": 1, **first}

    lines = [sample(q, 64, 0) | {"votes": votes(q)} for q in range(5)]
    write_job(tmp_path / "0", 0, lines, cell_id="vote", series="majority_voting", overrides=[], budget=64)
    one, two = aggregate(tmp_path)["pools"]
    assert (one["best"]["value"], two["best"]["value"], two["shortest"]["value"]) == (0.5, 0.25, 1)
    assert one["shortest"] is None and two["weighted"] is None  # of the whole pool; no log-probabilities
    assert "| best of k % |" in (tmp_path / "summary.md").read_text()
    assert [row["maj"]["value"] for row in aggregate(tmp_path, compat="s1")["pools"]] == [1, 1]


def test_cells_without_a_budget_are_not_steps_of_one(tmp_path):
    for job, every in enumerate((32, 64, 128)):
        lines = [sample(q, every, 0) for q in range(5)]
        write_job(tmp_path / str(job), job, lines, cell_id=f"{every}", series="early_exit", overrides=[f"method.every={every}"])
    assert aggregate(tmp_path)["comparisons"] == []


def test_another_string_is_compared_with_the_natural_end(tmp_path):
    cells = [("natural", "budget_forcing", 0), ("wait", "budget_forcing", 2), ("hmm", "budget_forcing(Hmm)", 2)]
    for job, (name, series, ignored) in enumerate(cells):
        lines = [sample(q, None, ignored) for q in range(20)]
        overrides = [f"method.ignore_end={ignored}"] * bool(ignored)
        write_job(tmp_path / str(job), job, lines, cell_id=name, series=series, overrides=overrides)
    assert [(c["kind"], c["a"], c["b"]) for c in aggregate(tmp_path)["comparisons"]] == [
        ("extended", "natural", "wait"), ("extended", "natural", "hmm"),
    ]  # fmt: skip


def test_cells_that_differ_in_seeds_only_are_one_point(tmp_path):
    settings = [(budget, seed) for budget in (32, 128) for seed in (0, 1)]
    for job, (budget, seed) in enumerate(settings):
        lines = [sample(q + 50 * seed, budget, 0) | {"doc_id": q} for q in range(50)]
        write_job(
            tmp_path / str(job),
            job,
            lines,
            cell_id=f"{budget}-{seed}",
            series="budget_forcing",
            budget=budget,
            settings={"method.max_thinking_tokens": budget, "seed": seed, "train.seed": seed},
            limit_tokens=[None, budget],
        )
    summary = aggregate(tmp_path)
    (row,) = summary["metrics"]
    large = [c["accuracy"] for c in summary["cells"] if c["budget"] == 128]
    assert row["n_points"] == 2 and row["performance"]["value"] == pytest.approx(sum(large) / 2, abs=1e-5)


def test_a_trained_models_path_follows_from_its_seed(tmp_path):
    for job, (place, seed) in enumerate([("a", 0), ("b", 1), ("c", 1)]):
        settings = {"method.max_thinking_tokens": 32, "train.seed": seed, "model.path": place}
        own = tmp_path / str(job)
        write_job(
            own, job, [sample(q + 50 * job, 32, 0) | {"doc_id": q} for q in range(5)], settings, cell_id=place, series="bf"
        )
        (own / "training.json").write_text(json.dumps(TRAINED | {"content": {"train": {"epochs": 1}, "of": place}}))
    assert aggregate(tmp_path)["metrics"][0]["n_points"] == 1
    for job in "012":
        (tmp_path / job / "training.json").unlink()
    assert aggregate(tmp_path)["metrics"][0]["n_points"] == 3  # three models that only share a name


TRAINED = {"data": {"examples": 1, "cut_share": 0, "tokens": 1}, "steps": 1, "seconds": 1, "devices": 1}


def test_a_summary_says_once_what_all_cells_share(aggregated):
    directory, summary = aggregated
    assert summary["settings"] == {"task.name": "tiny_math", "seed": 0, "sampling.temperature": 0.0}
    own = {"model.name": "tiny-s1", "method.max_thinking_tokens": 16, "method.ignore_end": 0}
    assert summary["cells"][0]["settings"] == own
    (row, *_) = csv.DictReader((directory / "cells.csv").open())
    assert row["settings.method.max_thinking_tokens"] == "16" and "settings.seed" not in row


@pytest.mark.parametrize(
    ("limits", "control", "n"), [([0, None], None, 0), ([None, None], None, 0), ([0, 64], 1, 1), ([8, None], 1, 1)]
)
def test_control_is_of_limited_cells(tmp_path, limits, control, n):
    for job, ignored in enumerate((0, 1)):
        lines = [sample(q, 64, ignored) for q in range(9)]
        own = limits if ignored == 0 else [0, None]
        write_job(tmp_path / str(job), job, lines, {"method.x": ignored}, cell_id=str(job), series="bf", limit_tokens=own)
    (row,) = aggregate(tmp_path)["metrics"]
    assert (row["control"]["value"], row["control"]["n_limited"]) == (control, n)
    line = next(line for line in (tmp_path / "summary.md").read_text().splitlines() if line.startswith("| bf | tiny_math | 2"))
    assert line.startswith("| bf | tiny_math | 2 | - |") == (control is None)


@pytest.mark.parametrize(("promise", "kept"), [("less", 1), ("more", 0)])
def test_promises_are_measured_against_the_model_left_free(tmp_path, promise, kept):
    """By what the method declares: no override was typed, and no method has this name."""
    cells = [("free", None, {"free": True}), ("asked", 32, {"relative": promise})]
    for job, (name, budget, declared) in enumerate(cells):
        lines = [sample(q, budget, 0) for q in range(20)]
        write_job(
            tmp_path / name, job, lines, {f"method.{name}": 1}, declared, cell_id=name, series=name, limit_tokens=[0, None]
        )
    summary = aggregate(tmp_path)
    by_id = {cell["cell_id"]: cell for cell in summary["cells"]}
    tokens = by_id["free"]["thinking_tokens"]["mean"]
    assert by_id["asked"]["limit_tokens"] == ([None, tokens] if promise == "less" else [tokens, None])
    assert {row["series"]: row["control"]["value"] for row in summary["metrics"]} == {"free": None, "asked": kept}


def test_errors_of_an_instructed_length_stand_beside_control(tmp_path):
    """Told 64 tokens it always thinks 96, told 128 it thinks 160: off by a half and by a quarter."""
    for job, (told, tokens) in enumerate(((64, 96), (128, 160))):
        lines = [sample(q, None, 0) | {"thinking_tokens": tokens} for q in range(9)]
        write_job(
            tmp_path / str(job), job, lines, {"method.tokens": told}, {"instructed": told}, cell_id=str(job), series="told"
        )
    for job in (2, 3):
        other = [sample(q, None, 0) | {"thinking_tokens": 90 * job} for q in range(9)]
        write_job(tmp_path / str(job), job, other, {"method.x": job}, {}, cell_id=str(job), series="free")
    summary = aggregate(tmp_path)
    rows = {row["series"]: row["obedience"] for row in summary["metrics"]}
    assert rows["free"] is None
    assert rows["told"] == {name: {"value": v, "ci95": [v, v]} for name, v in (("error", 0.375), ("within_20", 0.0))}
    table = next(table for table in tables.of_summary(summary) if table.name == "metrics")
    shown = {table.columns[at].title: [table.columns[at].write(row[at]) for row in table.rows] for at in table.shown}
    assert shown["length error %"] == ["37.5 [37.5, 37.5]", "-"] and shown["length within 20%, %"] == ["0.0 [0.0, 0.0]", "-"]
    assert (
        "length error %" in (tmp_path / "summary.md").read_text() and "length error %" in (tmp_path / "report.html").read_text()
    )


def test_without_an_instructed_length_nothing_is_said_of_one(aggregated):
    assert (
        "length" not in (aggregated[0] / "summary.md").read_text()
        and "obedience." not in (aggregated[0] / "cells.csv").read_text()
    )


def test_trainings_compared_stand_in_summary_page_and_markdown(tmp_path):
    for job, name in enumerate(("s1k", "random")):
        lines = [sample(q, 32 + 99 * job, 0) for q in range(20)]
        write_job(tmp_path / str(job), job, lines, {"data": name}, cell_id=name, series="bf", model=name)
        content = {"data": name, "train": {"epochs": 4, "seed": 0}}
        (tmp_path / str(job) / "training.json").write_text(json.dumps(TRAINED | {"content": content}))
    summary = aggregate(tmp_path)
    assert [row["model"] for row in summary["ablation"]] == ["s1k", "random"]
    for name in ("summary.md", "report.html"):
        assert "trained model" in (tmp_path / name).read_text()
    drawn = {f"ablation.{ending}" for ending in ("png", "svg", "pdf")}
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "report.json", *FILES, *drawn}


def test_files_are_utf8_whatever_the_locale(tmp_path):
    lines = [sample(q, 64, 0) | {"target": "naïve “ö” 等"} for q in range(3)]
    for line in lines:
        line["doc"]["question"] = "Wie groß ist √2? 等"
    write_job(tmp_path / "0", 0, lines, {"method.string": "ö"}, cell_id="x", series="bf(ö)", limit_tokens=[0, 64])
    code = f"""
import sys; from pathlib import Path; from rich.console import Console
from s1x.report.aggregate import aggregate; from s1x.report.render import show
paper = {{"source": "Größe", "points": [], "table": [{{"ä": "ü"}}], "note": ""}}
assert sys.stdout.encoding.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968"), sys.stdout.encoding
show(aggregate(Path({str(tmp_path)!r}), paper=paper), paper, Path("x"), Console())
"""
    (tmp_path / "code.py").write_text(code, encoding="utf-8")
    home = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, tmp_path / "code.py"], env=home, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "(?)" in done.stdout
    for name in ("report.html", "summary.md", "cells.csv"):
        assert "ö)" in (tmp_path / name).read_text(encoding="utf-8")


def test_operations_that_nobody_knows_have_no_place_and_end_nothing(tmp_path):
    write_job(tmp_path / "0", 0, [sample(q, 64, 0) for q in range(3)], cell_id="x", series="bf")
    record = json.loads((tmp_path / "0" / "cell.json").read_text())
    (tmp_path / "0" / "cell.json").write_text(json.dumps(record | {"flops": None}))
    aggregate(tmp_path, x="flops")
    assert "FLOPs not known" in (tmp_path / "report.html").read_text()


def test_the_markdown_tables_are_whole(aggregated):
    text = (aggregated[0] / "summary.md").read_text()
    widths = {line.count("|") for line in text.split("\n\n")[0].splitlines()}
    assert len(widths) == 1 and "| budget forcing |" in text and "x fewer)" in text


def test_same_files_give_the_same_bytes(aggregated, tmp_path):
    directory, _ = aggregated
    copy = tmp_path / "elsewhere"
    shutil.copytree(directory, copy, ignore=shutil.ignore_patterns(*FILES))
    aggregate(copy)
    for name in FILES:
        assert (copy / name).read_bytes() == (directory / name).read_bytes(), name


def test_csv_has_a_row_per_cell(aggregated):
    directory, summary = aggregated
    rows = list(csv.DictReader((directory / "cells.csv").open()))
    assert len(rows) == len(summary["cells"])
    assert float(rows[0]["thinking_tokens.mean"]) == summary["cells"][0]["thinking_tokens"]["mean"]
    assert rows[0]["limit_tokens_max"] == "16" and float(rows[0]["accuracy_ci95_lo"]) < float(rows[0]["accuracy"])


def test_unfinished_jobs_are_named_not_raised(tmp_path):
    write_sweep(tmp_path, questions=20)
    (tmp_path / "1" / "cell.json").unlink()
    (tmp_path / "2" / "cell.json").write_text('{"cell_id": "x", "acc')
    torn = tmp_path / "3" / "samples_tiny_math.jsonl"
    torn.write_text(torn.read_text()[:-40])
    next((tmp_path / "9").glob("samples_*")).unlink()
    (tmp_path / "run.json").write_text("{")
    summary = aggregate(tmp_path)
    problems = " ".join(summary["problems"])
    for what in (
        "job 1 has no cell.json",
        "job 2: cell.json is cut short",
        "job 3: 1 of the lines",
        "job 9: no samples",
        "run.json",
    ):
        assert what in problems
    assert len(summary["cells"]) == 7 and summary["cost"]["run"]["wall_s"] is None
    assert "Not whole" in (tmp_path / "report.html").read_text()
    row = next(r for r in summary["metrics"] if r["series"] == "budget_forcing")
    assert row["n_questions"] == 19  # the questions that all of its cells answered


def test_a_single_job_has_everything_in_its_own_directory(tmp_path):
    write_job(tmp_path / "job", 0, [sample(q, 64, 0) for q in range(20)], cell_id="one", series="bf", overrides=[], budget=64)
    summary = aggregate(tmp_path / "job")
    assert len(summary["cells"]) == 1 and summary["comparisons"] == []
    assert all((tmp_path / "job" / name).stat().st_size for name in FILES)


def test_several_tasks_and_cells_without_thinking(tmp_path):
    write_sweep(tmp_path, questions=10)
    silent = [sample(q, 16, 0, task="tiny_mc") | {"thinking_tokens": 0} for q in range(10)]
    write_job(tmp_path / "20", 20, silent, cell_id="mc", task="tiny_mc", series="none", overrides=[], budget=None)
    summary = aggregate(tmp_path)
    assert {row["task"] for row in summary["metrics"]} == {"tiny_math", "tiny_mc"}
    assert summary["cells"][-1]["thinking_tokens"]["mean"] == 0


def test_nothing_measured_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="holds no measured cell"):
        aggregate(tmp_path)
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    with pytest.raises(ValueError, match="job 0 has no cell.json"):
        aggregate(tmp_path)
    with pytest.raises(ValueError, match="x='watts' is not known"):
        aggregate(tmp_path, x="watts")


def test_importing_the_report_loads_neither_torch_nor_matplotlib():
    code = "import sys, s1x.report.aggregate, s1x.report.render; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in loaded and not {"torch", "matplotlib", "transformers"} & set(loaded)
