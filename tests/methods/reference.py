"""s1's procedures, written a second time and plainly: one question, one token after the other, no streams.

Nothing here is shared with s1x. `model(ids, noise, banned)` is the next token after `ids`. All functions return every id
that follows the prompt. `*_s1` follow the reference harness (its vLLM wrapper), the others say what the paper means.
"""

THINK, ANSWER, FINAL = "<|im_start|>think", "<|im_start|>answer", "\nFinal Answer:"


def generate(model, ids, max_tokens, *, context, stop=(), noise=None, min_tokens=0):
    """What a `generate` call gives: (token ids with the stop at their end, "stop" or "length")."""
    out = []
    singles = {s[0] for s in stop if len(s) == 1}
    while len(out) < max_tokens and len(ids) + len(out) < context:
        out.append(model(tuple(ids + out), noise, frozenset(singles) if len(out) < min_tokens else frozenset()))
        if any(out[-len(s) :] == list(s) for s in stop):
            return out, "stop"
    return out, "length"


def strip(ids, stop):
    for s in stop:
        if ids[-len(s) :] == list(s):
            ids = ids[: -len(s)]
    return ids


def stops_of(encode):
    return [encode("<|im_start|>"), encode("<|im_end|>")]


def finish(model, encode, decode, prompt, thought, finish_reason, uncut, *, start, context, max_answer, noise=None):
    """The transition and the answer. `uncut` is the text whose end decides about the newline."""
    if finish_reason == "length":
        closing = ([] if decode(uncut).endswith("\n") else encode("\n")) + encode(ANSWER) + encode(FINAL)
    else:
        closing = encode(ANSWER)
    ids = prompt + start + thought + closing
    answer, _ = generate(model, ids, max_answer, context=context, stop=[encode("<|im_end|>")], noise=noise)
    return start + thought + closing + strip(answer, [encode("<|im_end|>")])


def budget_forcing_s1(
    model, encode, decode, prompt, *, max_thinking_tokens, ignore_end, string, min_thinking_tokens, context, max_answer
):
    start, stop = encode(THINK), stops_of(encode)
    if max_thinking_tokens == "auto":
        max_thinking_tokens = context - len(prompt) - len(start) - len(encode(ANSWER + FINAL)) - 100
    thought = []
    for round in range(ignore_end + 1):
        out, reason = generate(
            model,
            prompt + start + thought,
            max_thinking_tokens,
            context=context,
            stop=stop,
            min_tokens=1 if ignore_end else min_thinking_tokens,
        )
        if reason == "length" or round == ignore_end:
            thought += out
            break
        thought += strip(out, stop)
        if string is not None:
            thought += encode(string)
    uncut = out
    thought = strip(thought[:max_thinking_tokens], stop)
    return finish(model, encode, decode, prompt, thought, reason, uncut, start=start, context=context, max_answer=max_answer)


def budget_forcing(
    model,
    encode,
    decode,
    prompt,
    *,
    max_thinking_tokens,
    ignore_end,
    string,
    min_thinking_tokens,
    context,
    max_answer,
    opening=(),
):
    """Thinking has at most `max_thinking_tokens` tokens, all rounds and strings together; a stop counts as one of them."""
    start, stops = encode(THINK) + list(opening), {s[0] for s in stops_of(encode)}
    room = context - len(prompt) - len(start) - len(encode(ANSWER + FINAL)) - 100
    max_thinking_tokens = room if max_thinking_tokens == "auto" else min(max_thinking_tokens, room)
    inject = encode(string) if string is not None else []
    thought, ignored, fresh, reason = [], 0, False, "length"
    while len(thought) < max_thinking_tokens:
        banned = frozenset(stops) if fresh or len(thought) < min_thinking_tokens else frozenset()
        token = model(tuple(prompt + start + thought), None, banned)
        fresh = False
        if token not in stops:
            thought.append(token)
        elif ignored < ignore_end and len(thought) + len(inject) < max_thinking_tokens:
            thought, ignored, fresh = thought + inject, ignored + 1, True
        else:
            reason = "stop"
            break
    ids = finish(model, encode, decode, prompt, thought, reason, thought, start=start, context=context, max_answer=max_answer)
    return ids, len(thought), ignored


def step_conditional_forced_s1(model, encode, decode, prompt, *, context, max_answer):
    start, stop = encode("<|im_start|>"), [encode("<|im_start|>0"), encode("<|im_end|>")]
    max_thinking_tokens = context - len(prompt) - len(start) - len(encode(ANSWER + FINAL)) - 100
    out, reason = generate(model, prompt + start, max_thinking_tokens, context=context, stop=stop)
    thought = strip(out, stop)
    return finish(model, encode, decode, prompt, thought, reason, out, start=start, context=context, max_answer=max_answer)


def step_conditional_forced(model, encode, decode, prompt, *, context, max_answer):
    """As the paper means it: an answer that the model starts before the 0 is its answer."""
    start, stop = encode("<|im_start|>"), [encode("<|im_start|>0"), encode("<|im_end|>"), encode(ANSWER)]
    max_thinking_tokens = context - len(prompt) - len(start) - len(encode(ANSWER + FINAL)) - 100
    out, reason = generate(model, prompt + start, max_thinking_tokens, context=context, stop=stop)
    thought = strip(out, stop)
    return finish(model, encode, decode, prompt, thought, reason, out, start=start, context=context, max_answer=max_answer)


def plain(model, encode, prompt, *, start, context, max_answer):
    """One call to the end of the turn; what follows the answer delimiter is limited to `max_answer` tokens."""
    end, delimiter = encode("<|im_end|>"), encode(ANSWER)
    out, _ = generate(model, prompt + start, context, context=context, stop=[end])
    at = next((i for i in range(len(out)) if out[i : i + len(delimiter)] == delimiter), None)
    if at is not None:
        out = out[: at + len(delimiter) + max_answer]
    return start + strip(out, [end])


def rejection_sampling(model, encode, decode, prompt, *, limit, noises, context, max_answer):
    """One slot of the harness: `max_tokens` is the limit plus one, and a sample is taken if it is no longer than the limit."""
    start, stop = encode(THINK), stops_of(encode)
    for tries, noise in enumerate(noises, 1):
        out, reason = generate(model, prompt + start, limit + 1, context=context, stop=stop, noise=noise)
        if len(out) <= limit:
            thought = strip(out, stop)
            return tries, finish(
                model,
                encode,
                decode,
                prompt,
                thought,
                reason,
                out,
                start=start,
                context=context,
                max_answer=max_answer,
                noise=noise,
            )
    return len(noises), None
