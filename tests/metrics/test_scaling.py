from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1x.metrics.scaling import (
    Series,
    control,
    least_squares_slope,
    measure,
    pairwise_slope,
    split_half_performance,
    theil_sen_slope,
)
from s1x.report.paper import load_paper, published_metrics

TABLE3 = load_paper(Path(__file__).with_name("table3.yaml"))


@pytest.mark.parametrize("row", TABLE3["table"], ids=lambda row: row["series"])
def test_published_points_give_table_3(row):
    ours = next(r for r in published_metrics(TABLE3) if r["series"] == row["series"])
    assert f"{ours['control']:.0%}" == row["control"]
    assert round(ours["scaling"]) == row["scaling"]
    assert round(100 * ours["performance"], 1) == row["performance"]


def test_rejection_sampling_row_contradicts_itself():
    """With the point that is its printed Performance, Scaling would be -28.6; without it, Performance 36.7."""
    points = [p for p in TABLE3["points"] if p["series"] == "RS"]
    tokens, accuracy = np.array([p["tokens"] for p in points]), np.array([p["accuracy"] for p in points])
    assert float(pairwise_slope(tokens, accuracy, compat="s1").value) == pytest.approx(-28.6, abs=0.05)
    assert float(pairwise_slope(tokens[1:], accuracy[1:], compat="s1").value) == pytest.approx(-35.5, abs=0.05)


def test_linear_tokens_do_not_give_table_3():
    points = [p for p in TABLE3["points"] if p["series"] == "BF"]
    tokens, accuracy = np.array([p["tokens"] for p in points]), np.array([p["accuracy"] for p in points])
    assert float(pairwise_slope(tokens, accuracy, x="linear").value) == pytest.approx(8.7, abs=0.05)


@given(st.permutations(range(5)))
def test_slopes_do_not_depend_on_order(order):
    tokens, accuracy = np.array([10, 30, 31, 100, 900]), np.array([0.1, 0.3, 0.2, 0.5, 0.6])
    order = list(order)
    shuffled, sorted_ = pairwise_slope(tokens[order], accuracy[order]), pairwise_slope(tokens, accuracy)
    assert shuffled.value == pytest.approx(sorted_.value) and shuffled[1:] == sorted_[1:]
    assert least_squares_slope(tokens[order], accuracy[order]) == pytest.approx(least_squares_slope(tokens, accuracy))


def test_points_on_a_line_have_its_slope():
    tokens = np.array([16, 32, 64, 512])
    accuracy = 0.05 * np.log2(tokens)
    assert float(pairwise_slope(tokens, accuracy).value) == pytest.approx(5)
    assert float(least_squares_slope(tokens, accuracy)) == pytest.approx(5)


def test_close_pairs_are_left_out_and_counted():
    tokens, accuracy = np.array([100, 101, 200]), np.array([0.2, 0.3, 0.4])
    slope = pairwise_slope(tokens, accuracy)
    assert (slope.pairs, slope.left_out) == (2, 1) and 10 < slope.value < 21
    kept = pairwise_slope(tokens, accuracy, compat="s1")
    assert (kept.pairs, kept.left_out) == (3, 0) and kept.value > 200
    equal = pairwise_slope(np.array([100, 100]), np.array([0.1, 0.2]), compat="s1")
    assert np.isnan(equal.value) and equal.left_out == 1
    without_thinking = pairwise_slope(np.array([0, 100, 200]), np.array([0.1, 0.2, 0.3]))
    assert without_thinking.pairs == 1 and without_thinking.value == pytest.approx(10)


def test_vectorised_slopes_equal_a_loop():
    rng = np.random.default_rng(0)
    tokens, accuracy = rng.integers(1, 500, (20, 6)), rng.random((20, 6))
    both = pairwise_slope(tokens, accuracy)
    for row in range(20):
        pairs = [(i, j) for i in range(6) for j in range(i) if abs(np.log2(tokens[row, i] / tokens[row, j])) >= 0.05]
        slopes = [100 * (accuracy[row, i] - accuracy[row, j]) / np.log2(tokens[row, i] / tokens[row, j]) for i, j in pairs]
        assert both.value[row] == pytest.approx(np.mean(slopes)) and both.pairs[row] == len(pairs)
        line = np.polyfit(np.log2(tokens[row]), 100 * accuracy[row], 1)
        assert least_squares_slope(tokens, accuracy)[row] == pytest.approx(line[0])
        every = [
            100 * (accuracy[row, i] - accuracy[row, j]) / np.log2(tokens[row, i] / tokens[row, j])
            for i in range(6) for j in range(i) if tokens[row, i] != tokens[row, j]
        ]  # fmt: skip
        assert theil_sen_slope(tokens, accuracy)[row] == pytest.approx(np.median(every))


def test_one_point_moves_a_theil_sen_slope_little():
    tokens, accuracy = 2.0 ** np.arange(4, 10), np.arange(6) / 20
    moved = accuracy.copy()
    moved[2] = 0.9
    assert float(theil_sen_slope(tokens, accuracy)) == pytest.approx(5)
    assert float(theil_sen_slope(tokens, moved)) == pytest.approx(5)
    assert abs(float(least_squares_slope(tokens, moved)) - 5) > 2
    for few in ([100.0], [100.0, 100.0], [0.0, 100.0]):
        assert np.isnan(theil_sen_slope(np.array(few), np.zeros(len(few))))
    assert float(theil_sen_slope(np.array([1000, 3000]), np.array([0.2, 0.4]), x="linear")) == pytest.approx(10)


