"""From what a model wrote to the answer it gave: the last \\boxed{}, else what follows the last "Answer:" or "answer is".

This is s1's extraction (its `process_results` for AIME, MATH and GPQA) without the judge model behind it: an answer that
cannot be read is None, never a guess. (s1 falls back to a language model, and for GPQA to "A".)
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from functools import lru_cache

from .notation import LONGEST, canonical, changes, value

CONCLUSION = 200  # characters
_COLON = re.compile(r"answer[*_ \t]*:[*_\s]*", re.IGNORECASE)
_THUS = r"(?:\s+(?:indeed|therefore|thus|simply|then)\b)?"
_IS = re.compile(rf"\banswer\s+(?:is|should be|must be|would be)\b{_THUS}[*_ \t]*:?[*_\s}}]*", re.IGNORECASE)
_CHOICE = re.compile(
    rf"(?:answer|option|choice)[*_ \t]*(?::|\b(?:is|should be|must be)\b{_THUS}[*_ \t]*:?)[*_\s]*", re.IGNORECASE
)
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
_OPEN = re.compile(r"\\[(\[]|\$+")
_SPACE = re.compile(r"\\[,;: ]|\\q?quad(?![a-zA-Z])|~")
_SIGNS = re.compile(r"\\[)\]!]|(?<!\s)\$|\$(?=\s|$)|\*|[\"“”'‘’`]|_+(?=[\s.,:;!)]|$)")  # what is left of $ begins a formula
_NAMED = re.compile(
    r"\s*(?:(?:both|either)\s+)?(?:(?:the\s+)?(?:correct\s+)?(?:options?|choices?|answers?|letters?)\s+)?[(\[{$]*([A-Z])",
    re.IGNORECASE,
)
_ENDED = re.compile(
    r"\s*(?:[)\]}]|[.:,;!…](?=\s|$)|$|—|\s[-–—]+\s|\s(?:[(\[$]|\d+(?!\d|-[a-z])))|\((?!\w(?:,\s*\w)*\))"
    r"|\s+(?:because|since|as|so|due|for|is|which|that|where|with|but|while|from|by|if|when|only)\b(?!-)"
)
_WORD = re.compile(r"[\w?(\\^-]")  # CH4, C_6, C(n, 2), C?
_RELATION = re.compile(r"\s*\$?\s*(?:[+*/^<>|]|=(?!>)|\\(?:times|cdot|div|pm|approx|equiv|sim|propto|[lg]eq?)(?![a-z]))")
_BRACKET = re.compile(r"[)\]](?=[\s.,:;]|$)")


def choice(text: str, letters: str = string.ascii_uppercase) -> str | None:
    """The letter of the last statement that has one of `letters`: alone ("b", "(B)", "Option B") or before its choice.

    None for prose, for several letters, and where a letter begins a statement that cannot be read: an earlier one may have been
    given up. Boxes and "Answer:" count alike, so that a boxed quantity is no choice.
    """
    starts = [match.end() for match in _CHOICE.finditer(text)]
    ends = [*starts[1:], len(text)]
    said = [(start, text[start : min(end, start + 400)].partition("\n")[0], False) for start, end in zip(starts, ends)]
    boxes = [(start, content, True) for start, content in _boxes(text)]
    for _, statement, in_box in sorted([*said, *boxes], reverse=True) or [(0, text[:400], False)]:
        found = _letter(statement, letters, in_box)
        if found is not None:
            return found or None
    return None


def _letter(statement: str, letters: str, in_box: bool) -> str | None:
    """A statement's letter; "" where it names several or cannot be read, None where it is about something else."""
    plain = _SPACE.sub(" ", _OPEN.sub("$", _DRESS.sub(r"\1", statement)).strip())
    plain = _SIGNS.sub("", plain).strip()
    match = _NAMED.match(plain)
    if match is None or match[1].upper() not in letters:
        return None
    rest, capital = plain[match.end() :], match[1].isupper()
    if _another(letters if capital else letters.lower()).match(rest):
        return ""
    if not rest.strip(" .,:;!…)]}") or (_ENDED if capital else _BRACKET).match(rest):
        return match[1].upper()
    other = _WORD.match(rest) or (in_box and _RELATION.match(rest)) or re.match("I +[a-z]", plain[match.start(1) :])  # I think
    return None if other or not capital else ""


@lru_cache
def _another(letters: str) -> re.Pattern:
    """A further one of `letters`, unless it begins a remark: "B, I think", "B, D is too small"."""
    remark = r"(?![AIai]\s+(?!and\b|or\b|are\b)[a-z]|[(\[]?\w[)\]]?\s+(?:is|was|would|has|does|gives)\b)"
    return re.compile(
        rf"[)\]}}]?(?:\s*(?:[,;/&]|\bor\b|\band\b)\s*{remark}[$(\[{{]*[{letters}](?:[)\].,:;!]|\s|$)|\s-\s[{letters}]\W*$)"
    )


_TARGET = re.compile(
    r"(?:the )?(?:correct )?(?:(?:option|choice|answer)(?: is|:)? )?(?:\(([a-z])\)|\[([a-z])\]|([a-z])\)?)[.:]?", re.IGNORECASE
)
_TARGET_SAYS = re.compile(
    r"(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])\)|([A-Z]):|([A-J])\.)[.:]?(?:\s+|(?<=[)\]])(?=[0-9\\]))"
    r"(?![-+*/=^<>]\s|\\(?:cup|cap|times|cdot|pm)(?![a-z]))"
    r"(?!.*[,;]\s*\(?[A-Z][):]\s).*",  # A: 5, B: 7
    re.DOTALL,
)


def letter(target: str) -> str | None:
    """The letter that a target is, alone or before its choice ("C", "(C)", "C. The rate doubles"); None for anything else,
    also for what begins with a letter, such as the mathematics of `N - 1` and x (a small letter in brackets is a choice)."""
    if re.match(r"\W*\w['’]", target) and target.strip()[0] not in "'‘":  # A'
        return None
    plain = _SIGNS.sub("", _SPACE.sub(" ", _OPEN.sub("", _DRESS.sub(r"\1 ", target.strip())))).strip()
    match = _TARGET.fullmatch(plain) or _TARGET_SAYS.fullmatch(plain)
    found = next((group for group in match.groups() if group), "") if match else ""
    marked = found.isupper() or re.search(r"[)\]]|option|choice", plain, re.IGNORECASE)
    return found.upper() if found and marked and choice(plain) == found.upper() else None
