"""The page in Debian's Chromium: what it shows, how soon, how wide, and that nothing a model wrote does anything there."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from pathlib import Path

import pytest

from s1x.report.aggregate import aggregate

from .sweep import sample, search, write_job, write_sweep

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
).split()
WIDTHS, SCHEMES = (800, 1400, 1920), ("light", "dark")
LONG = "w" * 20_000
HOSTILE = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "<svg onload=alert(3)>", "<!-- <script>",
    "\u202elive\u2066", "a\0b", "${alert(4)} {{ 7 * 7 }} {% raw %}", LONG, "\u05d0\u05d1\u05d2 123", "\ud800", "a\u2028b",
    "&lt;b&gt; &#0;", "",
)  # fmt: skip
LOOKS = (Path(__file__).parent / "looks.js").read_text()


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright here (pip install -e '.[browser]')")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)  # in a fresh directory of its own
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Opens a report; what it says on the console, asks of a network, or shows as a dialog, is an error."""
    told, contexts = [], []

    def go(directory, width=1400, scheme="light", at=""):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme))
        page, address = contexts[-1].new_page(), (directory / "report.html").absolute().as_uri() + at
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("dialog", lambda dialog: (told.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda asked: asked.url.split("#")[0] == address.split("#")[0] or told.append(f"request {asked.url[:99]}"),
        )
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert told == []


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    directory = tmp_path_factory.mktemp("few")
    lines = [sample(q, 64, 0) for q in range(5)]
    write_job(directory / "0", 0, lines, cell_id="a", series="budget_forcing", overrides=[], budget=64, limit_tokens=[0, 64])
    aggregate(directory)
    return directory


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    directory = write_sweep(tmp_path_factory.mktemp("sweep"), questions=60)
    aggregate(directory)
    return directory


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Question 0: of two first steps one was kept, it grew three ways, two of them alike, and the third counts."""
    directory = tmp_path_factory.mktemp("searched")
    nodes = [
        ([0], 0.75, "first\n"),
        ([1], 0.25, "never\n"),
        ([0, 0], 0.5, "same"),
        ([0, 1], 0.5, "same"),
        ([0, 2], 0.875, "third"),
    ]
    nodes += [([1, 0], 0.125, "nor this")]
    lines = [
        search(0, nodes, leaves=[[0, 0], [0, 1], [0, 2]]),
        search(1, [([0, 0], 0.5, "x"), ([1, 1], 0.25, "y")], [[0, 0], [1, 1]]),
    ]
    write_job(directory / "0", 0, lines, cell_id="tree", series="a_search", overrides=[], budget=None)
    pools = [line | {"info": {}} for line in lines]
    write_job(directory / "1", 1, pools, cell_id="pool", series="a_pool", overrides=[], budget=None)
    aggregate(directory)
    return directory


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A cell whose tokens nobody counted."""
    directory = tmp_path_factory.mktemp("imported")
    lines = [sample(q, 64, 0) for q in range(5)]
    write_job(directory / "0", 0, lines, cell_id="a", series="published", overrides=[], budget=None)
    for line in lines:
        line["thinking_tokens"] = None
        line["segments"] = [{"kind": s["kind"], "tokens": None, "text": s["text"]} for s in line["segments"]]
    (directory / "0" / "samples_tiny_math.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = json.loads((directory / "0" / "cell.json").read_text())
    record |= {"thinking_tokens": dict.fromkeys(record["thinking_tokens"]), "flops": None, "path_tokens": None}
    (directory / "0" / "cell.json").write_text(json.dumps(record))
    aggregate(directory)
    return directory


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hostile")
    lines = []
    for q, text in enumerate(HOSTILE):
        line = sample(q, 64, 0) if q % 2 else search(q, [([0], 0.5, text), ([1], 0.25, text)], leaves=[[0], [1]])
        line["doc"]["question"] = line["target"] = line["extracted"] = text
        for part in [line, *line["samples"]]:
            part["extracted"] = text
            for segment in part["segments"]:
                segment["text"] = text
        lines.append(line)
    names = [text for text in HOSTILE if text not in (LONG, "", "a\0b", "\ud800")]
    for job, name in enumerate(names):
        write_job(directory / str(job), job, lines, cell_id=name, series=name, overrides=[f"x={name}"], budget=64)
    run = {"experiment": HOSTILE[1], "command": " ".join(HOSTILE[:5]), "git": None, "versions": {HOSTILE[0]: HOSTILE[1]}}
    (directory / "run.json").write_text(json.dumps(run | {"decode_tokens": 1, "wall_s": 1.0}))
    aggregate(directory)
    return directory


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """10,000 traces."""
    directory = tmp_path_factory.mktemp("many")
    for job in range(10):
        lines = [sample(q, 2 ** (job + 1), 0) for q in range(1000)]
        write_job(
            directory / str(job), job, lines, cell_id=str(job), series="bf", overrides=[f"b={job}"], budget=2 ** (job + 1)
        )
    aggregate(directory)
    return directory


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["few", "imported", "sweep", "searched", "hostile"])
def test_nothing_is_cut_off_or_pale(name, scheme, visit, request):
    for width in WIDTHS:
        page = visit(request.getfixturevalue(name), width, scheme)
        for _ in range(len(HOSTILE) if name == "hostile" else 2):
            page.evaluate("document.querySelectorAll('#trace details').forEach(box => (box.open = true))")
            assert page.evaluate(LOOKS) == {"outside": [], "pale": []}
            page.keyboard.press("ArrowRight")


def test_ten_thousand_traces_open_in_four_seconds(many, visit):
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        page = visit(many)
        assert page.locator("#count").text_content() == "1 of 1,000"
        seconds.append(time.perf_counter() - begun)
    assert statistics.median(seconds) < 4, seconds
    assert page.evaluate("data.traces.flat().length") == 10_000
    begun = time.perf_counter()
    page.locator("#find").fill("start at 77,")
    assert page.locator("#count").text_content() == "1 of 1" and time.perf_counter() - begun < 2


def test_hostile_text_is_text(hostile, visit):
    page = visit(hostile)
    for cell in range(page.evaluate("data.cells.length")):
        page.evaluate("cell => choose(cell, 0)", cell)
        for q, text in enumerate(HOSTILE):
            page.evaluate("([cell, q]) => choose(cell, q)", [cell, q])
            shown = text.replace("\ud800", "\ufffd")  # as the driver hands it over
            assert page.locator("#question").text_content().replace("\ud800", "\ufffd") == (shown or f"doc_id {q}")
    page.check("#beside")
    assert page.locator("script").count() == 2
    assert page.locator("img, iframe, object, embed, a, form, base, link, audio, video").count() == 0
    assert (
        page.evaluate("[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))")
        == []
    )
    for address in ("#trace=<img src=x>", "#trace=999999,0,0", "#trace=0,-1,0", "#__proto__", "#trace=0,1e3,0"):
        page.evaluate("address => (location.hash = address)", address)
        assert page.locator("#question").text_content() != ""


def test_the_policy_stops_a_script_that_got_in(few, tmp_path, chromium):
    text = (
        (few / "report.html").read_text().replace("<main>", "<main><script>document.title = 'in'</script><b onclick='x'></b>")
    )
    (tmp_path / "report.html").write_text(text)
    page = chromium.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.title() != "in" and page.locator("#count").text_content() == "1 of 5"
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>'")
    page.close()


def test_a_search_is_shown_as_a_tree(searched, visit):
    page = visit(searched)
    trace = page.locator("#trace")
    assert trace.locator("#why").text_content() == "0 counts: of 3, number 3 has the highest reward, 0.875."
    assert [s.strip() for s in trace.locator(".step .text").all_inner_texts()] == ["first", "third", "same"]  # the trunk once
    assert trace.locator(".step small").all_inner_texts() == ["1 0.750", "2 0.875", "2 0.500 ×2"]
    assert trace.locator(".leaf").count() == 2 and "Chain 3: 0 ✓ reward 0.875" in trace.locator(".leaf.counted").inner_text()
    assert "Chains 1, 2: 1 ✗ reward 0.500" in trace.locator(".leaf:not(.counted)").inner_text()
    gone = trace.locator(".dropped")
    assert gone.locator("summary").inner_text() == "2 of 2 kept, 1 to the end; the others: 0.250"
    gone.locator("summary").click()
    gone.locator(".step .text").first.wait_for()
    assert [s.strip() for s in gone.locator(".step .text").all_inner_texts()] == ["never", "nor this"]
    page.keyboard.press("ArrowRight")  # two trees: both stand at the root, without a fold
    assert page.locator("#trace .step").count() == 2 and page.locator("#trace .dropped").count() == 0


def test_a_pool_is_shown_as_a_pool(searched, visit):
    page = visit(searched, at="#trace=1,0,0")
    said = ["Sample 1: 1 ✗ reward 0.500", "Sample 2: 1 ✗ reward 0.500", "Sample 3: 0 ✓ reward 0.875"]
    heads = page.locator(".sample summary").all_inner_texts()
    assert [h.split(",")[0] for h in heads] == said
    assert page.locator(".sample[open]").count() == 1 and "counts" in heads[2]


def here(page):
    """[cell, question, repeat] of the address (page.url learns of it later)."""
    return page.evaluate("location.hash").removeprefix("#trace=").split(",")


def test_filters_keys_and_addresses(sweep, visit):
    cells = json.loads((sweep / "summary.json").read_text())["cells"]
    at = [cell["budget"] for cell in cells].index(64)
    wanted = [q for q in range(60) if sample(q, 64, 0)["score"] < 1 <= sample(q, 256, 0)["score"]]
    assert wanted  # wrong at 64, right at 256
    page = visit(sweep, at=f"#trace={at},3,0")
    assert page.locator("#question").text_content() == sample(3, 64, 0)["doc"]["question"]
    page.select_option("#filter", "wrong")
    page.select_option("#other", index=1 + [cell["budget"] for cell in cells].index(256))
    page.select_option("#also", "right")
    seen = []
    page.locator("#grid").focus()
    for _ in wanted:
        seen.append(int(here(page)[1]))
        page.keyboard.press("ArrowRight")
    assert seen == wanted and page.locator("#count").text_content() == f"{len(wanted)} of {len(wanted)}"
    page.select_option("#filter", "forced")
    page.select_option("#other", index=0)
    forced = sum(sample(q, 64, 0)["end"] == "forced" for q in range(60))
    assert page.locator("#count").text_content().endswith(f" of {forced}")
    page.select_option("#filter", "all")
    page.locator("#grid").focus()
    before = here(page)
    page.keyboard.press("ArrowDown")
    assert here(page) == [str(at + 1), *before[1:]]
    page.locator("#grid canvas").first.click(position={"x": 4, "y": 5})
    assert here(page) == ["0", "0", "0"]


def test_the_grid_is_coloured_by_outcome(sweep, visit):
    page = visit(sweep)
    at = [cell["budget"] for cell in json.loads((sweep / "summary.json").read_text())["cells"]].index(256)
    read = """at => {
      const canvas = document.querySelectorAll("#grid canvas")[at];
      return [...canvas.getContext("2d").getImageData(0, 6, canvas.width, 1).data];
    }"""
    pixels, pitch, style = page.evaluate(read, at), page.evaluate("grid.pitch"), "getComputedStyle(document.documentElement)"
    for q in (1, 2, 5, 20, 59):
        line, x = sample(q, 256, 0), 4 * int((q + 0.5) * pitch)
        colour = "right" if line["score"] else "silent" if line["no_answer"] else "wrong"
        expected = page.evaluate(f"{style}.getPropertyValue('--{colour}').trim()")
        assert "#" + "".join(f"{c:02x}" for c in pixels[x : x + 3]) == expected, q


def test_a_pointer_on_a_point_of_the_figure_reads_what_it_is(sweep, visit):
    page = visit(sweep)
    mark = page.locator("svg g:has(> title)").first
    mark.hover()
    x, y = (mark.bounding_box()[k] + mark.bounding_box()[size] / 2 for k, size in (("x", "width"), ("y", "height")))
    told = page.evaluate("([x, y]) => document.elementFromPoint(x, y).closest('g:has(> title)')?.textContent", [x, y])
    assert "% [" in told and "tokens" in told


def test_the_same_question_side_by_side(sweep, visit):
    page = visit(sweep)
    page.check("#beside")
    text = page.locator("#trace").inner_text()
    line = sample(0, 256, 0)["segments"][0]["text"].split()
    assert text.count(" ".join(line[:12])) == 1  # what they have in common stands there once
    assert page.locator("#trace .leaf b").count() == 10 - 1  # every cell (two of the ten are the same)


def test_tables_sort_and_can_be_copied(sweep, visit):
    page = visit(sweep)
    table = page.locator("table").first

    def column():
        return [row.split("\t") for row in table.inner_text().splitlines()[1:]]

    titles = table.locator("th").all_inner_texts()
    at = titles.index("thinking")
    table.locator("th button").nth(at).click()
    values = [float(row[at].replace(",", "")) for row in column()]
    assert values == sorted(values, reverse=True)
    table.locator("th button").nth(at).click()
    assert [float(row[at].replace(",", "")) for row in column()] == values[::-1]
    page.get_by_role("button", name="LaTeX").first.click()
    latex = page.locator(".copy textarea").input_value()
    assert latex.startswith("\\begin{tabular}{l") and "budget forcing" in latex and "accuracy \\% [95\\%]" in latex
    page.get_by_role("button", name="Markdown").first.click()
    markdown = page.locator(".copy textarea").input_value().splitlines()
    assert markdown[0].startswith("| cell |") and markdown[1].startswith("| --- | ---: |") and len(markdown) == 2 + len(values)


def test_a_real_search_on_the_page(command, tmp_path, visit):
    settings = ["method=beam_search", "method.n=4", "method.width=2", "scorer=tiny_prm", "sampling.temperature=1"]
    where = [f"store.dir={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / 'out'}", "tracking=none"]
    assert command(*settings, *where, "task.limit=2")[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "samples_tiny_math.jsonl").read_text().splitlines()]
    page = visit(tmp_path / "out")
    for line in lines:
        nodes = line["info"]["nodes"]
        assert page.locator("#trace .soft").first.inner_text().startswith(f"{len(nodes)} steps were grown; ")
        best = max(line["samples"], key=lambda sample: sample["info"]["reward"])
        counted = page.locator(".leaf.counted").inner_text()
        assert f"{best['extracted']} " in counted and f"reward {best['info']['reward']:.3f}" in counted
        path = [node["text"].strip() for node in nodes if node["path"] == best["info"]["path"][: len(node["path"])]]
        shown = [text.strip() for text in page.locator("#trace li.best .step .text").all_inner_texts()]
        assert [text for text in path if text] == shown[: len([text for text in path if text])]
        page.keyboard.press("ArrowRight")
