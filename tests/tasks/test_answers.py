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
        ("Answer: 12 apples", "12"),
        ("Answer: 12 or 13", None),
        ("Answer: 1.5", None),
        ("Answer: 1e3", "1000"),
        ("Answer: 12 thousand", "12000"),
        ("Answer: $12$ thousand", "12000"),
        ("Answer: 12%", "12"),
        ("Answer: 2 dozen eggs", "24"),
        ("Answer: 1.5 million dollars", "1500000"),
        ("Answer: 12 hundredths", None),
        ("Answer: less than $12$", None),
        ("Answer: $12$ or $13$", None),
        ("Answer: We find $12$ here", "12"),
        ("Answer: 12 more than x", None),
        ("Answer: not 5", None),
        ("The final answer is 809.", "809"),
        ("Final Answer: The final answer is $809$", "809"),
        ("Final Answer: The final answer is $809$. I hope it is correct.", "809"),
        ("Final Answer: \\[ 809 \\]", "809"),
        ("Final Answer: \n\n$$\n42\n$$", "42"),
        ("Final Answer: 809 games", "809"),
        ("Answer: $18$ dollars", "18"),
        ("Answer: The answer is 42", "42"),
        ("Answer: There are 5 apples.", "5"),
        ("Answer: The value of $x$ is $5$.", "5"),
        ("Answer: 42. This is because 6 times 7 is 42", "42"),
        ("So the answer is indeed 6.", "6"),
        ("The answer is 1,234 dollars.\n\nThe first 1,000 are", "1234"),
        ("Let us see.\nThen the answer is 7. Wait" + ", let me see" * 30, None),  # in mid-thought
        ("The answer is the same as before, since nothing else was changed", None),
        ("\\boxed{\\$78}", "78"),
        ("\\boxed 2", "2"),
        ("\\boxed 809$.", "809"),
        ("\\boxed{7}, so \\boxed{}", "7"),
        ("\\boxed{5.0}", "5"),
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
        ("Answer: Option B", "B"),
        ("Answer: [C]", "C"),
        ("Answer: B because of the rate", "B"),
        ("Answer: B, since it doubles", "B"),
        ("The correct answer is (B).", "B"),
        ("Answer: The correct option is (C)", "C"),
        ("\\boxed{5.4\\,\\mathrm{eV}} Answer: C", "C"),
        ("Answer: C, that is \\boxed{5.4\\,\\mathrm{eV}}", "C"),
        ("\\boxed{E} Answer: B", "B"),
        ("Answer: **B** – 12 m", "B"),
        ("The best choice is D: none of these", "D"),
        ("Answer: $\\text{(D)}$", "D"),
        ("At first sight the answer is A.\n\n…\n\nAnswer: C (10^{-4} eV)", "C"),
        ("One might say the answer is A.\nHowever, the correct answer is **C** (toluene).", "C"),
        ("The answer is B, I think.", "B"),
        ("The answer is B, A higher rate follows", "B"),
        ("The answer is D!", "D"),
        ("Answer: C; the others fail", "C"),
        ("**Answer: D** (all of the above)", "D"),
        ("Answer: C $10^{-4}$ eV", "C"),
        ("Answer: C \\(10^{-4}\\) eV", "C"),
        ("Answer: **(C)** $\\frac{1}{2}$", "C"),
        ("Answer: C 10 eV", "C"),
        ("The answer is A.\nAnswer: C(10 eV)", "C"),
        ("Answer: C [10 eV]", "C"),
        ("Answer: C, (toluene)", "C"),
        ("Answer: C—toluene", "C"),
        ("The best option is A.\n\nOn reflection, the best option is C -- toluene", "C"),
        ("The answer is therefore (C)", "C"),
        ("Answer: C with the same rate", "C"),
        ("Answer: (b) toluene", "B"),
        ("Answer: `C`", "C"),
        ("Answer: __C__", "C"),
        ("\\boxed{\\text{C}\\; 10}", "C"),
        ("The answer is B. So \\boxed{C = 5\\,pF}", "B"),
        ("The answer is B. So \\boxed{C_6H_6}", "B"),
        ("The answer is B.\n\\boxed{C(n, 2)}", "B"),
        ("The answer is B.\nAnswer: I think so", "B"),
        ("The answer is C. Is it so that the answer is A? No", "C"),
        ("Answer: C, D is too small", "C"),
        ("Answer: C – D is too small", "C"),
        ("Answer: C…", "C"),
        ("The answer is A.\nAnswer: C = toluene", None),
        ("The answer is B.\nAnswer: A carbon atom", None),
        ("The answer is B.\nAnswer: C or possibly D", None),
        ("The answer is A.\nAnswer: Both A and C", None),
        ("The answer is A.\nAnswer: (b) and (c)", None),
        ("\\boxed{P - Q}", None),
        ("Answer: A; B", None),
        ("Answer: A, B are both right", None),
        ("Answer: A 10-fold increase", None),
        ("Answer: A by-product", None),
        ("Answer: C\nAnswer: A or B", None),
        ("Answer: I think it is hard", None),
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


