r"""One spelling for what people, models and answer keys write differently: `\$32,\!348`, `$32,348$.`, `32 348 dollars`.

`canonical` is a pipeline of small rewritings, each a kind of spelling, for answers and targets alike. A rewriting takes linear
time and must not turn one value into another; what it cannot settle is left for the comparison. `value` reads plain numbers
exactly, and `latex` prepares the rest for a LaTeX parser.
"""

from __future__ import annotations

import re
import string
import unicodedata
from fractions import Fraction

from .sets import intervals

LONGEST = 2000  # characters; what is longer is no answer

_DRESS = r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathsf|mathit|underline|mbox|hbox|operatorname|rm|bf)\s*"


def canonical(text: str) -> str:
    """The text without differences that cannot matter. A text longer than any answer is only stripped."""
    text = text.strip()
    if len(text) > LONGEST:
        return text
    for rewrite in PIPELINE:
        text = rewrite(text)
    return text


# Characters

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("−–—‐‑‒﹣", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\u2002\u2003\u2007\n\t", " "),
        **dict.fromkeys("\u200b\u2060\ufeff", ""),
        **dict.fromkeys("’‘′", "'"),
        **dict.fromkeys("€£¥₹₩₽¢", ""),  # what is counted in does not change the number, as with $
        **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": r"\div ", "±": r"\pm ", "∓": r"\mp "},
        **{"≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap "},
        **{"∈": r"\in ", "∅": r"\emptyset ", "°": r"^\circ ", "º": r"^\circ ", "⁄": "/", "∕": "/", "…": r"\ldots "},
    }
)
_ROOT = re.compile(r"([√∛])\s*(?:\(([^()]*)\)|\{([^{}]*)\}|([0-9.]+|\w))")
_POWERS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+|[₀₁₂₃₄₅₆₇₈₉]+")
_FRACTIONS = re.compile("[¼½¾⅐-⅞]")
_GREEK = re.compile("[\u0391-\u03c9]")


def _characters(text: str) -> str:
    """√2, ½, x², π, – and the like become the LaTeX they stand for."""
    if text.isascii():
        return text.replace("\n", " ").replace("\t", " ")

    def power(match: re.Match) -> str:
        plain = unicodedata.normalize("NFKC", match[0]).replace("−", "-")
        return ("^" if match[0][0] in "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ" else "_") + f"{{{plain}}}"

    def fraction(match: re.Match) -> str:
        return r"\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", match[0]).partition("⁄")[::2])

    def greek(match: re.Match) -> str:
        size, name = unicodedata.name(match[0], "").removeprefix("GREEK ").partition(" LETTER ")[::2]
        if size not in ("SMALL", "CAPITAL") or not name.isalpha():
            return match[0]
        return rf"\{name.lower() if size == 'SMALL' else name.title()} "

    def root(match: re.Match) -> str:
        return (r"\sqrt" if match[1] == "√" else r"\sqrt[3]") + f"{{{next(g for g in match.groups()[1:] if g is not None)}}}"

    text = _ROOT.sub(root, _FRACTIONS.sub(fraction, _POWERS.sub(power, text)))
    text = _GREEK.sub(greek, text).translate(_CHARACTERS)
    return "".join(unicodedata.normalize("NFKC", c) if "\uff00" < c < "\uff5f" else c for c in text)  # full-width forms


# Mathematical typesetting

_CONTROL = re.compile(r"\\.|\$")
_GROUPS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:(?:,\\!|\{,\}|\\,|\\!|\\ |~)\s*[0-9]{3})+(?![0-9])")
_SPACES = re.compile(r"\\\\|\\[,;:! ]|\\q?quad(?![a-zA-Z])|~|\s+")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![a-zA-Z])\s?")
_FRAC = re.compile(r"\\[dtc]?frac(?![a-zA-Z])\s*([0-9](?=\s*[0-9{])|\{[^{}]*\})\s*([0-9]|\{[^{}]*\})")
_CONSTANT = re.compile(r"\\(?:mathrm|rm|text|operatorname) ?\{([ie])\}")
_TEXT = re.compile(_DRESS + r"\{([^{}]*)\}")
_BRACES = re.compile(r"\{((?:[^{}\\]|\\.|\{(?:[^{}\\]|\\.|\{[^{}]*\})*\})*)\}")  # nested three deep, in linear time
_DOUBLE = re.compile(_DRESS + rf"\{{\s*({_DRESS}\{{[^{{}}]*\}})\s*\}}")


