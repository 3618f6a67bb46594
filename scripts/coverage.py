#!/usr/bin/env python
"""How often the report's intervals hold the truth, and how often its tests say that there is something: on invented data,
whose truth is known.

    python scripts/coverage.py            prints the tables
    python scripts/coverage.py --write    puts them into docs/statistics.md

Each figure is a share of 1,000 data sets (400 where every set is resampled on its own; its error is 0.7, or 1.1, points), or
exact where a sum over all outcomes is possible. Takes some minutes. tests/metrics/test_coverage.py holds some of them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from s1x.metrics import voting  # noqa: E402
from s1x.metrics.crossfit import CrossFit, halves  # noqa: E402
from s1x.metrics.intervals import LEVEL, accuracy_interval, resampled_means, verdict, wilson  # noqa: E402
from s1x.metrics.scaling import least_squares_slope, pairwise_slope, split_half_performance, theil_sen_slope  # noqa: E402
from s1x.metrics.significance import ALPHA, holm, mcnemar, smallest_difference, smallest_exact  # noqa: E402
from s1x.metrics.variance import of_right, variance_split  # noqa: E402

SETS, FEWER, RESAMPLES, BATCH = 1000, 400, 2000, 200
BEGIN, END = "<!-- scripts/coverage.py --write -->\n", "<!-- until here -->\n"
Figures = dict[str, float]
Interval = tuple[np.ndarray, np.ndarray]
SLOPES: dict[str, Callable[..., np.ndarray]] = {
    "Scaling": lambda tokens, accuracy: pairwise_slope(tokens, accuracy).value,
    "least squares": least_squares_slope,
    "Theil-Sen": theil_sen_slope,
}
CELLS = {
    "one of six 10 points better": (0.5,) * 5 + (0.6,),
    "two of six 3 points better": (0.5,) * 4 + (0.53,) * 2,
    "six equal": (0.5,) * 6,
    "rising from 30 to 60%": (0.3, 0.4, 0.5, 0.55, 0.58, 0.6),
    "one of six 10%, the others 5%": (0.05,) * 5 + (0.1,),
    "one of six 95%, the others 90%": (0.9,) * 5 + (0.95,),
}
DIFFICULTIES = {"evenly from 0 to 100%": (1, 1), "80%, few in between": (0.8, 0.2), "10%": (0.3, 2.7)}  # beta distributions


def held(ends: Interval, truth: float) -> float:
    """The share of intervals that hold the truth; ends are often multiples of 1 / n."""
    low, high = ends
    return float(np.mean((low <= truth + 1e-9) & (truth - 1e-9 <= high)))


def quantiles(draws: np.ndarray) -> Interval:
    low, high = np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    return low, high


def bootstrapped(data: np.ndarray, figure: Callable[[np.ndarray], np.ndarray] = lambda means: means[..., 0]) -> Interval:
    """Ends of the bootstrap intervals of `figure`, (sets,) each; all sets see the same resampled questions.

    data: (questions, sets), or with columns (questions, sets, columns). figure: (..., columns) -> (...).
    """
    data = data.reshape(*data.shape[:2], -1).astype(float)
    ends = []
    for first in range(0, data.shape[1], BATCH):
        part = data[:, first : first + BATCH]
        draws = resampled_means(part.reshape(len(part), -1), resamples=RESAMPLES)
        ends.append(quantiles(figure(draws.reshape(RESAMPLES, *part.shape[1:]))))
    low, high = np.concatenate(ends, 1)
    return low, high


def accuracy(n: int, p: float) -> Figures:
    """One sample for each of n questions; exact, over all numbers of right answers."""
    chance = np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
    ends = {
        "Wilson": np.array([wilson(k / n, n) for k in range(n + 1)]).T,
        "bootstrap": bootstrapped(np.arange(n)[:, None] < np.arange(n + 1)),
    }
    return {name: float(chance @ ((low <= p + 1e-9) & (p - 1e-9 <= high))) for name, (low, high) in ends.items()}


def sampled_accuracy(n: int, p: float, samples: int = 4, seed: int = 1) -> Figures:
    """Several samples for each question, whose difficulties differ (beta-distributed)."""
    rng = np.random.default_rng(seed)
    data = rng.binomial(samples, rng.beta(2 * p, 2 * (1 - p), size=(n, SETS))) / samples
    low, high = np.array([accuracy_interval(column, samples) for column in data.T]).T
    return {"Wilson": held((low, high), p), "bootstrap": held(bootstrapped(data), p)}


def answered(n: int, difference: float, differing: float, seed: int) -> np.ndarray:
    """Differences of two cells, (questions, sets): they answer `differing` of the questions differently, and the second one is
    `difference` better."""
    luck = np.random.default_rng(seed).random((n, SETS))
    return (luck < (differing + difference) / 2) * 1.0 - (luck > 1 - (differing - difference) / 2)


def paired(n: int, difference: float, differing: float, seed: int = 2) -> Figures:
    return {"bootstrap": held(bootstrapped(answered(n, difference, differing, seed)), difference)}


def sweep(n: int, sets: int, top: float, close: bool = False, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and scores of a budget sweep, (questions, sets, cells) each: lengths are log-normal around 250 tokens, accuracy
    rises to `top` at the largest budget, and a question's length and luck are the same in all cells.

    close: two budgets lie 0.15 doublings apart.
    """
    rng = np.random.default_rng(seed)
    budgets = np.array([32, 64, 128, 142 if close else 256, 512, 1024])
    length, luck = rng.lognormal(np.log(250), 0.6, (n, sets, 1)), rng.random((n, sets, 1))
    tokens = np.minimum(length, budgets)
    return tokens, (luck < top * (tokens / length) ** 0.7).astype(float)


