import pytest

from s1x.metrics.cell import cell_record
from s1x.metrics.compute import ModelFacts, forward_flops, line_flops

CELL_KEYS = """
cell_id job series model task method overrides seed temperature budget limit_tokens settings declared until
n_questions samples_per_question
accuracy accuracy_ci95 thinking_tokens answer_tokens forced_end_rate waits_mean no_answer_rate obedience graded_by
path_tokens scored_tokens flops info
"""


def line(doc_id, score, thinking, **more):
    segments = [
        {"kind": "thinking", "ids": [1] * thinking, "text": ""},
        {"kind": "delimiter", "ids": [2, 2], "text": ""},
        {"kind": "answer", "ids": [3] * 4, "text": ""},
    ]
    return {
        "doc_id": doc_id, "score": score, "thinking_tokens": thinking, "answer_tokens": 4, "end": "forced", "waits": 0,
        "no_answer": False, "path_tokens": thinking + 5, "segments": segments,
    } | more  # fmt: skip


def test_record_has_exactly_the_keys_of_the_contract():
    samples = [line(0, 1, 10), line(1, 0, 30, end="natural", waits=2, no_answer=True)]
    record = cell_record(samples, {"cell_id": "x", "series": "bf", "limit_tokens": [None, 32], "wandb": "ignored"})
    assert sorted(record) == sorted(CELL_KEYS.split())
    assert record["accuracy"] == 0.5 and record["n_questions"] == 2 and record["samples_per_question"] == 1
    assert record["thinking_tokens"] == {"mean": 20.0, "median": 20.0, "p95": 29.0, "max": 30}
    assert (record["forced_end_rate"], record["waits_mean"], record["no_answer_rate"]) == (0.5, 1.0, 0.5)
    assert record["path_tokens"] == 50 and record["flops"] is None and record["seed"] is None


def test_forced_ends_and_waits_of_a_pool_are_those_of_its_members():
    """Seen with a real model: votes of 48 tokens, nearly all of them cut, were shown with 0% forced."""

    def member(end, waits):
        return {"end": end, "waits": waits}

    pools = [
        line(0, 1, 90, end="none", samples=[member("forced", 0), member("forced", 0), member("natural", 2)]),
        line(1, 0, 60, end="none", samples=[member("forced", 0), member("natural", 0), member("natural", 1)]),
    ]
    record = cell_record(pools, {})
    assert (record["forced_end_rate"], record["waits_mean"]) == (0.5, 0.5)
    one = cell_record([line(0, 1, 9, end="none", samples=[member("forced", 1)])], {})
    assert (one["forced_end_rate"], one["waits_mean"]) == (1.0, 1.0)
    mixed = cell_record([pools[0], line(1, 1, 5, end="context")], {})
    assert (mixed["forced_end_rate"], mixed["waits_mean"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("tokens", "instructed", "error", "within"),
    [
        ([100, 120, 200], 100, 0.4, 2 / 3),  # |0|, 20, 100 of 100; 20% is within
        ([79, 80, 81], 100, 0.2, 2 / 3),
        ([0, 0], 64, 1.0, 0.0),
        ([], 0, None, None),
    ],
)
def test_obedience_to_a_length_is_a_relative_error(tokens, instructed, error, within):
    samples = [line(i, 1, n) for i, n in enumerate(tokens)] or [line(0, 1, 5)]
    pool = [line(0, 1, 0, samples=samples)]  # of a pool every member counts
    for lines in (samples, pool):
        found = cell_record(lines, {"declared": {"instructed": instructed}})["obedience"]
        assert found == ({} if error is None else pytest.approx({"error": error, "within_20": within}))
    assert cell_record(samples, {})["obedience"] == {}


def test_who_graded_is_counted_answer_by_answer():
    lines = [
        line(0, 1, 1, reader="rules"),
        line(1, 1, 1, reader="judge", judge="same"),
        line(2, 0, 1, reader="judge", judge="different"),
        line(3, 0, 1, reader="rules", judge="none"),
        line(4, 0, 1, reader="none"),
        line(5, 1, 1, samples=[line(5, 1, 1, reader="rules"), line(5, 0, 1, reader="none", judge="none")]),
        line(6, 1, 1),  # as written before
    ]
    counted = {"rules": 4, "judge": 2, "judge_changed": 1, "judge_failed": 2, "not_graded": 2}
    assert cell_record(lines, {})["graded_by"] == counted


def test_what_a_method_noted_is_averaged():
    notes = [{"tries": tries, "exhausted": exhausted, "limit": 9, "unit": "x"} for tries, exhausted in ((1, False), (4, True))]
    lines = [line(i, 1, 1, info=n) for i, n in enumerate(notes)]
    assert cell_record(lines, {})["info"] == {"tries": 2.5, "exhausted": 0.5, "limit": 9}
    assert cell_record(lines, {"columns": ("tries",)})["info"] == {"tries": 2.5}


def test_accuracy_averages_repeats_within_questions():
    samples = [line(0, 1, 1), line(0, 0, 1), line(1, 1, 1), line(1, 1, 1)]
    record = cell_record(samples, {})
    assert record["accuracy"] == 0.75 and record["samples_per_question"] == 2


def test_flops_count_every_token_once():
    facts = {"parameters": 1000, "layers": 2, "hidden": 8}
    assert forward_flops(ModelFacts(**facts), 3) == 3 * 2000 + 4 * 2 * 8 * (0 + 1 + 2)
    one = line(0, 1, 10, prompt_tokens=20)
    tokens, context = 20 + 2 + 15, 20 + 16  # prompt, delimiter, decoded; the path holds all segments after the prompt
    assert line_flops(one, ModelFacts(**facts)) == 2000 * tokens + 2 * 2 * 8 * (context - 1) * tokens
    record = cell_record([one, one], {"model_facts": facts})
    assert record["flops"] == 2 * line_flops(one, ModelFacts(**facts))
    pool = one | {"samples": [one, one], "path_tokens": 30}
    assert line_flops(pool | {"segments": []}, ModelFacts(**facts)) == forward_flops(ModelFacts(**facts), 20 + 4 + 30, context)
    beside = [
        {"kind": "delimiter", "ids": [4] * 9, "role": "select"},
        {"kind": "answer", "ids": [3] * 3},
    ]  # a prompt and its answer
    paths = (2 * (context - 20) + 12) // 3
    counted = forward_flops(ModelFacts(**facts), 20 + 4 + 9 + 30, 20 + paths)
    assert line_flops(pool | {"segments": beside}, ModelFacts(**facts)) == counted


def test_no_samples_is_a_sentence():
    with pytest.raises(ValueError, match="cell c: no samples to measure"):
        cell_record([], {"cell_id": "c"})
