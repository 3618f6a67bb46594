"""A method from outside the repository: its file, its YAML, its errors."""

from __future__ import annotations

import json
import re
import sys
import textwrap

import pytest

from .conftest import CONF

CODE = '''
from s1x.methods.base import Ask, method


@method(limits=lambda s: (0, s.tokens))
def mymine(ask: Ask, *, tokens: int, fails: str = "never"):
    """Think for at most `tokens` tokens, then answer."""
    span = yield ask.think(limit=tokens)
    if fails == "always" or (fails == "once" and "7" in ask.prompt.text):
        raise RuntimeError("a bug of mine")
    return (yield from ask.close([ask.thinking(span)], span))
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """mymine.py on the path, and its YAML in a folder that Hydra searches."""
    (tmp_path / "mymine.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "conf" / "method").mkdir(parents=True)
    yaml = "_target_: mymine.mymine\n_partial_: true\ntokens: 24\nfails: never\n"
    (tmp_path / "conf" / "method" / "mymine.yaml").write_text(yaml, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("mymine", None)  # another test's
    return [f"hydra.searchpath=[file://{tmp_path}/conf]", "engine=scripted", "tracking=none", "task.limit=12", "store.dir=s"]


def cells(tmp_path):
    return {p.parent.name: json.loads(p.read_text()) for p in sorted((tmp_path / "out").glob("*/cell.json"))}


def test_one_file_and_one_yaml(command, mine, tmp_path):
    status, err = command("-m", "method=mymine,budget_forcing", "method.fails=never", "hydra.sweep.dir=out", *mine)
    assert status == 2 and "method.fails" in err  # budget forcing has no such setting, and says so
    status, err = command("-m", "method=mymine", "method.tokens=8,24", "hydra.sweep.dir=out", *mine)
    assert status == 0, err
    records = cells(tmp_path)
    assert [r["limit_tokens"] for r in records.values()] == [[0, 8], [0, 24]]
    assert {r["series"] for r in records.values()} == {"mymine"}
    assert all(r["thinking_tokens"]["max"] <= r["budget"] for r in records.values())


@pytest.mark.parametrize("fails", ["always", "once"])
def test_an_error_in_a_method_ends_its_own_cell(command, mine, tmp_path, fails):
    status, err = command(
        "-m", "method=mymine", f"method.fails=never,{fails}", "method.tokens=24,40", "hydra.sweep.dir=out", *mine
    )
    records = cells(tmp_path)
    assert status == 1 and sorted(records) == ["0", "1"]  # those of never: written, the others not
    assert "job 2 failed: a bug of mine" in err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert len(summary["cells"]) == 2 and len(summary["problems"]) == 2
    log = (tmp_path / "out" / "run.log").read_text()
    assert log.count("Traceback") == log.count("RuntimeError: a bug of mine\n") // 2 > 0 and "Traceback" not in err


@pytest.mark.parametrize("launcher", [(), ("-m", "hydra/launcher=basic")])
def test_an_error_in_a_cell_that_runs_alone_shows_its_traceback_once(command, capsys, mine, tmp_path, launcher):
    status, err = command(*launcher, "method=mymine", "method.fails=always", "hydra.run.dir=out", "hydra.sweep.dir=out", *mine)
    assert status == 1
    assert err.removeprefix("job 0 failed: ").startswith("the cell ended with RuntimeError: a bug of mine\n")
    assert err.count("\n") == 1 + len(launcher) // 2  # a sweep says that it has no results, too
    log = "".join(path.read_text() for path in tmp_path.glob("out/**/run.log"))
    assert log.count("Traceback") == 1 and 'raise RuntimeError("a bug of mine")' in log


@pytest.mark.parametrize(
    ("value", "shown"), [("abc", "'abc'"), ("-3", "-3"), ("2.5", "2.5"), ("true", "True"), ("[4]", "[4]"), ("'12'", "'12'")]
)
def test_a_limit_that_is_none_is_a_sentence_without_any_check(command, mine, tmp_path, value, shown):
    for more in ((), ("plan=true",)):
        status, err = command("method=mymine", f"method.tokens={value}", "hydra.run.dir=one", *more, *mine)
        expected = f"method.tokens={shown}: must be a whole number of tokens, 0 or more, or null for no limit\n"
        assert (status, err) == (2, expected)


def test_limits_that_are_not_declared_are_looked_at_as_well(command, mine, tmp_path):
    code = CODE.replace("@method(limits=lambda s: (0, s.tokens))", "@method")
    (tmp_path / "mymine.py").write_text(code, encoding="utf-8")
    status, err = command("method=mymine", "method.tokens=abc", "hydra.run.dir=one", *mine)
    assert (status, err.partition(":")[0]) == (2, "method.tokens='abc'")
    status, err = command("method=mymine", "method.tokens=abc", "hydra.run.dir=one", "plan=true", *mine)
    assert (status, err.partition(", 0 or")[0]) == (2, "method=mymine: a limit of 'abc': must be a whole number of tokens")
    (tmp_path / "mymine.py").write_text(CODE.replace("(0, s.tokens)", "(0, 100 // s.tokens)"), encoding="utf-8")
    sys.modules.pop("mymine")
    status, err = command("method=mymine", "method.tokens=0", "hydra.run.dir=one", *mine)
    assert status == 2 and err.startswith("method: the limits that it declares cannot be made of its settings (ZeroDivision")


def test_a_method_that_is_not_there(command, mine, tmp_path):
    for override, says in (
        ("method._target_=mymine.other", "method._target_=mymine.other: cannot be loaded"),
        ("method._target_=nowhere.at_all", "method._target_=nowhere.at_all: cannot be loaded"),
        ("method.tokens=null", "method.tokens"),
    ):
        status, err = command("method=mymine", override, "hydra.run.dir=one", *mine)
        if "tokens" not in override:
            assert status == 2 and says in err, textwrap.shorten(err, 400)


@pytest.mark.long
def test_a_method_renamed_keeps_limits_series_tables_and_figure(command, mine, tmp_path):
    """Budget forcing under another name: what is written differs in the name alone."""
    (tmp_path / "mymine.py").write_text(
        "import types\nfrom s1x.methods import budget_forcing as room\nmethod = room.budget_forcing\n"
        "renamed_method = types.FunctionType(method.__code__, vars(room), 'renamed_method')\n"
        "renamed_method.__kwdefaults__, renamed_method.declared = method.__kwdefaults__, method.declared\n",
        encoding="utf-8",
    )
    yaml = (CONF / "method" / "budget_forcing.yaml").read_text(encoding="utf-8")
    target = "s1x.methods.budget_forcing.budget_forcing"
    renamed = yaml.replace(target, "mymine.renamed_method")
    (tmp_path / "conf" / "method" / "renamed_method.yaml").write_text(renamed, encoding="utf-8")
    for name in ("budget_forcing", "renamed_method"):
        waits = f"{{method: {name}, method.ignore_end: '0,2', method.string: Hmm}}"
        grids = f"[{{method: {name}, method.max_thinking_tokens: '16,32'}}, {waits}]"
        status, err = command("-m", f"hydra.sweeper.grids={grids}", f"hydra.sweep.dir={name}", *mine)
        assert status == 0, err
    one, other = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("budget_forcing", "renamed_method"))
    told = ("cell_id", "method", "series", "overrides", "settings", "declared")
    for a, b in zip(one["cells"], other["cells"], strict=True):
        assert {k: v for k, v in a.items() if k not in told} == {k: v for k, v in b.items() if k not in told}
        for key in ("series", "declared"):
            assert json.dumps(a[key]).replace("budget_forcing", "renamed_method") == json.dumps(b[key])
    for key in ("control", "scaling", "performance", "n_points"):
        assert [without_ids(m[key]) for m in one["metrics"]] == [without_ids(m[key]) for m in other["metrics"]]
    texts = [(tmp_path / name / "summary.md").read_text() for name in ("budget_forcing", "renamed_method")]
    texts = [text.replace("budget forcing", "renamed method").split("Tokens:")[0] for text in texts]
    words = [sorted(re.findall(r"[\w.%\[\]+-]+", text)) for text in texts]
    assert words[0] == words[1]
    marks = [(tmp_path / name / "scaling.svg").read_text().count("<use ") for name in ("budget_forcing", "renamed_method")]
    assert marks[0] > 4 and abs(marks[0] - marks[1]) < 40  # letters of the name are marks as well


def without_ids(value):
    return {k: v for k, v in value.items() if k != "cell_id"} if isinstance(value, dict) else value


def test_a_store_in_memory(command, mine, tmp_path):
    status, err = command("method=mymine", "hydra.run.dir=one", *mine[:-1], "store.dir=null")
    assert status == 0, err
    assert (tmp_path / "one" / "cell.json").is_file() and not (tmp_path / ".s1x" / "store").exists()