_NAME = re.compile(r"\\(lbrace|rbrace|varnothing|textdollar|pounds|texteuro|langle|rangle|text\{\\?\$\})(?![a-zA-Z])\s?")
_NAMES = {"lbrace": r"\{", "rbrace": r"\}", "varnothing": r"\emptyset ", "langle": "(", "rangle": ")"}  # others: currencies
_ROWS = re.compile(r"\\\\\s*\[\s*-?[0-9.]+\s*(?:pt|em|ex|mm|cm)\s*\]")


def _delimiters(text: str) -> str:
    r"""`$ $`, `$$ $$`, `\( \)` and `\[ \]` begin and end mathematics, `\$` is money; `\\[` is neither, `\\[6pt]` a row."""
    text = _ROWS.sub(r"\\\\ ", _NAME.sub(lambda m: _NAMES.get(m[1], ""), text))
    return _CONTROL.sub(lambda m: " " if m[0] in ("$", r"\(", r"\)", r"\[", r"\]") else "" if m[0] == r"\$" else m[0], text)


_END_OF_PROOF = re.compile(r"\s*(?:\\(?:blacksquare|square|qed|Box)|[∎■□])\s*$")


def _ends(text: str) -> str:
    """Bold stars, quotation marks and a sentence's full stop around an answer."""
    text = _END_OF_PROOF.sub("", text.strip())
    while text != (text := text.removeprefix("**").removesuffix("**").strip('`"“”').rstrip(".,;").strip()):
        pass
    return text


def _thousands(text: str) -> str:
    r"""`11,\! 111,\! 100`, `58{,}500`, `32\,348`: groups of three that typesetting marks as one number, anywhere in a text."""
    return _GROUPS.sub(lambda m: re.sub(r"[^0-9]", "", m[0]), text)


def _spaces(text: str) -> str:
    r"""Thin, negative and wide spaces are space; `\!` and `\,` join what they stand between."""

    def space(match: re.Match) -> str:
        return r"\\ " if match[0] == r"\\" else "" if match[0] in (r"\!", r"\,", r"\;", r"\:") else " "

    return re.sub(" +", " ", _SPACES.sub(space, text)).strip()


def _sizes(text: str) -> str:
    r"""The size of brackets and fractions: `\left(`, `\dfrac`; and `\frac43`, which lacks its braces."""
    text = (
        _CONSTANT.sub(r"\1", _SIZES.sub("", text))
        .replace(r"\dfrac", r"\frac")
        .replace(r"\tfrac", r"\frac")
        .replace(r"\cfrac", r"\frac")
    )
    return _FRAC.sub(lambda m: r"\frac{{{}}}{{{}}}".format(m[1].strip("{} "), m[2].strip("{} ")), text)


def _undress(text: str) -> str:
    r"""`\text{Evelyn}`, `\textbf{(B)}`, `\mathbf{\text{B}}`: dress around the whole answer."""
    while match := _TEXT.fullmatch(text) or _DOUBLE.fullmatch(text) or _BRACES.fullmatch(text):
        text = match[1].strip()
    return text


# Words around a number

_LEAD = re.compile(
    rf"(?:(?:{_DRESS}\{{)?(?:(?:so|thus|hence|therefore),? )?(?:the |my )?(?:final |correct )?answer(?: is)?[: ]\s*\}}?"
    r"|\\approx(?![a-zA-Z])|=|(?:approximately|about|exactly|roughly)(?![a-zA-Z])"
    r"|(?:USD|EUR|GBP|INR|CHF|JPY|CNY|Rs\.?|US)(?= ?[0-9])"
    r"|(?:\\(?:text|mathrm)\{[A-Za-z ]{2,40}\}|[A-Za-z]{2,20}(?: [a-z]{1,20}){0,5}) ?= ?(?=[-0-9\\]))\s*",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"(?=[^=]*[\\/])(-?(?:[0-9]|\\frac\{-?[0-9]|\\sqrt ?[0-9{])[^=<>]*)= ?-?[0-9]*\.[0-9]+")
