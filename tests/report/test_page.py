import json
import re
from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console

from s1x.report import traces
from s1x.report.aggregate import aggregate
from s1x.report.render import show

from .sweep import sample, write_job

VOID = {"meta", "path", "use", "rect", "br", "input"}
HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)>"


class Tree(HTMLParser):
    """Collects tags and their attributes; HTML void and self-closed elements are not on the stack."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.tags, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack.pop() == tag


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def test_page_is_well_formed_and_needs_no_network(aggregated):
    page = (aggregated[0] / "report.html").read_text()
    tree = Tree(page)
    assert tree.stack == [] and tree.tags.count("script") == 2 and "svg" in tree.tags
    assert not any(
        name in ("src", "srcset") or (name in ("href", "xlink:href") and not value.startswith("#"))
        for name, value in tree.attributes
    )
    assert "default-src 'none'" in page and "@import" not in page and "url(http" not in page


def test_page_shows_the_numbers_of_the_summary(aggregated):
    directory, summary = aggregated
    page = (directory / "report.html").read_text()
    for cell in summary["cells"]:
        assert f"{100 * cell['accuracy']:.1f} [" in page
    assert f"{summary['metrics'][0]['scaling']['value']:.1f} [" in page and "end ignored 2x against natural end" in page


def test_browser_data_holds_every_trace_by_kind(aggregated):
    data = data_of((aggregated[0] / "report.html").read_text())
    assert len(data["cells"]) == len(data["traces"]) == 9 and len(data["questions"]) == 60
    waiting = data["traces"][data["cells"].index("tiny_math · budget forcing · end ignored 2x")]
    for question, _, score, extracted, end, waits, thinking, segments, pool in waiting:
        line = sample(question, 256, 2)  # questions are numbered in the order of their first appearance: 0, 1, ...
        assert [n for _, n, _ in segments] == [len(s["ids"]) for s in line["segments"]]
        assert [data["kinds"][k] for k, _, _ in segments] == [s["kind"] for s in line["segments"]]
        assert (score, extracted, end, waits, thinking) == tuple(
            line[k] for k in ("score", "extracted", "end", "waits", "thinking_tokens")
        )
        assert pool is None


def test_model_text_cannot_become_markup(tmp_path):
    line = sample(0, 16, 0)
    line["doc"]["question"] = line["target"] = line["extracted"] = HOSTILE
    line["segments"][0]["text"] = HOSTILE
    write_job(
        tmp_path / "job", 0, [line, sample(1, 16, 0)], cell_id=HOSTILE, series=HOSTILE, overrides=[f"x={HOSTILE}"], budget=16
    )
    aggregate(tmp_path)
    page = (tmp_path / "report.html").read_text()
    tree = Tree(page)
    assert tree.tags.count("script") == 2 and "img" not in tree.tags and "<!--" not in page
    assert data_of(page)["questions"][0][0] == HOSTILE


def test_too_many_traces_are_cut_and_the_page_says_so(aggregated, tmp_path, monkeypatch):
    for job, budget in enumerate((16, 256)):
        lines = [sample(q, budget, 0) for q in range(40)]
        write_job(tmp_path / str(job), job, lines, cell_id=str(budget), series="bf", overrides=[f"b={budget}"], budget=budget)
    monkeypatch.setattr(traces, "PAGE_BYTES", 20_000)
    aggregate(tmp_path)
    page = (tmp_path / "report.html").read_text()
    shown = int(re.search(r"holds the text of the first (\d+) of 40 questions per cell", page)[1])
    data = data_of(page)
    assert 1 <= shown < 40 and [sum(t[7] is not None for t in rows) for rows in data["traces"]] == [shown, shown]
    assert [len(rows) for rows in data["traces"]] == [40, 40]  # how each came out is there
    assert len(json.dumps(data)) < 35_000


def test_pools_show_their_members(tmp_path):
    pool = sample(0, 16, 0) | {"samples": [sample(0, 16, 0), sample(0, 64, 0)]}
    write_job(tmp_path / "0", 0, [pool], cell_id="vote", series="majority_voting", overrides=[], budget=None)
    aggregate(tmp_path)
    pool = data_of((tmp_path / "report.html").read_text())["traces"][0][0][8]
    assert len(pool["members"]) == 2 and pool["nodes"] is None
    assert pool["members"][1][6][0][1] == len(sample(0, 64, 0)["segments"][0]["ids"])


@pytest.mark.parametrize("width", [80, 140])
def test_terminal_table_fits_and_shows_percent(aggregated, width):
    out = StringIO()
    show(aggregated[1], None, aggregated[0], Console(file=out, width=width, color_system=None))
    lines = out.getvalue().splitlines()
    assert max(len(line) for line in lines if not line.startswith(("Figure: /", "Report: /"))) <= width  # a path stays whole
    natural = aggregated[1]["cells"][4]
    row = next(line for line in lines if line.startswith("budget forcing") and " 256 " in line)
    assert f"{100 * natural['accuracy']:.1f} [" in row
    text = " ".join(out.getvalue().split())
    for word in ("Control", "Scaling", "Performance", "decoded here: 30,000 in 12.5 s", "x fewer)"):
        assert word in text
