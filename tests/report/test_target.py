"""The cheapest setting that reaches an accuracy: chosen on one half of the questions, measured on the other."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from s1x.metrics.crossfit import halves
from s1x.report.load import load_cells
from s1x.report.target import cheapest, table

from .sweep import write_sweep


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return load_cells(write_sweep(tmp_path_factory.mktemp("target"), questions=200))[0]


def by_hand(cells, target, x):
    """The rule without the bootstrap: ids of both choices and what they are worth on the other half."""
    half = halves(cells[0].questions)
    order = sorted(cells, key=lambda cell: cell.record["thinking_tokens"]["mean"] if x == "thinking_tokens" else cell.record[x])
    chosen, right = [], 0.0
    for here in (half, ~half):
        means = [cell.scores[here].mean() for cell in order]
        at = next((at for at, mean in enumerate(means) if mean >= target), int(np.argmax(means)))
        chosen.append(order[at].record["cell_id"])
        right += order[at].scores[~here].sum()
    return chosen, right / len(half)


@pytest.mark.parametrize("x", ["thinking_tokens", "path_tokens"])
@pytest.mark.parametrize("target", [0.4, 0.999])
def test_the_rule_is_the_one_that_is_stated(cells, target, x):
    found = cheapest(cells, target, x)
    rows = {tuple(row["series"] or ()): row for row in found["rows"]}
    assert len(rows) == 3  # two series, and both together
    for series, row in rows.items():
        chosen, accuracy = by_hand([cell for cell in cells if not series or cell.group == series], target, x)
        assert row["cells"] == chosen and row["accuracy"]["value"] == pytest.approx(accuracy)
        low, high = row["accuracy"]["ci95"]
        assert row["verdict"] == ("reached" if low >= target else "missed" if high < target else "open")
    if target == 0.999:
        assert not any(row["reach"][0] for row in rows.values()) and {row["verdict"] for row in rows.values()} == {"missed"}


def test_a_cheaper_cell_is_found_also_where_accuracy_falls_in_between(cells):
    budgets = sorted(
        (cell for cell in cells if cell.record["model"] == "tiny-s1"), key=lambda c: c.record["thinking_tokens"]["mean"]
    )
    first, second, *rest = budgets
    best = rest[-1].scores
    first.scores, second.scores = best.copy(), np.zeros_like(best)
    (row,) = cheapest([first, second, *rest], 0.3, "thinking_tokens")["rows"]
    assert row["cells"] == [first.record["cell_id"]] * 2 and row["cost"] == first.record["thinking_tokens"]["mean"]


def test_few_questions_that_are_all_wrong_miss_nothing_for_certain(tmp_path):
    found = load_cells(write_sweep(tmp_path / "few", questions=8))[0]
    for cell in found:
        cell.scores = np.zeros_like(cell.scores)
    for row in cheapest(found, 0.3, "thinking_tokens")["rows"]:
        assert row["verdict"] == "open" and row["accuracy"]["ci95"][1] == pytest.approx(0.3244, abs=1e-3)


def test_too_few_questions_and_unknown_costs_have_no_row(tmp_path):
    few = load_cells(write_sweep(tmp_path / "few", questions=1))[0]
    assert cheapest(few, 0.5, "thinking_tokens")["rows"] == []
    cells = load_cells(write_sweep(tmp_path / "sweep", questions=20))[0]
    for cell in cells:
        cell.record["flops"] = None
    assert cheapest(cells, 0.5, "flops")["rows"] == []


@pytest.mark.long
def test_the_interval_covers_the_rules_own_accuracy():
    """Cells of known accuracy: what the choice is worth on new questions lies in the interval about as often as it says."""
    rng = np.random.default_rng(0)
    truth, covered = np.array([0.3, 0.55, 0.65, 0.9]), 0
    for _ in range(60):
        questions = list(range(200))
        drawn = (rng.random((200, 4)) < truth).astype(float)
        made = [
            SimpleNamespace(
                record={"task": "t", "cell_id": str(at), "thinking_tokens": {"mean": 10.0 * (at + 1)}}, group=("t", "m", "s"),
                questions=questions, scores=drawn[:, at],
            )
            for at in range(4)
        ]  # fmt: skip
        (row,) = cheapest(made, 0.6, "thinking_tokens")["rows"]
        half = halves(questions)
        worth = np.average(truth[[int(cell) for cell in row["cells"]]], weights=[(~half).mean(), half.mean()])
        low, high = row["accuracy"]["ci95"]
        covered += low <= worth <= high
    assert covered >= 54


def test_the_table_says_what_was_found(cells):
    found = cheapest(cells, 0.4, "thinking_tokens")
    shown = table(found, [cell.record for cell in cells])
    assert shown.columns[1].title == "cheapest that reaches 40%" and len(shown.rows) == 3
    assert [row[-1].split()[0] for row in shown.rows] == [row["verdict"] for row in found["rows"]]
    json.dumps(found)
