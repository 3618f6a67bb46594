"""Kinds of spelling that must not cost an answer, and values that no spelling may make equal."""

import json
import math
import string
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from s1x.tasks import answers, notation
from s1x.tasks.equivalence import Rules, at_once
from s1x.tasks.notation import canonical, is_product, value


@pytest.fixture(scope="module")
def rules():
    rules = Rules()
    yield rules
    rules.close()


SAME = {
    "money and thousands": [
        ("18.90", r"\$18.90"),
        ("32348", r"\$32,\!348"),
        ("36", r"\$36"),
        ("11111111100", r"11,\! 111,\! 111,\! 100"),
        (r"\$5", "5"),
        (r"32{,}348", "32,348"),
        (r"1\,000\,000", "1000000"),
        ("58 500", "58,500"),
        (r"-\$1,250.50", "-1250.5"),
        ("€1,234", "1234"),
        ("N = 1,234", "1234"),
    ],
    "wrapped": [
        (r"\[18\]", "18"),
        (r"\(58,500\)", "58,500"),
        ("$18$ dollars", "18"),
        (r"\((0,9) \cup (9,36)\)", r"(0,9) \cup (9,36)"),
        (r"$$\frac{1}{2}$$", "0.5"),
        (r"**$x^2+1$**.", "1+x^2"),
        (r"\[\begin{pmatrix}1\\ 2\end{pmatrix}\]", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ],
    "words around": [
        (r"12^{\text{th}} \text{ grade}", "12"),
        ("809 games", "809"),
        ("18 dollars per day", "18"),
        (r"864\text{ square inches}", r"864 \mbox{ inches}^2"),
        (r"12\pi inches per second", r"12\pi"),
        (r"5.4\,\mathrm{eV}", "5.4"),
        (r"\approx 600", "600"),
        ("the ellipse", r"\text{ellipse}"),
    ],
    "choices": [("(C)", r"\text{C}"), (r"\textbf{(B)}\ 12", r"\text{(B)}"), ("E", r"\text{(E)}"), ("(B) 12", r"\text{(B)}")],
    "products": [("xy", "yx"), ("3bi+1", "1+3ib"), ("e^{x}x", "xe^{x}"), ("ab", "ba")],
    "other spellings": [
        ("90°", r"90^\circ"),
        ("√2", r"\sqrt{2}"),
        ("½", "0.5"),
        ("x²", "x^2"),
        ("–5", "-5"),
        ("€5", "5"),
        (r"0.\overline{3}", r"\frac{1}{3}"),
        ("1.5e3", "1500"),
        ("1.5 x 10^3", "1500"),
        (r"1.5 \times 10^{3}", "1500"),
        ("−7", "-7"),
        ("3½", r"\frac{7}{2}"),
        ("2π/3", r"\frac{2\pi}{3}"),
        ("√(x+1)", r"\sqrt{x+1}"),
        (r"0.1\overline{6}", "1/6"),
        ("２５", "25"),
        ("2×10⁻³", "0.002"),
        ("(−∞, 2) ∪ (3, ∞)", r"(-\infty, 2) \cup (3, \infty)"),
        ("x₁+1", "1+x_1"),
        ("(-infinity, 2)", r"(-\infty, 2)"),
        (r"5\,", "5"),
    ],
    "sets": [(r"-2 \le x \le 7", r"x \in [-2,7]"), ("[-2, 7]", r"x \in [-2,7]"), ("-2 and 1", "1,-2")],
    "bases": [("4343_7", "4343"), ("4343", "4343_7"), ("(101)_2", "101"), (r"4343_{\text{seven}}", "4343")],
    "nouns that the question has": [
        ("even function", r"\text{even}"),
        ("an odd function", "odd"),
        ("Isosceles", "isosceles triangle"),
        ("a right angle", r"\text{right}"),
    ],
    "letters": [("3R^2", "3r^2"), ("N+1", "n+1"), ("R^2-2Rr", "R(R-2r)"), (r"\frac{A}{a}+1", r"\frac{a+A}{a}")],
    "the imaginary unit": [
        (r"e^{i\pi/3}", r"\frac12+\frac{\sqrt3}{2}i"),
        (r"\frac{1+i\sqrt{3}}{2}", r"e^{\frac{i\pi}{3}}"),
        (r"e^{\pi\mathrm{i}/3}", r"\cos\frac{\pi}{3}+i\sin\frac{\pi}{3}"),
        (r"5e^{2\pi i/3}", r"\frac{-5+5i\sqrt3}{2}"),
        (r"\frac{1}{1+i}", r"\frac{1-i}{2}"),
        ("x+i", "x+1i"),
        (r"\sqrt2 e^{i\pi/4}, 1-i", "1-i, 1+i"),
    ],
    "rounded": [("0.333333", r"\frac13"), ("3.14159265", r"\pi"), ("1.414214", r"\sqrt2"), ("0.66667", "0.66667")],
}
DIFFERENT = {
    "words": [
        ("on", "no"),
        ("tea", "eat"),
        ("Sam", r"\text{Mas}"),
        ("was", "saw"),
        (r"\text{god}", r"\text{dog}"),
        ("on, 5", "no, 5"),
        (r"(\text{on}, 1)", r"(\text{no}, 1)"),
        ("on time", "time on"),
    ],
    "small and large": [
        ("10^{-20}", "10^{-21}"),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
        (r"\sqrt{2} \cdot 10^{-20}", r"\sqrt{2} \cdot 10^{-21}"),
        ("(10^{-20}, 1)", "(10^{-21}, 1)"),
        ("x=10^{-20}", "x=10^{-21}"),
        (r"\pi 10^{-400}", r"\pi 10^{-401}"),
        (r"10000000000000000000001\pi", r"10000000000000000000000\pi"),
        ("0.0000001", "0.0000002"),
        ("1.0000001", "1"),
        ("2^{-100}", "0"),
    ],
    "rounded": [
        ("0.33", r"\frac13"),
        ("3.14", r"\pi"),
        ("1.414215", r"\sqrt2"),
        ("0.99999999", "1"),
        ("2.7182", "e"),
        ("0.1234561", "0.1234562"),
        ("0.123456", "0.1234564"),
    ],
    "words that change a number": [
        ("5 million", "5"),
        ("5 more", "5"),
        (r"5 \text{ or more}", "5"),
        ("12 or 13", "12"),
        ("7 a.m.", "7 p.m."),
        ("2 and a half", "2"),
        ("5m", "5"),
        ("2ac", "2"),
        ("5 dollars and 20 cents", "5"),
        (r"5 \text{ dozen}", "5"),
    ],
    "parts": [
        (r"\frac{1}{2} @ 3 foo", r"\frac{1}{2}"),
        ("1, 2, 3", "123"),
        ("1 1/2", "11/2"),
        ("(1,5)", "1.5"),
        ("52_8", "52_9"),
        ("4343_6", "4343_7"),
        ("4344", "4343_7"),
        ("100_2", "101"),
    ],
    "nouns": [("even number", "even function"), ("even function", "odd"), ("function", "even"), ("triangle", "right triangle")],
    "letters": [("R^2-2Rr", "r^2-2rR"), ("R^2-3r", "r^2-3R"), (r"\frac{R}{r}", r"\frac{r}{R}"), ("N-n", "n-N")],
    "the imaginary unit": [(r"e^{i\pi/3}", r"e^{i\pi/6}"), ("2+3i", "2-3i"), ("3+2i", "2+3i"), ("(3,i)", "(i,3)")],
}


@pytest.mark.parametrize(("answer", "target"), [pair for pairs in SAME.values() for pair in pairs])
def test_spellings_of_one_value(rules, answer, target):
    assert rules.verdict(answer, target) == "same"


@pytest.mark.parametrize(("answer", "target"), [pair for pairs in DIFFERENT.values() for pair in pairs])
def test_different_values_stay_different(rules, answer, target):
    assert rules.verdict(answer, target) in ("different", "unparsed")
    assert rules.verdict(target, answer) in ("different", "unparsed")


@pytest.mark.long
def test_what_models_write_for_the_targets_of_benchmarks(rules):
    """As read from a box, too."""
    rows = [json.loads(line) for line in Path(__file__).with_name("spellings.jsonl").read_text("utf-8").splitlines()]
    for form in ("{}", r"So we get \boxed{{{}}}."):
        pairs = [(answers.math(form.format(row["answer"])) or row["answer"], row["target"]) for row in rows]
        for pair in pairs:
            rules.submit(*pair)
        wrong = [pair for pair, row in zip(pairs, rows) if (rules.verdict(*pair) == "same") != row["same"]]
        assert wrong == []


def spellings(number: Fraction) -> st.SearchStrategy[str]:
    """Ways to write a number exactly."""
    sign, size = "-" if number < 0 else "", abs(number)
    forms = [f"{sign}{size.numerator}/{size.denominator}", rf"{sign}\frac{{{size.numerator}}}{{{size.denominator}}}"]
    forms.append(rf"{sign}\dfrac{{{size.numerator}}}{{{size.denominator}}} \text{{ cm}}")
    if size.denominator == 1:
        forms += [f"{number}", rf"{sign}\${size}", f"{number.numerator:,}", f"${number.numerator:,}$ dollars", f"{number}."]
    if 10**12 % size.denominator == 0:
        digits = f"{size * 10**12 // 1:013d}"
        forms += [f"{sign}{digits[:-12]}.{digits[-12:]}", rf"{sign}{digits} \times 10^{{-12}}", f"{sign}{digits}e-12"]
    return st.sampled_from(forms)


numbers = st.one_of(
    st.integers(-(10**15), 10**15).map(Fraction),
    st.fractions(max_denominator=10**6),
    st.builds(lambda n, e: n * Fraction(10) ** e, st.integers(-99, 99), st.integers(-12, 12)),
)


@settings(max_examples=500, deadline=None)
@given(st.data(), numbers)
def test_numbers_are_what_they_are_however_spelled(data, number):
    a, b = (canonical(data.draw(spellings(number))) for _ in range(2))
    assert value(a) == value(b) == number
    assert at_once(a, b) == "same"


@settings(max_examples=500, deadline=None)
@given(st.data(), numbers, st.one_of(numbers, st.sampled_from([Fraction(1), Fraction(-1), Fraction(1, 10**6)])))
def test_different_numbers_stay_different_however_spelled(data, a, other):
    for b in (other, a + other, a * 10, -a):
        if a != b and abs(a - b) >= Fraction(1, 10**6):  # a long decimal may be a fraction, rounded
            first, second = (canonical(data.draw(spellings(n))) for n in (a, b))
            assert at_once(first, second) == "different"


@settings(max_examples=300, deadline=None)
@given(st.text("abcdefghijklmnopqrstuvwxyzABC", min_size=2, max_size=6), st.randoms(use_true_random=False))
@example("tea", __import__("random").Random(1))
def test_anagrams_are_no_equals(word, random):
    letters = list(word)
    random.shuffle(letters)
    other = "".join(letters)
    assume(other.casefold() != word.casefold() and not is_product(word) and not is_product(other))
    assert at_once(canonical(word), canonical(other)) == "different"
    assert at_once(canonical(rf"\text{{{word}}}"), canonical(other)) == "different"


def test_tiny_and_huge_numbers_are_compared_by_size(rules):
    for base in (2, 3, 10):
        for power in (60, 120, 300):
            assert rules.verdict(f"{base}^{{-{power}}}", rf"\frac{{1}}{{{base}^{{{power}}}}}") == "same"
            assert rules.verdict(f"{base}^{{-{power}}}", f"{base}^{{-{power + 1}}}") == "different"
            assert (
                rules.verdict(rf"\sqrt{{7}} \cdot {base}^{{-{power}}}", rf"\sqrt{{7}} \cdot {base}^{{-{power + 1}}}")
                == "different"
            )


hostile = st.text(
    st.one_of(st.sampled_from(list("\\{}$()[]^_.,:*% \n0123456789axe√½²–°٣")), st.characters()), max_size=300
) | st.lists(
    st.sampled_from(
        [
            r"\boxed",
            r"\boxed{",
            r"\text{",
            r"\frac",
            "{",
            "}",
            "Answer:",
            "the answer is ",
            r"\$",
            "$",
            "$$",
            r"\[",
            r"\]",
            r"\(",
            "1",
        ]
        + [
            r"\overline{3}",
            "0.",
            "e9",
            " x 10^",
            "10^{999",
            "½",
            "√",
            "(B)",
            " or ",
            "**",
            "\n",
            ",",
            ",000",
            r"\!",
            r"^{\text{th}}",
        ]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=1500, deadline=None)
@given(hostile)
@example("1e999")
@example("1/0")
@example(r"0.\overline{0}")
@example(r"\frac{1}{0}")
def test_reading_never_raises(text):
    for extract in (answers.integer, answers.choice, answers.math):
        found = extract(text)
        assert found is None or (isinstance(found, str) and found)
    assert answers.letter(text) in (None, *string.ascii_uppercase)
    once = canonical(text)
    value(once)
    notation.latex(once)
    at_once(once, canonical("5"))


PIECES = [
    r"\boxed{",
    "{",
    "}",
    "answer ",
    "Answer:",
    "answer is ",
    "0",
    r"\text{",
    "$",
    "$$",
    "* ",
    r"\boxed{1}",
    r"\boxed ",
    r"\[",
]
PIECES += ["a b ", "1,000", "√(", r"\frac", "1 ", "is ", r"\(", "\\", ". A", "option is ", "\n", "Answer: A, B ", "1/2 ", "²"]
PIECES += [
    "{}",
    "{{}",
    r"\{",
    "the answer is ",
    "1 million ",
    r"\pm",
    "x<",
    "(1,",
    "1.3",
    r"\\[6pt]",
    r"x \in ",
    "5 to ",
    r"\cup ",
]


@pytest.mark.long
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("begin", ["", "Final Answer: ", "The answer is "])
def test_a_megabyte_is_read_in_linear_time(piece, begin):
    text = begin + piece * (1_000_000 // len(piece))
    begun = time.process_time()
    for extract in (answers.integer, answers.choice, answers.math):
        extract(text)
        extract(text[: notation.LONGEST - len(begin)])
    assert time.process_time() - begun < 8


def test_what_is_no_number_has_no_value():
    for text in ("", "x", "1/0", r"\frac{1}{0}", "1.5.2", "--1", "1e9999", "9" * 500, r"1\frac{-1}{2}", "10^{9999}"):
        assert value(canonical(text)) is None
    assert value(canonical("10^{-20}")) == Fraction(1, 10**20)
    assert math.isclose(value(canonical("1.25e2")), 125)