_ORDINAL = re.compile(rf"(?<=[0-9])\s*\^?\s*\{{?(?:{_DRESS}\{{)?\s*(?:st|nd|rd|th)\s*(?:\}}\s?){{0,2}}(?![a-zA-Z])")
_POWER = re.compile(r"(?<=[A-Za-z}])\s*\^\s*(?:[23]|\{[23]\})$")
_UNIT = (
    rf"(?:{_DRESS}\{{[A-Za-z./\s-]*(?:\^\{{?-?[1-3]\}}?)?[A-Za-z./\s-]*(?:\^\{{?-?[1-3]\}}?)?\}}(?:\s*\^\s*\{{?-?[1-3]\}}?)?)"
)
_DRESSED = re.compile(rf"((?:\s*(?:/|\\cdot)?\s*{_UNIT}){{1,4}}|\s*\\frac\{{{_UNIT}\}}\{{{_UNIT}\}})$")
_SQUARE = re.compile(r"(?<=[0-9}]) (?:in|ft|cm|mm|km|yd|mi)\^\{?[23]\}?$")
_BARE = re.compile(r"\\[a-zA-Z]+|[A-Za-z]{2,}|[<>]")
_CHANGING = frozenset(  # words after a number that change it, or say another thing; every other word there is a unit
    """and or if when where for than more less fewer least most greater not no to through until between plus minus times over by
    of from hundred thousand lakh million billion trillion dozen score half halves third thirds quarter quarters fourth fourths
    fifth fifths sixth sixths eighth eighths tenth tenths hundredth hundredths thousandth thousandths double twice triple
    squared cubed factorial power root mod modulo base is are was be equals but except choose remainder a p am pm north south
    east west above below left right positive negative bc ad sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln
    exp sqrt pi theta alpha beta gamma delta phi infinity inf gcd lcm max min deg det dim lim arg""".split()
)
_ABBREVIATED = frozenset("cm mm km ft yd hr hrs lb lbs kg mg ml kl gm gms sq cu mph kph kmh rpm yrs Hz kHz eV kW kWh".split())


_GRAMMAR = frozenset("is are was be of from by for a where when if but to through".split())


def changes(words: str) -> bool:
    """Whether words beside a number make it another one ("million"), or less than an answer ("not", "or more")."""
    return any(word in _CHANGING - _GRAMMAR for word in re.findall("[a-z]+", words.lower()))


def is_product(letters: str) -> bool:
    """Whether letters side by side are variables multiplied ("xy"), not a word ("on"). Where in doubt, a word."""
    if len(letters) == 2 and letters.lower() == letters[0].lower() * 2 and not (letters.islower() or letters.isupper()):
        return True  # Rr
    vowels = set(letters) & set("aeiou")
    if not letters.islower() or len(letters) > 3:
        return False
    return not vowels or set(letters) <= set("abcxyz") or bool(re.fullmatch("[abcdknxyz]i|i[abxyz]", letters))


def _is_unit(word: str) -> bool:
    """Whether a bare word after a number can only be a word."""
    vowels = set(word.lower()) & set("aeiou")
    return word in _ABBREVIATED or (len(word) > 3 and bool(vowels)) or (len(word) == 3 and bool(vowels - {"a"}))


_PERCENT = re.compile(rf"\s*(?:\\?%|(?:{_DRESS}\{{)?\s*per ?cent(?![a-zA-Z])\s*\}}?)")


def _lead(text: str) -> str:
    r"""`\approx 600`, `= 5`, `The answer is 12`, `USD 5`, `\text{Area} = 15`; `\frac{5}{13} = 0.385`, which adds a decimal."""
    text = match[1].strip() if (match := _ABOUT.fullmatch(text)) else text
    return text[match.end() :] if (match := _LEAD.match(text)) else text


def _ordinals(text: str) -> str:
    r"""`12^{\text{th}} \text{ grade}`."""
    return _ORDINAL.sub(" ", text).strip()


def _units(text: str) -> str:
    r"""`5.4 \text{ cents}`, `15\mbox{ cm}^2`, `12\pi inches per second`: units, and what is counted, after a number.

    Single letters are units in `\text{}` only, since `5 m` may be a product.
    """
    text = _SQUARE.sub("", text)
    bare = _POWER.sub("", text)
    if match := _DRESSED.search(bare):
        number, words = bare[: match.start()], re.sub(rf"{_DRESS}(?=\{{)|\\cdot|\\frac", " ", match[1])
    else:
        number = bare.rstrip(string.ascii_letters + " ./-")
        words = bare[len(number) :]
        if number.endswith("\\"):  # what looked like a word is a command: 12\pi inches
            command = re.match("[A-Za-z]*", words)[0]
            number, words = number + command, words[len(command) :]
            if command == "circ":
                words = re.sub(r"^\s*[CF]$", " degrees", words)
    counted = any(c in string.digits for c in number) or r"\pi" in number
    if not counted or any(not found.startswith("\\") or found in (r"\text", r"\mbox") for found in _BARE.findall(number)):
        return text
    words = re.findall("[A-Za-z]+", words)
    if not words or any(word.lower() in _CHANGING for word in words):
        return text
    units = match or (any(map(_is_unit, words)) and all(len(word) > 1 for word in words))
    return number.strip() if units else text


