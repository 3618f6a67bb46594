"""Hashed n-grams against a naive implementation on sets of strings."""

import random
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1x.data.duplicates import across, exact, near
from s1x.data.ngrams import contaminated
from s1x.errors import SettingError

WORDS = st.sampled_from(["a", "B", "b", "cat", "dog\n", "  ", "é", "x=1", "\t", "İ", "ß", "½"])
TEXTS = st.lists(st.one_of(st.none(), st.lists(WORDS, max_size=14).map(" ".join)), max_size=8)


def naive_grams(text, n):
    words = (text or "").lower().strip().split()
    if not words:
        return []
    return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)] or [" ".join(words)]


def naive(questions, benchmarks, n, allowed):
    known = {gram for text in benchmarks for gram in naive_grams(text, n)}
    flags = []
    for question in questions:
        grams = naive_grams(question, n)
        flags.append(sum(gram in known for gram in grams) > allowed * len(grams))
    return flags


@settings(max_examples=150, deadline=None)
@given(questions=TEXTS, benchmarks=TEXTS, n=st.integers(1, 9), allowed=st.sampled_from([0.0, 0.25, 0.5]))
def test_identical_to_naive(questions, benchmarks, n, allowed):
    assert contaminated(questions, benchmarks, n, allowed).tolist() == naive(questions, benchmarks, n, allowed)


def test_many_batches_are_identical_to_naive():
    rng = random.Random(0)
    words = [f"w{i}" for i in range(12)]
    questions = [" ".join(rng.choices(words, k=rng.randint(0, 12))) for _ in range(9000)]
    benchmarks = [" ".join(rng.choices(words, k=rng.randint(0, 12))) for _ in range(5000)]
    for n in (3, 5):
        assert contaminated(questions, benchmarks, n).tolist() == naive(questions, benchmarks, n, 0)


def test_one_word_less_is_no_match():
    words = [f"w{i}" for i in range(8)]
    assert contaminated([" ".join(words)], [" ".join(["x", *words, "y"])]).tolist() == [True]
    assert contaminated([" ".join(words[:7])], [" ".join(["x", *words, "y"])]).tolist() == [False]
    assert contaminated(["  W0\nw1 "], ["w0 w1"]).tolist() == [True]  # short questions are compared whole


def test_speed_and_memory_at_a_tenth_of_the_pool():
    """59K questions in 30 s and 2 GiB means a tenth in 3 s and 200 MiB; experiments/data_pipeline measures the whole."""
    rng = np.random.Generator(np.random.PCG64(0))
    vocabulary = np.array([f"word{i}" for i in range(30000)])
    texts = [" ".join(vocabulary[rng.integers(0, 30000, size)]) for size in rng.integers(10, 160, 5900)]
    tracemalloc.start()
    begin = time.process_time()
    flags = contaminated(texts, texts[:500])
    seconds, memory = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert flags[:500].all() and not flags[500:].any()
    assert seconds < 10 and memory < 200 * 2**20  # tracing costs several times the work itself


def test_exact_duplicates_ignore_case_and_white_space():
    assert exact(["A b", "a  B\n", None, None, "", "", "c"]).tolist() == [False, True, False, False, False, False, False]


def jaccard(a, b, n=3):
    x, y = set(naive_grams(a, n)), set(naive_grams(b, n))
    return len(x & y) / len(x | y) if x or y else 0.0


def test_near_duplicates_are_those_of_a_naive_search():
    rng = random.Random(1)
    words = [f"w{i}" for i in range(400)]
    texts = [" ".join(rng.choices(words, k=40)) for _ in range(60)]
    for i in range(60):  # copies with 0 to 9 words changed
        copy = texts[i].split()
        for at in rng.sample(range(40), i % 10):
            copy[at] = "changed"
        texts.append(" ".join(copy))
    kept, expected = [], []
    for text in texts:
        expected.append(any(jaccard(text, other) >= 0.8 for other in kept))
        kept += [] if expected[-1] else [text]
    found = near(texts, 0.8).tolist()
    assert sum(expected) >= 10
    assert found == expected


def test_near_duplicates_of_empty_texts():
    assert near(["", None, "a b c d", "a b c d", " "], 0.8).tolist() == [False, False, False, True, False]
    assert near([], 0.5).tolist() == []
    with pytest.raises(SettingError, match="near=0"):
        near(["a"], 0)


def test_across_sources_compares_with_kept_texts_of_earlier_sources_only():
    eight = "one two three four five six seven eight"
    texts = [eight, f"{eight} nine", f"zero {eight}", "x " + eight, "x one two three four five six seven", None]
    assert across(texts, ["a", "a", "b", "c", "c", "c"]).tolist() == [False, False, True, True, False, False]
    # what was dropped is not in the way of later sources
    third = "p q r s t u v w"
    assert across([eight, f"{eight} {third}", third], ["a", "b", "c"]).tolist() == [False, True, False]
