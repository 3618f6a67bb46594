"""From a record to what a model is trained on: prompt, completion, and which characters stay out of the loss.

s1's layout (paper appendix D, `data/tokenization.py`), here with its own delimiters and any others of `conf/chat`:

    {chat template up to the assistant turn}<|im_start|>think
    {thinking}
    <|im_start|>answer
    {Answer: ...}<|im_end|>

Two variants teach control of the length (appendix E.1): `tokens` adds "Think for up to 2048 tokens." to the question, the
trace's length rounded up to a power of two; `steps` does so with the number of steps and counts them down in the trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..chat import ChatFormat, has_template, render
from ..errors import SettingError, sentences

CONTROLS = (None, "tokens", "steps")
Span = tuple[int, int]


@dataclass(frozen=True)
class Example:
    """One training text. `unlearned` holds [start, end) character spans of `completion` that get no loss."""

    prompt: str
    completion: str
    unlearned: tuple[Span, ...] = ()


def example(
    record: Mapping[str, Any],
    tokenizer,
    chat: ChatFormat,
    *,
    control: str | None = None,
    step_separator: str = "\n\n",
    step_start: str = "<|im_start|>",
) -> Example:
    """Format a record (`question`, `thinking`, `answer`, and maybe `slips`: spans of `thinking` without loss).

    control: None, "tokens" or "steps". step_separator: what stands between two steps of a trace (s1: a blank line).
    """
    if control not in CONTROLS:
        raise SettingError(f"data.control={control}: must be null, tokens or steps")
    thinking, slips = _stripped(record["thinking"] or "", record.get("slips") or ())
    question = chat.question(record["question"])
    start = _line(chat, chat.thinking_start)
    if control == "tokens":
        size = power_of_two(len(tokenizer(thinking, add_special_tokens=False)["input_ids"]))
        question += f"\n\nThink for up to {size} tokens."
    if control == "steps":
        thinking, slips, size = _countdown(thinking, slips, step_separator, step_start)
        question += f"\n\nThink for up to {size} steps."
        start = ""  # the first countdown line opens the thinking
    prompt, closing = turn(tokenizer, question, chat)
    if start and chat.opened(prompt):  # the template has written it, with white space of its own
        space, there = start.removeprefix(chat.thinking_start.strip()), prompt[len(prompt.rstrip()) :]
        start = space.removeprefix(there) if space.startswith(there) else ""
    end = _line(chat, f"\n{chat.thinking_end}" if chat.forced_break else chat.thinking_end)
    completion = f"{start}{thinking}{end}{answer_line(record['answer'] or '')}{closing}"
    return Example(prompt, completion, tuple((a + len(start), b + len(start)) for a, b in slips))


def answer_line(answer: str) -> str:
    """The answer as s1 trains it: with "Answer: " in front unless it says "Answer:" somewhere ("Final Answer:" does)."""
    return (answer if "Answer:" in answer else f"Answer: {answer}").strip()


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least `n` (1 for 0)."""
    return 1 << max(n - 1, 0).bit_length()


def turn(tokenizer, question: str, chat: ChatFormat) -> tuple[str, str]:
    """(the chat up to where the assistant's words begin, what closes its turn), both as the template writes them; the format's
    first end of an answer where it writes none (GLM's turns end where the next begins).

    Raises SettingError when the template refuses, or closes the thinking before it begins.
    """
    messages = [{"role": "user", "content": question}]
    if not has_template(tokenizer):
        raise SettingError("model: its tokenizer has no chat template to train with; set model.tokenizer to one that has")
    said = "the assistant's words"  # templates may rewrite thinking, so the text itself never passes through them
    with sentences():
        prompt = render(tokenizer, chat, messages)
        whole = render(tokenizer, chat, [*messages, {"role": "assistant", "content": said}], ask=False)
    if chat.closed(prompt):
        raise SettingError(
            f"chat={chat.name}: the model's chat template ends the thinking in the prompt ({prompt[-30:]!r}), so none can be "
            "trained behind it; set chat.arguments so that thinking is on"
        )
    closing = whole.rpartition(said)[2]
    return prompt, closing if closing.strip() or not chat.answer_stop else chat.answer_stop[0]


def encode(example: Example, tokenizer) -> dict[str, list[int]]:
    """`input_ids` of prompt and completion, and `completion_mask`: 1 where a token is learned (needs a fast tokenizer).

    A token that touches an unlearned span is not learned. The two parts are encoded on their own, so the completion's ids
    are what the model writes after a prompt at inference.
    """
    prompt = tokenizer(example.prompt, add_special_tokens=False)["input_ids"]
    encoded = tokenizer(example.completion, add_special_tokens=False, return_offsets_mapping=True)
    learned = [int(not any(a < end and start < b for a, b in example.unlearned)) for start, end in encoded["offset_mapping"]]
    return {"input_ids": prompt + encoded["input_ids"], "completion_mask": [0] * len(prompt) + learned}


def _line(chat: ChatFormat, delimiter: str) -> str:
    """A delimiter followed by a newline (paper appendix D), unless it brings its own or the format writes none."""
    bare = not delimiter.strip() or delimiter.endswith("\n") or not chat.forced_break
    return delimiter if bare else f"{delimiter}\n"


def _stripped(text: str, spans: Sequence[Sequence[int]]) -> tuple[str, list[Span]]:
    """The text without outer white space, and its spans moved along."""
    kept = text.strip()
    lead = len(text) - len(text.lstrip())
    moved = [(max(a - lead, 0), min(b - lead, len(kept))) for a, b in spans]
    return kept, [(a, b) for a, b in moved if a < b]


def _countdown(thinking: str, spans: Sequence[Span], separator: str, mark: str) -> tuple[str, list[Span], int]:
    """(trace with a "N steps left" line before each step, moved spans, N): N is the number of steps, rounded up."""
    pieces, at = [], 0
    for raw in thinking.split(separator):
        inside = [(a - at, b - at) for a, b in spans if at <= a < at + len(raw)]
        step, moved = _stripped(raw, inside)
        if step:
            pieces.append((step, moved))
        at += len(raw) + len(separator)
    pieces = pieces or [("", [])]
    budget = power_of_two(len(pieces))
    text, spans_out = "", []
    for i, (step, moved) in enumerate(pieces):
        text += ("\n" if text else "") + f"{mark}{budget - i} steps left\n"
        spans_out += [(a + len(text), b + len(text)) for a, b in moved]
        text += step
    return text, spans_out, budget