def _percent(text: str) -> str:
    r"""`10 percent`, `10\text{ per cent}`, `10\%`. The sign stays, and decides where numbers are compared."""
    return _PERCENT.sub(r"\\%", text)


# Numbers

_REPEATING = re.compile(r"(?<![0-9.])([0-9]{0,20})\.([0-9]{0,20})\\(?:overline|bar|dot)\s*\{?([0-9]{1,20})\}?")
_SCIENTIFIC = re.compile(r"(?<![0-9a-zA-Z.])([0-9]+(?:\.[0-9]+)?)(?:[eE]([+-]?[0-9]{1,3})(?![0-9a-zA-Z.]))")
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALED = re.compile(
    r"([+-]? ?|[A-Za-z] ?= ?)([0-9]{1,30}(?:,[0-9]{3})*(?:\.[0-9]{1,20})?)\s*"
    rf"(?:{_DRESS}\{{)?\s*({'|'.join(_SCALES)})(?![a-zA-Z])(?:\s*\}})?"
)
_COUNTS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_ENDLESS = re.compile(r"(?<![0-9.])([0-9]{0,20})\.([0-9]{0,20}?)(?:([0-9])\3{2,20}|([0-9]{2,9})\4{1,9})(?:\.\.\.|\\[lc]?dots)")
_TIMES_TEN = re.compile(
    r"(?<=[0-9])\s*(?:[xX*]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*(?:\{\s*|\()?([+-]?[0-9]{1,3})(?![0-9])(?:\s*\}|\))?"
)
_POINT = re.compile(r"(?<![0-9a-zA-Z}.])\.(?=[0-9])")
_COMMAS = re.compile(r"(?:[A-Za-z] ?= ?)?[+-]?[0-9]{1,3}(?:(?:,[0-9]{3})+|(?: [0-9]{3})+)(?:\.[0-9]+)?")
_INTEGER = re.compile(r"[+-]?\s?[0-9]+")
_MIXED = re.compile(r"(?<![0-9.])([0-9]+) ([0-9]+)/([0-9]+)")


def _endless(text: str) -> str:
    """`1.333...`: before a full stop is taken from its end."""
    if "..." not in text and "dots" not in text:
        return text
    return _ENDLESS.sub(lambda m: _fraction(m[1] or "0", m[2], m[3] or m[4]), text)


def _scales(text: str) -> str:
    r"""`900 million`, `\$1.2 \text{ million}`, `2 dozen`; `three`."""
    if text.lower() in _COUNTS:
        return str(_COUNTS.index(text.lower()))
    if not (match := _SCALED.match(text)):
        return text
    size = Fraction(match[2].replace(",", "")) * _SCALES[match[3]]
    return f"{match[1]}{size}{text[match.end() :]}" if size.denominator == 1 else text


def _numbers(text: str) -> str:
    r"""`0.1\overline{6}`, `1.5e3`, `1.5 x 10^3`, `.5`, `1,234`, `3 1/2`, `007`."""
    text = _POINT.sub("0.", _REPEATING.sub(_repeating, text))
    text = _TIMES_TEN.sub(r" \\times 10^{\1}", _SCIENTIFIC.sub(r"\1 \\times 10^{\2}", text))
    if _COMMAS.fullmatch(text):
        text = re.sub("[, ]", "", text)  # N = 1,234
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+- ").lstrip("0") or "0"
        return f"-{digits}" if text[0] == "-" and digits != "0" else digits
    return _MIXED.sub(r"\1\\frac{\2}{\3}", text)


def _repeating(match: re.Match) -> str:
    return _fraction(match[1] or "0", match[2], match[3])


def _fraction(whole: str, fixed: str, again: str) -> str:
    scale = 10 ** len(fixed)
    number = Fraction(int(whole + fixed), scale) + Fraction(int(again), scale * (10 ** len(again) - 1))
    return rf"\frac{{{number.numerator}}}{{{number.denominator}}}"


_BASE = re.compile(
    rf"\(?([0-9]+)\)?(?:_\{{?(?:{_DRESS}\{{)?(?:base )?([0-9]+|[a-z]+)\}}*| ?(?:{_DRESS}\{{)? ?\(?(?:in )?base ([0-9]+)\)?\}}?)"
)
_CLOCK = re.compile(rf"([0-9]{{1,2}}(?::[0-9]{{2}})?) ?(?:{_DRESS}\{{)? ?([AaPp])\.? ?[Mm]\.?\}}?")
_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z]) ?")
_RATIO = re.compile(rf"([0-9]+) ?(?:{_DRESS}\{{)? ?to ?\}}? ?([0-9]+)")


