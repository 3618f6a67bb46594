"""From what a model wrote to the answer it gave: the last \\boxed{}, else what follows the last "Answer:" or "answer is".

This is s1's extraction (its `process_results` for AIME, MATH and GPQA) without the judge model behind it: an answer that
cannot be read is None, never a guess. (s1 falls back to a language model, and for GPQA to "A".)
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

from .notation import LONGEST, canonical, changes, value

CONCLUSION = 200  # characters
_COLON = re.compile(r"answer[*_ \t]*:[*_\s]*", re.IGNORECASE)
_IS = re.compile(
    r"\banswer\s+(?:is|should be|must be|would be)\b(?:\s+(?:indeed|therefore|thus|simply|then))?[*_ \t]*:?[*_\s}]*",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"(?:answer|option|choice)[*_ \t]*(?::|\b(?:is|should be|must be)\b[*_ \t]*:?)[*_\s]*", re.IGNORECASE)
_BRACES = re.compile(r"\\[{}]|(\\(?:boxed|fbox)\s*)?\{|\}|\\(?:boxed|fbox)\s+([^\s{}$\\]+)")
_SPAN = re.compile(r"\$\$(.*?)\$\$|\$((?:[^$\\]|\\.)*)\$|\\\[(.*?)\\\]|\\\((.*?)\\\)", re.DOTALL)
_SENTENCE = re.compile(r"\.\s+(?=[A-Z])")
_COPULA = re.compile(r"[^0-9]*\b(?:is|are|was|be|equals?|equal to)\s*:?\s+(?=[-–−+]?[0-9.$\\€£√½{(\[])", re.IGNORECASE)


def _boxes(text: str) -> Iterator[tuple[int, str]]:
    """Where each complete \\boxed{} or \\fbox{} begins, and what it holds; empty ones hold no answer. Linear in the text."""
    opened: list[int | None] = []  # where the content of each open brace begins; None for braces of other things
    for match in _BRACES.finditer(text):
        if match[2]:  # \boxed 2
            yield match.start(2), match[2].rstrip(".,;")
        elif match[0].endswith("{") and match[0] != r"\{":
            opened.append(match.end() if match[1] else None)
        elif match[0] == "}" and opened and (start := opened.pop()) is not None:
            if content := text[start : min(match.start(), start + 2 * LONGEST)].strip():
                yield start, content


def boxed(text: str) -> str | None:
    """The content of the last complete \\boxed{} or \\fbox{} that is not empty, the innermost where they nest."""
    return max(_boxes(text), default=(0, None), key=lambda box: box[0])[1]


def stated(text: str) -> str | None:
    """The answer a text states: its last \\boxed{}, else what follows its last "Answer:", else the "answer is" it begins or
    ends with."""
    return boxed(text) or _after(_COLON, text) or _concluded(text)


def _last(marker: re.Pattern, text: str) -> re.Match | None:
    last = None
    for last in marker.finditer(text):
        pass
    return last


def _after(marker: re.Pattern, text: str) -> str | None:
    last = _last(marker, text)
    return _said(text[last.end() : last.end() + 2 * LONGEST]) or None if last else None


def _concluded(text: str) -> str | None:
    """What a text without a mark says "the answer is", in its first line or at its end: in between, models change their minds.

    A value, or a few words; "the answer is the same as before, since" states none.
    """
    for part in (text.rstrip()[-CONCLUSION:], text.lstrip()[:CONCLUSION].partition("\n")[0]):
        said = _after(_IS, part)
        if said and (re.search(r"[0-9\\]", said) or len(said.split()) <= 3):
            return said
    return None


def _said(text: str) -> str:
    """The answer in what follows a marker: a formula, which may take several lines, or the first sentence without the words
    before its value."""
    text = text.lstrip()
    if (match := _SPAN.match(text)) and _only_words(text[match.end() :].partition("\n")[0]):
        return next(group for group in match.groups() if group is not None).strip()  # $18$ dollars
    line = _SENTENCE.split(text.partition("\n")[0])[0].strip().strip("*").strip()
    if found := list(_IS.finditer(line)):  # The final answer is $809$
        line = line[found[-1].end() :]
    elif match := _COPULA.match(line):
        line = line[match.end() :]
    spans = list(_SPAN.finditer(line))
    if len(spans) == 1 and _only_words(line[: spans[0].start()]) and _only_words(line[spans[0].end() :]):
        line = next(group for group in spans[0].groups() if group is not None)
    line = line.strip().strip("*").strip()
    return line[:-1].strip() if line.endswith(".") else line


def _only_words(text: str) -> bool:
    """Whether what stands beside a formula leaves it the answer: "dollars", but not "million" or "or $6$"."""
    return not re.search(r"[0-9\\$]", text) and not changes(text)


def math(text: str) -> str | None:
    """Any mathematical answer, as written; it must be stated (boxed or after "Answer:")."""
    return stated(text)


def integer(text: str) -> str | None:
    """An answer that is an integer, whatever its spelling ("007", "$1,234$ dollars", "5.0"); None otherwise."""
    found = stated(text)
    plain = canonical(text if found is None else found).removesuffix(r"\%")
    if re.fullmatch("-?[0-9]+", plain):
        return plain
    number = value(plain)
    return str(number) if number is not None and number.denominator == 1 else None


_DRESS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathsf|rm|bf)\s*\{([^{}]*)\}")
_SIGNS = re.compile(r"\\[()\[\]!,; ]|\$|\*|[\"'“”]")
_NAMED = re.compile(r"\s*(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer|letter)\s+)?[(\[{]?([A-Z])", re.IGNORECASE)
_ENDED = re.compile(r"\s*(?:[)\]}]|[.:](?=\s|$)|$|\s[-–—]\s|,?\s+(?:because|since|as|so|due|for|is|which)\b|,\s+(?=[a-z]))")
_ANOTHER = re.compile(r"[)\]]?\s*(?:,|/|&|\bor\b|\band\b)\s*[(\[]?[A-Z](?:[)\].,:]|\s|$)")


def choice(text: str, letters: str = string.ascii_uppercase) -> str | None:
    """The letter of the last statement that has one of `letters`: alone ("b", "(B)", "Option B") or before its choice.

    None for prose, and for several letters. Boxes and "Answer:" count alike, so that a boxed quantity is no choice.
    """
    starts = [match.end() for match in _CHOICE.finditer(text)]
    ends = [*starts[1:], len(text)]
    said = [(start, text[start : min(end, start + 400)].partition("\n")[0]) for start, end in zip(starts, ends)]
    for _, statement in sorted([*said, *_boxes(text)], reverse=True) or [(0, text[:400])]:
        found = _letter(statement, letters)
        if found is not None:
            return found or None
    return None


def _letter(statement: str, letters: str) -> str | None:
    """A statement's letter; "" where it names several, None where it names none."""
    plain = _SIGNS.sub("", _DRESS.sub(r"\1", statement)).strip()
    match = _NAMED.match(plain)
    if match is None or match[1].upper() not in letters:
        return None
    rest = plain[match.end() :]
    if _ANOTHER.match(rest):
        return ""
    alone = not rest.strip(" .)]}")
    return match[1].upper() if alone or (match[1].isupper() and _ENDED.match(rest)) else None