def slopes(n: int, top: float, close: bool = False) -> Figures:
    """Slopes over the six cells of a sweep; the truth is that of 400,000 questions."""
    truth = [values[:, 0].mean(0) for values in sweep(400_000, 1, top, close, seed=4)]
    data = np.concatenate(sweep(n, SETS, top, close), 2)
    return {name: held(bootstrapped(data, _of_sweep(slope)), float(slope(*truth))) for name, slope in SLOPES.items()}


def _of_sweep(slope: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda means: slope(means[..., :6], means[..., 6:])


def sharing(n: int, accuracies: tuple[float, ...], seed: int) -> np.ndarray:
    """Scores of cells with these true accuracies, (questions, sets, cells); on half of the questions all have the same luck."""
    rng = np.random.default_rng(seed)
    shared = rng.random((n, FEWER, 1)) < 0.5
    luck = np.where(shared, rng.random((n, FEWER, 1)), rng.random((n, FEWER, len(accuracies))))
    return (luck < np.array(accuracies)).astype(float)


def performance(n: int, accuracies: tuple[float, ...], seed: int = 5) -> Figures:
    """The best of cells, and the best "held out": chosen on half of the questions. The truth is the best true accuracy."""
    data, truth = sharing(n, accuracies, seed), max(accuracies)
    low, high = np.array([split_half_performance(scores, resamples=500)["ci95"] for scores in data.swapaxes(0, 1)]).T
    best = bootstrapped(data, lambda means: means.max(-1))
    return {"best cell": held(best, truth), "held out": held((low, high), truth)}


def equal_cost(n: int, accuracies: tuple[float, ...], own: float, seed: int = 6) -> Figures:
    """A cell of accuracy `own` against the best of a baseline's cells, cross-fitted. The truth is that to the best true one."""
    data, truth, cells = sharing(n, (*accuracies, own), seed), own - max(accuracies), list(range(len(accuracies)))
    fits = [CrossFit(scores, halves(range(n)), resamples=500) for scores in data.swapaxes(0, 1)]
    values = np.stack([fit.own(len(cells)) - fit.value(fit.best(cells)) for fit in fits], 1)
    naive = data[..., -1].mean(0) - data[..., :-1].mean(0).max(-1)
    return {
        "cross-fitted": held(quantiles(values[1:]), truth),
        "its error, points": 100 * float(values[0].mean() - truth),
        "error of the best on all questions, points": 100 * float(naive.mean() - truth),
    }


def pools(n: int, k: int, a: float, b: float, seed: int = 7) -> Figures:
    """Pools of k samples of questions whose difficulties are beta(a, b), and half as many drawn from them. The truth is that of
    endlessly many such questions; that of Bayes@N these very questions' own accuracy."""
    rng = np.random.default_rng(seed)
    chance, half = rng.beta(a, b, size=(n, SETS)), k // 2
    right, many = rng.binomial(k, chance), rng.beta(a, b, size=200_000)
    drawn = np.array([math.comb(half, j) * many**j * (1 - many) ** (half - j) for j in range(half + 1)]).mean(1)  # j right
    figures: dict[str, tuple[Callable[[int], float], float]] = {
        f"pass@{half}": (lambda c: 1 - voting.expected_gpass_at_k(k, k - c, half, 1), 1 - drawn[0]),
        f"mG-Pass@{half}": (
            lambda c: voting.expected_mgpass_at_k(k, c, half),
            sum(2 / half * (j - half / 2) * drawn[j] for j in range(half // 2, half + 1)),
        ),
        f"G-Pass@{half}(1)": (lambda c: voting.expected_gpass_at_k(k, c, half, 1), drawn[half]),
    }
    found = {}
    for name, (estimate, truth) in figures.items():
        found[name] = held(bootstrapped(np.array([estimate(c) for c in range(k + 1)])[right]), truth)
        found[f"{name}, true %"] = 100 * float(truth)
    low, high = np.array([voting.bayes_at_n(column, k)["ci95"] for column in right.T]).T
    return found | {"Bayes@N": float(np.mean((low <= chance.mean(0)) & (chance.mean(0) <= high)))}


def tests(n: int, differing: float, seed: int = 8) -> Figures:
    """How often p is below 0.05: without a difference, and at the difference that is said to be detectable."""
    least = smallest_exact(differing, n) if n < 50 else smallest_difference(differing, n, whole=True)
    found = {"detectable, points": 100 * least}
    for name, true in (("false alarms", 0.0), ("found", least)):
        data = answered(n, true, max(differing, true), seed)
        draws = resampled_means(data, resamples=RESAMPLES)
        verdicts = [verdict(draws[:, s], data[:, s]) for s in range(SETS)]
        found[name] = float(np.mean([v["p"] < ALPHA for v in verdicts]))
        if not true:
            found["false alarms of the bootstrap alone"] = float(np.mean([v["p_bootstrap"] < ALPHA for v in verdicts]))
    return found


def families(n: int, true: int, false: int, seed: int = 9) -> Figures:
    """Exact McNemar tests of `true` real differences (15 points) and `false` that are none, all against one reference: how
    often any of those that are none is below 0.05, without and with Holm's correction."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[bool]] = {"uncorrected": [], "Holm": []}
    for _ in range(SETS):
        luck = rng.random((n, true + false + 1))
        luck = np.where(rng.random(luck.shape) < 0.8, rng.random((n, 1)), luck)
        right = luck < np.array([0.5, *[0.65] * true, *[0.5] * false])
        p = [mcnemar(int((own & ~right[:, 0]).sum()), int((~own & right[:, 0]).sum())) for own in right.T[1:]]
        found["uncorrected"].append(min(p[true:]) < ALPHA)
        found["Holm"].append(min(holm(p)[true:]) < ALPHA)
    return {name: float(np.mean(values)) for name, values in found.items()}


def splits(n: int, samples: int, a: float, b: float, seed: int = 10) -> Figures:
    """The variance between questions of difficulties beta(a, b) and its share: the truth, and the mean estimate."""
    rng = np.random.default_rng(seed)
    p, between = a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
    within = p * (1 - p) - between
    found = [
        split for _ in range(SETS) if (split := variance_split(*of_right(rng.binomial(samples, rng.beta(a, b, n)), samples)))
    ]
    return {
        "variance between": between,
        "variance between, estimated": float(np.mean([split["between"] for split in found])),
        "its share, %": 100 * between / (between + within / samples),
        "its share, estimated, %": 100 * float(np.mean([split["share_between"] for split in found])),
    }


def tables() -> Iterator[str]:
    sizes = (30, 200, 500)
    yield table(
        "One accuracy, one sample for each question (exact)",
        "questions, accuracy %",
        {f"{n}, {100 * p:.0f}": accuracy(n, p) for n in sizes for p in (0.02, 0.05, 0.1, 0.5, 0.9, 0.95)},
    )
    yield table(
        "One accuracy, four samples for each question",
        "questions, accuracy %",
        {f"{n}, {100 * p:.0f}": sampled_accuracy(n, p) for n in sizes for p in (0.05, 0.1, 0.5, 0.95)},
    )
    pairs = ((0.05, 0.0), (0.05, 0.03), (0.2, 0.05), (0.4, 0.1))
    yield table(
        "Paired difference of two cells",
        "questions, answered differently %, difference in points",
        {f"{n}, {100 * differ:.0f}, {100 * true:.0f}": paired(n, true, differ) for n in sizes for differ, true in pairs},
    )
    sweeps = {
        "10, doublings": (0.1,),
        "50, doublings": (0.5,),
        "90, doublings": (0.9,),
        "50, two 0.15 doublings apart": (0.5, True),
    }
    yield table(
        "Slopes of a budget sweep of six cells",
        "questions, best accuracy %, budgets",
        {f"{n}, {name}": slopes(n, *how) for n in sizes for name, how in sweeps.items()},
    )
    yield table(
        "Performance, the best of six cells",
        "questions, cells",
        {f"{n}, {name}": performance(n, cells) for n in sizes for name, cells in CELLS.items()},
    )
    yield table(
        "At equal cost: a cell 3 points worse than the best of a baseline's six",
        "questions, baseline",
        {f"{n}, {name}": equal_cost(n, cells, max(cells) - 0.03) for n in sizes for name, cells in CELLS.items()},
    )
    yield table(
        "Pools of 16 samples",
        "questions, their accuracies",
        {f"{n}, {name}": pools(n, 16, *ab) for n in sizes for name, ab in DIFFICULTIES.items()},
    )
    yield table(
        "How often p is below 0.05, in %",
        "questions, answered differently %",
        {f"{n}, {100 * differing:.0f}": tests(n, differing) for n in sizes for differing in (0.02, 0.05, 0.2, 0.4)},
    )
    yield table(
        "How often any of the differences that are none is below 0.05, in %",
        "questions; differences that are real, and that are none",
        {f"{n}; {true}, {false}": families(n, true, false) for n in sizes for true, false in ((0, 8), (4, 4))},
    )
    yield table(
        "Variance between questions, in that of an accuracy of 8 samples",
        "questions, their accuracies",
        {f"{n}, {name}": splits(n, 8, *ab) for n in (30, 200) for name, ab in DIFFICULTIES.items()},
    )


def table(title: str, first: str, rows: dict[str, Figures]) -> str:
    """In Markdown. Shares are in percent; points, percents and variances stand as they are."""
    columns = list(next(iter(rows.values())))
    lines = [f"| {first} | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, values in rows.items():
        lines.append(f"| {name} | " + " | ".join(_text(column, values[column]) for column in columns) + " |")
    return f"### {title}\n\n" + "\n".join(lines) + "\n"


def _text(column: str, value: float) -> str:
    if column.startswith("variance"):
        return f"{value:.4f}"
    return f"{value:.1f}" if column.endswith(("points", "%")) else f"{100 * value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/statistics.md")
    write, parts = parser.parse_args().write, []
    for part in tables():
        print(part, flush=True)
        parts.append(part)
    if write:
        page = ROOT / "docs" / "statistics.md"
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        page.write_text(before + BEGIN + "\n" + "\n".join(parts) + "\n" + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