def _others(text: str) -> str:
    r"""`4343 \text{ (base 6)}`, `(4343)_6`; `7:45 \text{ p.m.}`; `1 \text{ to } 2`."""
    if match := _BASE.fullmatch(text):
        base = match[2] or match[3]
        base = str(_COUNTS.index(base)) if base in _COUNTS else base
        return f"{match[1]}_{{{base}}}" if base.isdigit() else text
    if match := _CLOCK.fullmatch(text):
        return f"{match[1].lstrip('0')} {match[2].lower()}m"
    return f"{match[1]}:{match[2]}" if (match := _RATIO.fullmatch(text)) else text


def _signs(text: str) -> str:
    r"""`\frac{1 \pm \sqrt{5}}{2}` is two numbers."""
    parts = _PLUS_MINUS.split(re.sub(r"^[a-zA-Z] ?= ?", "", text))
    return f"{'+'.join(parts)}, {'-'.join(parts)}" if len(parts) == 2 and "," not in text else text


def _letters(text: str) -> str:
    """(C) and C are one choice."""
    return text[1] if re.fullmatch(r"\([A-Z]\)", text) else text


PIPELINE = (
    *(_characters, _delimiters, _thousands, _spaces, _endless, _ends, _sizes, _undress, _ends),
    *(_lead, _ordinals, _percent, _scales, _others, _units, _numbers, _signs, intervals, _letters),
)


# What a canonical text is

_RATIONAL = re.compile(
    r"([+-]?)\s?(?:([0-9]+(?:\.[0-9]+)?)(?: \\times 10\^\{([+-]?[0-9]+)\})?"
    r"|([0-9]*)\s?\\frac\{([+-]?[0-9]+)\}\{([0-9]+)\}|([0-9]+)\s?/\s?([0-9]+)|10\^\{?([+-]?[0-9]{1,3})\}?)"
)


def value(text: str) -> Fraction | None:
    """The exact number that a canonical text is, where it is a plain one: an integer, decimal, fraction or power of ten."""
    if len(text) > 400 or not (match := _RATIONAL.fullmatch(text)):
        return None
    sign, decimal, exponent, whole, over, under, above, below, power = match.groups()
    if int(under or below or 1) == 0 or (whole and over[0] in "+-"):
        return None
    if decimal:
        number = Fraction(decimal) * Fraction(10) ** int(exponent or 0)
    elif over:
        number = int(whole or 0) + Fraction(int(over), int(under))
    else:
        number = Fraction(int(above), int(below)) if above else Fraction(10) ** int(power)
    return -number if sign == "-" else number


def decimals(text: str) -> int | None:
    """How many digits after the point a canonical decimal gives; None where it is exact as it stands (1/3), or gives fewer
    than six digits that count: such a decimal is meant exactly."""
    match = re.fullmatch(r"[+-]?[0-9]+\.([0-9]+)", text)
    return len(match[1]) if match and len(text.lstrip("+-0.").replace(".", "")) >= 6 else None


_PLAIN = [  # plain notation that a LaTeX parser would misread
    (re.compile(r"\*\*\s*(\([^()]*\)|-?[\w.]+)(?!\s*\*\*)"), r"^{\1}"),  # 2**3; towers stay, and are not read
    (re.compile(r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\\a-zA-Z])(pi|sin|cos|tan|cot|sec|csc|ln|log|theta|alpha|beta|phi|infty)(?![a-zA-Z])"), r"\\\1 "),
    (re.compile(r"(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])", re.IGNORECASE), r"\\infty "),
]
_WORD = re.compile(r"(\\[a-zA-Z]+\s*\{[A-Za-z ]*\}|\\[a-zA-Z]+)|([A-Za-z]{2,})(\^?)")


def latex(text: str) -> str:
    """A canonical text in LaTeX, where words are text: to a parser, "on" and "no" are equal products."""
    for pattern, replacement in _PLAIN:
        text = pattern.sub(replacement, text)

    def word(match: re.Match) -> str:
        letters = match[2]
        if (
            match[1]
            or letters in ("and", "or")
            or is_product(letters)
            or (match[3] and letters.endswith("e") and len(letters) < 4)
        ):
            return match[0]  # "xe^{x}" is a product, too
        return rf"\text{{{letters}}}{match[3]}"

    return _WORD.sub(word, text)
