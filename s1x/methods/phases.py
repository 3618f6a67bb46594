"""Steps that several methods share: how thinking is closed, and how the answer is read."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ..streams.types import Ids, Read, Sampling, Segment, Span, Stops


def room(head: Ids, chat, answer_reserve: int) -> int:
    """Tokens of thinking that fit after `head` (prompt and thinking start) when a forced end and `answer_reserve` tokens of
    answer must follow: s1's `max_tokens_thinking=auto`, but for this question and not for the longest one of a batch."""
    return chat.context_length - len(head) - len(chat.thinking_end) - len(chat.final_answer) - answer_reserve


def closing(chat, thinking: Ids, *, forced: bool) -> Ids:
    """What is appended to finished thinking: the delimiter; and when a budget cut it, as in s1, a newline before (unless one
    is there) and "Final Answer:" after. A format without a delimiter has only these words to ask for an answer."""
    if not forced and chat.thinking_end:
        return chat.thinking_end
    if not chat.thinking_end:
        return chat.final_answer
    has_newline = chat.ends_with_newline(thinking) or chat.format.thinking_start.startswith("\n")
    return (() if has_newline else chat.newline) + chat.thinking_end + chat.final_answer


def answer(prefix: Ids, chat, sampling: Sampling, *, limit: int | None, until: Sequence[str] = ()) -> Generator:
    """Read the answer from its own stream. `until` holds the task's stop strings. Returns an answer segment."""
    span = yield Read(prefix, sampling, _answer_stops(chat, until), limit)
    return Segment("answer", span.ids, span.logprobs)


def own_delimiter(chat) -> Ids:
    """The ids by which the model itself starts its answer: the thinking end from its stop token on, without white space at
    the end (how a model goes on there is its own affair). () for a format without a delimiter."""
    ids, stops = chat.encode(chat.format.thinking_end.rstrip()), chat.thinking_stops.ids
    return ids[next((i for i, token in enumerate(ids) if token in stops), 0) :]


def own_end(chat) -> Stops:
    """Where thinking ends when nobody interferes: at the model's whole answer delimiter, or with its turn."""
    delimiter = own_delimiter(chat)
    return Stops(ids=chat.answer_stops.ids, sequences=(delimiter,) if delimiter else ())


def own_answer(
    head: Ids, thinking: Span, chat, sampling: Sampling, *, limit: int | None, until: Sequence[str] = ()
) -> Generator:
    """What follows `thinking` (a read of the stream after `head`) in the same stream: delimiter and answer segments, or no
    segments when the model never started an answer."""
    if thinking.stop != own_delimiter(chat):
        return []
    span = yield Read(head, sampling, _answer_stops(chat, until), limit, start=thinking.end)
    return [Segment("delimiter", thinking.stop), Segment("answer", span.ids, span.logprobs)]


def _answer_stops(chat, until: Sequence[str]) -> Stops:
    return chat.answer_stops | Stops(strings=tuple(until))