def with_budgets(budgets, n=400, noise=0.3, seed=0):
    """Cells that think for about their budget; a share `noise` of their answers is luck of their own."""
    rng = np.random.default_rng(seed)
    luck = np.where(rng.random((n, len(budgets))) < noise, rng.random((n, len(budgets))), rng.random((n, 1)))
    tokens = np.array(budgets) * rng.lognormal(0, 0.05, (n, 1))
    scores = (luck < 0.05 * np.log2(budgets)).astype(float)
    return Series(tuple(f"c{b}" for b in budgets), scores, tokens, (None,) * len(budgets))


@pytest.mark.parametrize(
    ("budgets", "pair"),
    [
        ((32, 64, 128, 256, 512), None),
        ((439, 460, 900, 1800), ["c439", "c460"]),  # 0.07 doublings, as on public outputs
        ((1800, 439, 900, 461), ["c439", "c461"]),
        ((32, 64, 128, 512, 520), None),  # 0.02 doublings: left out anyway
        ((100, 110), None),  # the only pair is the slope
    ],
)
def test_a_close_pair_that_decides_the_slope_is_named(budgets, pair):
    found = measure(with_budgets(budgets), resamples=2000)["scaling"]["close_pair"]
    assert (found and found["cells"]) == pair
    if pair:
        assert found["moves"] > found["rest"] > 0 and 0.05 < found["doublings"] < 0.08


def test_s1s_way_keeps_closer_pairs_and_warns_of_them():
    series = with_budgets((32, 64, 128, 512, 520))
    found = measure(series, compat="s1", resamples=2000)["scaling"]["close_pair"]
    assert found["cells"] == ["c512", "c520"] and found["doublings"] == pytest.approx(np.log2(520 / 512), abs=1e-3)


def test_control_counts_limited_cells_only():
    assert control(np.array([10, 20, 30]), [(None, 10), (25, None), None]) == 0.5
    assert np.isnan(control(np.array([10.0]), [None]))


def synthetic(n=300, seed=0):
    """Cells that share their noise, as cells that read the same streams do."""
    rng = np.random.default_rng(seed)
    length, luck = rng.geometric(1 / 100, n) + 20, rng.random(n)
    budgets = [16, 32, 64, 128, 256]
    tokens = np.stack([np.minimum(length, b) for b in budgets], 1)
    scores = np.stack([luck < 0.1 + 0.08 * i for i in range(5)], 1).astype(float)
    return Series(tuple(f"c{b}" for b in budgets), scores, tokens, tuple((None, b) for b in budgets))


def test_measure_reports_every_figure_with_its_interval():
    result = measure(synthetic(), resamples=2000)
    for figure in (result["control"], result["scaling"], result["performance"]):
        low, high = figure["ci95"]
        assert low <= figure["value"] <= high
    assert result["control"]["value"] == 1.0 and result["control"]["per_question"]["value"] == 1.0
    assert result["scaling"]["least_squares"]["ci95"][0] > 0 and result["scaling"]["ci95"][0] > 0
    assert result["performance"]["cell_id"] == "c256" and result["n_points"] == 5
    assert measure(synthetic(), resamples=2000) == result


def test_identical_cells_count_once():
    one = synthetic()
    twice = Series(
        (*one.cell_ids, "copy"),
        np.hstack([one.scores, one.scores[:, -1:]]),
        np.hstack([one.tokens, one.tokens[:, -1:]]),
        (*one.limits, one.limits[-1]),
    )
    assert measure(twice, resamples=500) == measure(one, resamples=500)


def test_one_cell_has_performance_but_no_slope():
    one = synthetic()
    result = measure(Series(("a",), one.scores[:, :1], one.tokens[:, :1], (None,)), resamples=500)
    assert result["scaling"]["value"] is None and result["scaling"]["ci95"] is None and result["control"]["value"] is None
    assert (
        result["performance"]["value"] == result["performance"]["split_half"]["value"] == pytest.approx(one.scores[:, 0].mean())
    )


def test_split_half_removes_the_bias_of_the_maximum():
    """Twenty equally good cells: their maximum lies above the truth on average, the held-out half does not."""
    pools = [(np.random.default_rng(seed).random((200, 20)) < 0.5).astype(float) for seed in range(40)]
    assert np.mean([scores.mean(0).max() for scores in pools]) > 0.55
    assert np.mean([split_half_performance(scores, resamples=2)["value"] for scores in pools]) == pytest.approx(0.5, abs=0.012)


def test_unknown_settings_are_sentences():
    with pytest.raises(ValueError, match="x='tokens' is not known; valid are log2, linear"):
        pairwise_slope(np.array([1, 2]), np.array([0, 1]), x="tokens")
    with pytest.raises(ValueError, match="compat='s2'"):
        measure(synthetic(), compat="s2")
