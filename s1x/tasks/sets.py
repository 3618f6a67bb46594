r"""One spelling for sets of numbers: `x<2 or x>3`, `\{x \mid x > 2\}`, `x \in (2, \infty)`, `all real numbers` as intervals.

Only where one variable is bounded by numbers, so that nothing is read into other relations.
"""

from __future__ import annotations

import re

_LESS = {"<": "<", r"\lt": "<", r"\le": "<=", r"\leq": "<=", r"\leqslant": "<=", "<=": "<="}
_MORE = {">": "<", r"\gt": "<", r"\ge": "<=", r"\geq": "<=", r"\geqslant": "<=", ">=": "<="}
_SIGN = re.compile(r"(<=|>=|<|>|\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt)(?![a-zA-Z]))")
_BUILDER = re.compile(r"\\\{ ?([a-zA-Z])(?: \\in \\(?:mathbb ?\{R\}|R))? ?(?:\||:|\\mid|\\vert|\\colon)(?![a-zA-Z]) ?(.*)\\\}")
_MEMBER = re.compile(r"[a-zA-Z] ?\\in(?![a-zA-Z]) ?(?=[(\[\\])")
_OR = re.compile(r" ?(?:\\text ?\{ ?or ?\}|\bor\b|\\lor(?![a-zA-Z])|\\cup(?![a-zA-Z])|\\vee(?![a-zA-Z])) ?")
_AND = re.compile(r" ?(?:\\text ?\{ ?and ?\}|\band\b|\\land(?![a-zA-Z])|\\wedge(?![a-zA-Z])) ?")
_INTERVAL = re.compile(r"[(\[][^()\[\]]*,[^()\[\]]*[)\]]")
_REALS = re.compile(
    r"(?:all |the )*real numbers?|(?:[a-zA-Z] ?\\in )?\\mathbb ?\{?R\}?|\( ?- ?\\infty ?, ?\+?\\infty ?\)", re.IGNORECASE
)
_NUMBER = re.compile(r"(?:\\(?:frac|sqrt|pi|infty|cdot)(?![a-zA-Z])|[0-9.+\-*/^{}() ]|(?<![a-zA-Z])e(?![a-zA-Z]))+")


def intervals(text: str) -> str:
    """The text, or the union of intervals that it is another spelling of."""
    if _REALS.fullmatch(text):
        return r"\mathbb{R}"
    if match := _BUILDER.fullmatch(text):
        text = match[2].strip()
        if not _SIGN.search(text):
            return match[0]
    found = [_piece(part) for part in _OR.split(text)]
    if None in found or len({variable for variable, _ in found if variable}) > 1:
        return text
    return r" \cup ".join(interval for _, interval in found)


def _piece(text: str) -> tuple[str, str] | None:
    """(variable, interval) of one part; the variable of an interval is ""."""
    text = _MEMBER.sub("", text.strip())
    if _INTERVAL.fullmatch(text):
        return "", text
    both = [_chain(part) for part in _AND.split(text)]
    if None in both or len(both) > 2 or len({variable for variable, *_ in both}) > 1:
        return None
    low, high = (next((b[side] for b in both if b[side]), None) for side in (1, 2))
    if len(both) == 2 and (low is None or high is None or sum(bool(b[1]) + bool(b[2]) for b in both) != 2):
        return None
    left = f"{'[' if low[1] == '<=' else '('}{low[0]}" if low else r"(-\infty"
    right = f"{high[0]}{']' if high[1] == '<=' else ')'}" if high else r"\infty)"
    return both[0][0], f"{left}, {right}"


def _chain(text: str) -> tuple[str, tuple[str, str] | None, tuple[str, str] | None] | None:
    """(variable, lower bound, upper bound) of `2 < x`, `x \\ge 3`, `2 < x \\le 3`; a bound is (number, sign)."""
    parts = [part.strip() for part in _SIGN.split(text)]
    if len(parts) not in (3, 5):
        return None
    for signs in (_LESS, _MORE):
        if all(sign in signs for sign in parts[1::2]):
            terms, kinds = parts[::2], [signs[sign] for sign in parts[1::2]]
            if signs is _MORE:
                terms, kinds = terms[::-1], kinds[::-1]
            at = [i for i, term in enumerate(terms) if re.fullmatch("[a-df-hj-zA-Z]", term)]
            numbers = [term for i, term in enumerate(terms) if i not in at]
            if len(at) != 1 or not all(map(_NUMBER.fullmatch, numbers)) or len(terms) == 3 and at != [1]:
                return None
            i = at[0]
            return (
                terms[i],
                (terms[i - 1], kinds[i - 1]) if i else None,
                (terms[i + 1], kinds[i]) if i + 1 < len(terms) else None,
            )
    return None
