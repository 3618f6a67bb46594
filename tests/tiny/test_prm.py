"""The tiny process reward model: where its verdicts stand in a text, and what the shipped weights are worth."""

import json
from pathlib import Path

import pytest

from s1x.evaluation.scorers import open_scorer
from s1x.tiny import benchmarks, measured, prm
from s1x.tiny.labels import labels
from s1x.tiny.problems import Problem, Step

torch = pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "s1x" / "tiny" / "models" / "tiny-prm"
CHAIN = Problem("chain", 751, (Step("*", 9), Step("+", 250)))  # 759, then 009
LINES = ["1:751*9=749", "2:749+250=999", "So 999.", "Wait, all steps checked.", "1:751*9=759"]


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(prm.sampled.MODEL)


def scorer_group():
    import yaml

    group = yaml.safe_load((ROOT / "conf" / "scorer" / "tiny_prm.yaml").read_text())
    return group | {"model": {"path": str(SHIPPED)}}


@pytest.fixture(scope="module")
def scorer():
    engine = {"_target_": "s1x.engines.transformers.TransformersEngine"}
    bound, model = open_scorer(engine, scorer_group(), None)
    yield bound, model
    model.engine.close()


def test_a_training_text_is_what_the_scorer_reads_and_has_a_verdict_behind_each_line(tokenizer, scorer):
    text = prm.text_of(tokenizer, CHAIN, LINES)
    ids, at = scorer[0].encode(CHAIN.question, LINES)
    assert tuple(text.ids) == ids
    places = {n - 1: right for n, right in zip(at, labels(CHAIN, LINES), strict=True) if right is not None}
    assert {i: bool(v) for i, v in enumerate(text.verdicts) if v != prm.NONE} == places
    assert list(places.values()) == [False, False, False, True]


def test_batches_hold_every_text_once_and_no_more_tokens_than_they_may(tokenizer):
    import random

    texts = [prm.text_of(tokenizer, CHAIN, LINES[:n]) for n in (1, 2, 3, 4, 5) for _ in range(7)]
    groups = list(prm.batches(texts, 400, random.Random(0)))
    assert sorted(id(t) for group in groups for t in group) == sorted(map(id, texts))
    assert all(len(group) * max(len(t.ids) for t in group) <= 400 for group in groups)
    ids, verdicts = prm.tensors(groups[0])
    assert ids.shape == verdicts.shape and (verdicts != prm.NONE).sum() == sum(
        v != prm.NONE for t in groups[0] for v in t.verdicts
    )


@pytest.mark.long
def test_a_short_training_learns_to_say_which_lines_are_right(tmp_path, tokenizer):
    """Traces of two kinds, all right and all wrong from the first line on: the loss falls from chance and the weights load."""
    said = []
    own = [(CHAIN, lines) for lines in (["1:751*9=759", "2:759+250=009"], ["1:751*9=749", "2:749+250=999"])] * 8
    folder = prm.train(tmp_path, prm.Recipe(epochs=25, tokens=2048), own, said.append)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    plus, minus = (tokenizer.convert_tokens_to_ids(mark) for mark in "+-")
    for lines, right in ((own[0][1], True), (own[1][1], False)):
        text = prm.text_of(tokenizer, CHAIN, lines)
        logits = model(torch.tensor([text.ids])).logits[0, -1]
        assert (logits[plus] > logits[minus]) == right
    assert json.loads((folder / "recipe.json").read_text())["steps"] == 25


def test_the_shipped_weights_tell_right_lines_from_wrong_ones(scorer):
    """A few sampled traces of the development half; the card has the numbers of many."""
    problems = benchmarks.load("test")
    traces = [
        (problems[row["problem"]], row["lines"]) for row in json.loads((Path(__file__).parent / "traces.json").read_text())
    ]
    values = measured.values(*scorer, [(problem.question, lines) for problem, lines in traces])
    known = [
        (value, right)
        for (problem, lines), said in zip(traces, values, strict=True)
        for value, right in zip(said, labels(problem, lines), strict=True)
        if right is not None
    ]
    assert len(known) > 400 and measured.auc(*zip(*known, strict=True)) > 0.93
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 8e6
