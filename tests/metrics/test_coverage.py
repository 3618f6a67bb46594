"""Intervals hold the truth in 93 to 97% of cases, for accuracies of 5 to 95% and 200 questions; where they do not,
docs/statistics.md says so (scripts/coverage.py)."""

import re

import pytest

from scripts import coverage

long = pytest.mark.long


@pytest.fixture(autouse=True)
def smaller(monkeypatch):
    monkeypatch.setattr(coverage, "RESAMPLES", 1000)
    monkeypatch.setattr(coverage, "FEWER", 200)


def within(figures, *names, low=0.93, high=0.97):
    assert {name: figures[name] for name in names if not low <= figures[name] <= high} == {}


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.95])
def test_one_accuracy(p):
    within(coverage.accuracy(200, p), "Wilson", "bootstrap", low=0.929)


@pytest.mark.parametrize(("difference", "differing"), [(0.0, 0.05), (0.03, 0.05), (0.05, 0.2), (0.1, 0.4)])
def test_paired_differences(difference, differing):
    within(coverage.paired(200, difference, differing), "bootstrap")


@long
@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
def test_several_samples(p):
    within(coverage.sampled_accuracy(200, p), "Wilson", "bootstrap")


@pytest.mark.parametrize(
    ("a", "b", "figures"), [pytest.param(1, 1, 3), pytest.param(0.8, 0.2, 2, marks=long), pytest.param(0.3, 2.7, 1, marks=long)]
)
def test_pools(a, b, figures):
    found = coverage.pools(200, 16, a, b)
    names = [name for name in found if f"{name}, true %" in found and 5 <= found[f"{name}, true %"] <= 95]
    assert len(names) == figures
    within(found, *names)
    if a == b == 1:
        within(found, "Bayes@N", low=0.92)  # its prior is these questions' own distribution
    else:
        assert found["Bayes@N"] < 0.1  # and is not here: it is drawn to one half


@long
@pytest.mark.parametrize(("top", "close"), [(0.5, False), (0.5, True), (0.1, False)])
def test_slopes(top, close):
    within(coverage.slopes(200, top, close), *coverage.SLOPES, low=0.925)


@long
def test_at_equal_cost():
    found = coverage.equal_cost(200, (0.5,) * 5 + (0.6,), 0.57)
    within(found, "cross-fitted", low=0.91, high=0.985)  # 200 data sets
    assert abs(found["its error, points"]) < 3
    equal = coverage.equal_cost(200, (0.5,) * 6, 0.47)
    assert equal["cross-fitted"] > 0.93 and abs(equal["its error, points"]) < 1  # wider than it must be; no luck is counted
    assert equal["error of the best on all questions, points"] < -2


@pytest.mark.parametrize(
    ("n", "differing"), [(30, 0.2), (200, 0.2), pytest.param(30, 0.05, marks=long), pytest.param(200, 0.05, marks=long)]
)
def test_p_values_and_the_detectable_difference(n, differing, monkeypatch):
    monkeypatch.setattr(coverage, "SETS", 600)
    found = coverage.tests(n, differing)
    assert found["false alarms"] <= 0.07 and 0.76 <= found["found"] <= 0.84


def test_holm_holds_over_a_whole_table(monkeypatch):
    monkeypatch.setattr(coverage, "SETS", 300)
    found = coverage.families(200, 0, 8)
    assert found["uncorrected"] > 0.1 and found["Holm"] <= 0.05


@pytest.mark.parametrize(("a", "b"), [(1, 1), (0.3, 2.7)])
def test_the_split_of_variance_is_unbiased(a, b):
    found = coverage.splits(200, 8, a, b)
    assert found["variance between, estimated"] == pytest.approx(found["variance between"], rel=0.05)
    assert found["its share, estimated, %"] == pytest.approx(found["its share, %"], abs=2)


def test_the_page_has_every_table():
    page = (coverage.ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    source = (coverage.ROOT / "scripts" / "coverage.py").read_text(encoding="utf-8")
    titles = re.findall(r'yield table\(\s+"(.+)",', source)
    written = page.partition(coverage.BEGIN)[2].partition(coverage.END)[0]
    assert len(titles) == 10 and re.findall(r"^### (.+)$", written, re.MULTILINE) == titles
    assert "python scripts/coverage.py --write" in page


@long
def test_the_page_has_the_figures_of_today(monkeypatch):
    monkeypatch.undo()
    page = (coverage.ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    row = coverage.slopes(200, 0.5)
    line = next(line for line in page.splitlines() if line.startswith("| 200, 50, doublings |"))
    assert [float(cell) for cell in line.split("|")[2:-1]] == pytest.approx([100 * value for value in row.values()], abs=0.3)
