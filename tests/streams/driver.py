"""A second, naive way to run a method: one step after the other, token by token. The scheduler must agree with it."""

from collections.abc import Generator

from s1x.streams.types import All, First, Read, Span


def run(step, model, context_length=1 << 20, decode=None):
    """The value of a step. `model(prefix ids, sampling, forbidden ids)` is the next token."""
    if isinstance(step, Read):
        return read(step, model, context_length, decode)
    if isinstance(step, All):
        return [run(m, model, context_length, decode) for m in step.members]
    if isinstance(step, First):
        results = []
        for member in step.members:
            results.append(run(member, model, context_length, decode))
            if step.accept(list(results)):
                break
        return results
    assert isinstance(step, Generator)
    value = None
    while True:
        try:
            asked = step.send(value)
        except StopIteration as stop:
            return stop.value
        value = run(asked, model, context_length, decode)


def read(r: Read, model, context_length, decode):
    tokens = []

    def more():
        banned = r.forbid.ids if r.forbid and len(tokens) < r.forbid.first else frozenset()
        tokens.append(model(r.prefix + tuple(tokens), r.sampling, banned))

    room = context_length - len(r.prefix)
    while len(tokens) < min(r.start, room):
        more()
    end = room if r.limit is None else min(room, r.start + r.limit)
    while len(tokens) < end:
        more()
        got = tokens[r.start :]
        if got and got[-1] in r.stop.ids:
            return Span(tuple(got[:-1]), "stop", r.start, len(tokens), (got[-1],))
        for q in r.stop.sequences:
            if tuple(got[-len(q) :]) == q:
                return Span(tuple(got[: -len(q)]), "stop", r.start, len(tokens), q)
        if r.stop.strings:
            text = decode(tuple(got))
            written = len(text) - len(text.lstrip())  # white space holds no stop, and what is written first is none
            found = [(at, s) for s in r.stop.strings for at in range(written + 1, len(text)) if text.startswith(s, at)]
            found = [(at, s) for at, s in found if not (text.startswith(s, written) and at < written + len(s))]
            if found:
                at, _ = min(found)
                keep = 0
                while len(decode(tuple(got[:keep]))) < at:
                    keep += 1
                return Span(tuple(got[:keep]), "stop", r.start, len(tokens), tuple(got[keep:]))
    full = r.limit is None or r.start + r.limit > end
    return Span(tuple(tokens[r.start :]), "context" if full else "limit", r.start, len(tokens))