def test_letters_that_are_no_choice_of_the_question_are_none():
    assert answers.choice("Answer: B, for the energy \\boxed{E}") == "E"
    assert answers.choice("Answer: B, for the energy \\boxed{E}", "ABCD") == "B"


def test_only_a_choice_of_the_question_is_a_second_one():
    assert answers.choice("The answer is B, I think.", "ABCD") == "B"
    assert answers.choice("Answer: B, E = 5 V", "ABCD") == "B"
    assert answers.choice("Answer: B, D", "ABCD") is None


@pytest.mark.parametrize(
    ("target", "letter"),
    [
        *[(text, "B") for text in ("B", "(B)", "B)", "B.", "[B]", "**B**", "$B$", r"\text{(B)}", "(b)", "b)", "Option B")],
        *[(text, "B") for text in ("B) 12", "B) -5", "B. The rate doubles.", "(B) 12", "B: 12", r"\textbf{(B)}\ \frac12")],
        *[(text, "B") for text in ("B) P(A) = 0.5", "Answer: B", "the answer is B")],
        *[(text, None) for text in ("x", "n", "i", "e", "N - 1", "N-1", "P - Q", "C is the center", "A carbon", "N!", "A'")],
        *[(text, None) for text in ("C = 5", "C_6", "E(x)", "(A) + (B)", "(A) and (B)", "A, B", "A: 5, B: 7", "AB", "N. Bohr")],
        *[(text, None) for text in (r"\mathbb{R}", "x+1", "N (mod 5)", "")],
    ],
)
def test_a_target_is_a_letter_where_all_of_it_is_one(target, letter):
    assert answers.letter(target) == letter


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
        return chat.answer_text(Trace((), [Segment(kind, chat.encode(text)) for kind, text in segments]))

    start, end = "<|im_start|>think", "<|im_start|>answer"
    forced = [("delimiter", start), ("thinking", "Answer: 1"), ("delimiter", end + "\nFinal Answer:"), ("answer", " 2")]
    assert graded(*forced) == "\nFinal Answer: 2"
    assert graded(("delimiter", start), ("delimiter", end + "\nFinal Answer:"), ("answer", " 2")) == "\nFinal Answer: 2"
    assert graded(("answer", "Final Answer: 3")) == "Final Answer: 3"  # a model that does not think
    assert graded(("answer", f"{start}\nAnswer: 1\n{end}\nAnswer: 2")) == "\nAnswer: 2"  # thought in plain generation
    assert graded(("answer", f"{start}\nAnswer: 1")) == ""  # and never came to an end
    plain = Chat(ChatFormat(thinking_start="", thinking_end=""), Letters(), 1000)
    assert graded(("thinking", "so Answer: 1"), ("answer", ""), chat=plain) == "so Answer: 1"
