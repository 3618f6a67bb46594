"""From what a model wrote to the answer it gave: the last \\boxed{}, else what follows the last "Answer:".

This is s1's extraction (its `process_results` for AIME, MATH and GPQA) without the judge model behind it: an answer that
cannot be read is None, never a guess. (s1 falls back to a language model, and for GPQA to "A".)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..chat import Chat
    from ..streams.types import Trace

_MARKER = re.compile(r"answer[*_ \t]*:[*_\s]*", re.IGNORECASE)
_BRACES = re.compile(r"\\[{}]|(\\(?:boxed|fbox)\s*)?\{|\}")
_WRAPPING = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathsf|rm|bf)\s*\{([^{}]*)\}")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_LETTER = re.compile(r"\(?([A-Z])(?:\)|[.:](?=\s|$)|$)")
_ANOTHER = re.compile(r"\s*(?:,|/|&|\bor\b|\band\b)\s*\(?[A-Z](?:[).,:]|\s|$)")


def answer_text(trace: Trace, chat: Chat) -> str:
    """The part of a trace that is graded: what follows the thinking, "Final Answer:" included; "" when thinking never ended.

    Plain generation has its delimiters inside the answer segment, so the cut is made in text, at the last one. A chat format
    without delimiters has no separate answer: everything the model wrote is graded.
    """
    start, end = chat.format.thinking_start.strip(), chat.format.thinking_end.strip()
    if not end:
        return chat.decode(trace.ids())
    thinking = [i for i, s in enumerate(trace.segments) if s.kind in ("thinking", "injected")]
    after = trace.segments[thinking[-1] + 1 :] if thinking else trace.segments
    text = chat.decode(tuple(i for s in after for i in s.ids))
    if end in text:
        return text.rpartition(end)[2]
    return "" if text.lstrip().startswith((start, *chat.format.thinking_stop)) else text


def boxed(text: str) -> str | None:
    """The content of the last complete \\boxed{} or \\fbox{}, the innermost where they nest. Linear in the text's length."""
    opened: list[int | None] = []  # where the content of each open brace begins; None for braces of other things
    last: tuple[int, int] | None = None
    for match in _BRACES.finditer(text):
        if match[0].endswith("{") and match[0] != r"\{":
            opened.append(match.end() if match[1] else None)
        elif match[0] == "}" and opened and (start := opened.pop()) is not None:
            last = max(last or (start, match.start()), (start, match.start()))
    return text[slice(*last)].strip() if last else None


def stated(text: str) -> str | None:
    """The answer a text states: its last \\boxed{}, else the line after its last "Answer:"; None when there is neither."""
    found = boxed(text)
    if found is None:
        parts = _MARKER.split(text)
        found = parts[-1].partition("\n")[0].strip().strip("*").strip() if len(parts) > 1 else None
    return found or None


def _plain(text: str) -> str:
    """Without mathematical dress: \\text{}, dollar signs, bold stars, a full stop at the end."""
    text = re.sub(r"\\[()\[\]!,;]|\$|\*", "", _WRAPPING.sub(r"\1", text))
    return text.strip().rstrip(".").strip()


def integer(text: str) -> str | None:
    """An answer that is an integer and nothing else, without leading zeros ("007" is "7"); None otherwise."""
    plain = _plain(text if (found := stated(text)) is None else found)
    if not _INTEGER.fullmatch(plain):
        return None
    digits = plain.lstrip("+-").lstrip("0") or "0"
    return f"-{digits}" if plain.startswith("-") and digits != "0" else digits


def choice(text: str) -> str | None:
    """A letter, alone ("b", "(B)") or before its choice ("B) 12 m"); None for prose and for several letters."""
    plain = _plain(text if (found := stated(text)) is None else found)
    if re.fullmatch(r"\(?[A-Za-z]\)?", plain):
        return plain.strip("()").upper()
    match = _LETTER.match(plain)
    return None if match is None or _ANOTHER.match(plain, match.end()) else match[1]


def math(text: str) -> str | None:
    """Any mathematical answer, as written; it must be stated (boxed or after "Answer:")."""
    return stated(text)
