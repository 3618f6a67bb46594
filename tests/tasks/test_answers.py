"""Reading answers: what counts as stated, and what counts as none."""

import time

import pytest

from s1x.tasks import answers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Final Answer: 523", "523"),
        ("<|im_start|>answer\nFinal Answer: 007", "7"),
        (" 523", "523"),  # the delimiter already said "Final Answer:"
        ("Answer: $-12$.", "-12"),
        ("**Answer:** 12", "12"),
        ("Answer:\n\n40", "40"),
        ("Answer: 3\nno, wait. Answer: 4", "4"),  # the last one
        ("Answer: Final Answer: 5", "5"),
        ("So \\boxed{1} and then \\boxed{\\text{25}}. Answer: 3", "25"),  # boxed wins
        ("\\boxed{8} \\boxed{9", "8"),  # an unfinished box is none
        ("Answer: 000", "0"),
        ("answer: -0", "0"),
        ("Answer: 12 apples", None),
        ("Answer: 12 or 13", None),
        ("Answer: 1.5", None),
        ("Answer: 1e3", None),
        ("Answer: ٣", None),  # digits, but not ours
        ("I think it is 523", None),
        ("Final Answer:", None),
        ("", None),
    ],
)
def test_integer(text, expected):
    assert answers.integer(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Final Answer: B", "B"),
        ("Final Answer: B) 748", "B"),
        ("Answer: (C)", "C"),
        ("Answer: **D.** because A is wrong", "D"),
        ("\\boxed{\\text{A}}", "A"),
        ("\\boxed{\\textbf{(B)}}", "B"),
        ("b", "B"),
        ("Answer: A. The rate doubles", "A"),
        ("Answer: A carbon atom", None),
        ("Answer: A or B", None),
        ("Answer: A, B", None),
        ("Answer: (A) and (B)", None),
        ("Answer: none", None),
        ("Answer: 748", None),
        ("Because of that it is clear", None),
        ("", None),
    ],
)
def test_choice(text, expected):
    assert answers.choice(text) == expected


def test_math_answers_keep_their_spelling():
    assert answers.math("so \\boxed{\\frac{1}{\\sqrt{2}}} .") == "\\frac{1}{\\sqrt{2}}"
    assert answers.math("\\boxed{\\{1, 2\\}}") == "\\{1, 2\\}"
    assert answers.math("Answer: \\left(3, \\frac{\\pi}{2}\\right)\nAs shown.") == "\\left(3, \\frac{\\pi}{2}\\right)"
    assert answers.math("42") is None  # not stated
    assert answers.math("Answer: \n") is None


@pytest.mark.parametrize("piece", ["\\boxed{", "{", "}", "answer ", "Answer:", "0", "\\text{", "$", "* ", "\\boxed{1}"])
def test_long_texts_are_read_in_linear_time(piece):
    begun = time.perf_counter()
    for extract in (answers.integer, answers.choice, answers.math):
        extract(piece * 100_000)
    assert time.perf_counter() - begun < 10


class Letters:
    """A tokenizer with one id per character."""

    def encode(self, text, add_special_tokens=False):
        return [ord(c) for c in text]

    def decode(self, ids, **_):
        return "".join(map(chr, ids))


def test_answer_text_is_what_follows_the_thinking():
    from s1x.chat import Chat, ChatFormat
    from s1x.streams.types import Segment, Trace

    chat = Chat(ChatFormat(), Letters(), 1000)

    def graded(*segments, chat=chat):
        return answers.answer_text(Trace((), [Segment(kind, chat.encode(text)) for kind, text in segments]), chat)

    start, end = "<|im_start|>think", "<|im_start|>answer"
    forced = [("delimiter", start), ("thinking", "Answer: 1"), ("delimiter", end + "\nFinal Answer:"), ("answer", " 2")]
    assert graded(*forced) == "\nFinal Answer: 2"
    assert graded(("delimiter", start), ("delimiter", end + "\nFinal Answer:"), ("answer", " 2")) == "\nFinal Answer: 2"
    assert graded(("answer", "Final Answer: 3")) == "Final Answer: 3"  # a model that does not think
    assert graded(("answer", f"{start}\nAnswer: 1\n{end}\nAnswer: 2")) == "\nAnswer: 2"  # thought in plain generation
    assert graded(("answer", f"{start}\nAnswer: 1")) == ""  # and never came to an end
    plain = Chat(ChatFormat(thinking_start="", thinking_end=""), Letters(), 1000)
    assert graded(("thinking", "so Answer: 1"), ("answer", ""), chat=plain) == "so Answer: 1"
