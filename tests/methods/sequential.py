"""Newer sequential methods, written a second time from their papers and plainly: one token after the other, no streams.

As in reference.py nothing is shared with s1x: `model(ids, noise, banned)` is the next token after `ids`, and functions return
every id that follows the prompt.
"""

import math

from .reference import ANSWER, FINAL, THINK, budget_forcing, finish, generate, stops_of, strip

RESERVE = 100


def limits(encode, prompt, start, context):
    """Tokens of thinking that fit, and the ids that end it."""
    room = context - len(prompt) - len(start) - len(encode(ANSWER + FINAL)) - RESERVE
    return room, {s[0] for s in stops_of(encode)}


def spoken(text, marks):
    """Where the first of the marks begins in text that was written since the last one; white space before it does not count,
    nor a mark at the very beginning."""
    begin = len(text) - len(text.lstrip())
    places = [text.find(m, begin + len(m) if text.startswith(m, begin) else begin) for m in marks]
    return min((at for at in places if at >= 0), default=None)


def budget_reminder(model, encode, decode, prompt, *, budget, every, text, context, max_answer):
    start = encode(THINK)
    room, stops = limits(encode, prompt, start, context)
    limit, thought, since, reason = min(budget, room), [], [], "length"
    while len(thought) < limit:
        token = model(tuple(prompt + start + thought), None, frozenset())
        if token in stops:
            reason = "stop"
            break
        thought, since = [*thought, token], [*since, token]
        words = encode(text.replace("{left}", str(budget - len(thought))).replace("{used}", str(len(thought))))
        if len(thought) % every == 0 and len(thought) + len(words) < limit:
            thought, since = thought + words, []
    end = {"start": start, "context": context, "max_answer": max_answer}
    return finish(model, encode, decode, prompt, thought, reason, since or thought, **end), len(thought)


def alpha_one(model, encode, decode, prompt, *, average, alpha, p, string, mark, slow, draw, context, max_answer, noise=None):
    """Equation 1 with linear annealing, then section 3.3. `draw(t)` is a number from 0 to 1."""
    start, word = encode(THINK), encode(string)
    limit, stops = limits(encode, prompt, start, context)
    moment = min(round(alpha * average), limit)
    thought, since, fast, reason, waits = [], [], [], "length", 0
    while len(thought) < limit:
        past = len(thought) >= moment
        token = model(tuple(prompt + start + thought), noise, frozenset())
        if token in stops:
            reason = "stop"
            break
        thought = [*thought, token]
        t = len(thought)
        if past:
            fast = [*fast, token]
            found = next((w for w in slow if fast[-len(w) :] == w), None)
            if found:
                thought, fast, reason = thought[: -len(found)], fast[: -len(found)], "slow"
                break
            continue
        since = [*since, token]
        if spoken(decode(since), [mark]) is not None:
            since = []
            if t + len(word) < limit and draw(t) < p * (1 - t / moment):
                thought, waits = thought + word, waits + 1
    uncut = thought if moment <= len(thought) - len(fast) and not fast else fast if fast else since or thought
    if reason == "slow":  # the end of thinking alone
        closing = ([] if decode(uncut).endswith("\n") else encode("\n")) + encode(ANSWER)
        answer, _ = generate(
            model, prompt + start + thought + closing, max_answer, context=context, stop=[encode("<|im_end|>")], noise=noise
        )
        return start + thought + closing + strip(answer, [encode("<|im_end|>")]), waits, reason
    end = {"start": start, "context": context, "max_answer": max_answer, "noise": noise}
    return finish(model, encode, decode, prompt, thought, reason, uncut, **end), waits, reason


def deer(model, logprob, encode, decode, prompt, *, threshold, marks, inducer, trial_tokens, context, max_answer):
    """Section 3: thoughts between marks, a trial answer behind each, and its confidence."""
    start = encode(THINK)
    limit, stops = limits(encode, prompt, start, context)
    thought, since, reason, trials = [], [], "length", 0
    while len(thought) < limit:
        token = model(tuple(prompt + start + thought), None, frozenset())
        if token in stops:
            reason = "stop"
            break
        thought, since = [*thought, token], [*since, token]
        at = spoken(decode(since), marks)
        if at is None:
            continue
        kept = next(k for k in range(len(since) + 1) if len(decode(since[:k])) >= at)
        chain = thought[: len(thought) - len(since) + kept]
        asking = encode(inducer) if inducer else ([] if decode(chain).endswith("\n") else encode("\n")) + encode(ANSWER + FINAL)
        ids, probabilities = prompt + start + chain + asking, []
        trial = []
        while len(trial) < trial_tokens:
            token = model(tuple(ids + trial), None, frozenset())
            if token == encode("<|im_end|>")[0] or (inducer and token in stops):
                break
            probabilities.append(math.exp(logprob(tuple(ids + trial), token)))
            trial.append(token)
            if (end := spoken(decode(trial), ["\n"])) is not None:
                kept_trial = next(k for k in range(len(trial) + 1) if len(decode(trial[:k])) >= end)
                probabilities = probabilities[:kept_trial]
                break
        trials += 1
        if probabilities and math.prod(probabilities) ** (1 / len(probabilities)) > threshold:
            thought, since, reason = chain, since[:kept], "length"
            break
        since = []
    end = {"start": start, "context": context, "max_answer": max_answer}
    return finish(model, encode, decode, prompt, thought, reason, since or thought, **end), trials, reason


def self_refine(model, encode, decode, render, question, *, rounds, critique, revision, satisfied, least, context, max_answer):
    """Algorithm 1: y0, then feedback on y_t (equation 2) and refinement on all that was (equation 4), until it is satisfied.

    render: from (role, text) messages to prompt ids. A turn without text, or without room, ends it. Returns all that follows
    the question's prompt, the other prompts included, the number of revisions, and the answer.
    """
    forcing = {"max_thinking_tokens": "auto", "ignore_end": 0, "string": None, "min_thinking_tokens": 0}

    def turn(prompt):
        ids, *_ = budget_forcing(model, encode, decode, prompt, **forcing, context=context, max_answer=max_answer)
        return ids, decode(ids).rpartition(ANSWER)[2].strip()

    def fits(prompt):
        return context - len(prompt) - len(encode(ANSWER + FINAL)) - RESERVE >= least

    asked = [("user", question)]
    written, answer = turn(render(asked))
    history, revisions = [], 0
    while answer and revisions < rounds:
        critic = render([*asked, ("assistant", answer), ("user", critique)])
        if not fits(critic):
            break
        ids, feedback = turn(critic)
        written += critic + ids
        if not feedback or (satisfied and satisfied in feedback):
            break
        history.append([("assistant", answer), ("user", critique), ("assistant", feedback), ("user", revision)])
        shown = list(history)
        while shown and not fits(render(asked + sum(shown, []))):
            shown.pop(0)
        if not shown:
            break
        ids, revised = turn(render(asked + sum(shown, [])))
        written += render(asked + sum(shown, [])) + ids
        if not revised:
            break
        answer, revisions = revised, revisions + 1
    return written, revisions, answer


def thought_for(model, encode, prompt, text, *, context):
    """NoThinking: the thinking is `text`, and the answer follows."""
    ids = encode(THINK) + encode(text) + encode("\n" + ANSWER)
    answer, _ = generate(model, prompt + ids, context, context=context, stop=[encode("<|im_end|>")])
    return ids + strip(answer, [encode("<|im_end|>")])


def early_exit(model, encode, decode, prompt, *, every, agree, probe_tokens, context, max_answer):
    """Dynasor's idea: at each `every` tokens an answer is forced; `agree` equal ones in a row end the thinking."""
    start = encode(THINK)
    limit, stops = limits(encode, prompt, start, context)
    thought, reason, answers = [], "length", []
    while len(thought) < limit:
        token = model(tuple(prompt + start + thought), None, frozenset())
        if token in stops:
            reason = "stop"
            break
        thought = [*thought, token]
        if len(thought) % every or len(thought) >= limit:
            continue
        ids = prompt + start + thought + ([] if decode(thought).endswith("\n") else encode("\n")) + encode(ANSWER + FINAL)
        said = []
        while len(said) < probe_tokens and spoken(decode(said), ["\n"]) is None:
            token = model(tuple(ids + said), None, frozenset())
            if token == encode("<|im_end|>")[0]:
                break
            said.append(token)
        end = spoken(decode(said), ["\n"])
        answers.append(said if end is None else said[: next(k for k in range(len(said)) if len(decode(said[:k])) >= end)])
        if len(answers) >= agree and answers[-1] and answers[-agree:] == [answers[-1]] * agree:
            break
    end = {"start": start, "context": context, "max_answer": max_answer}
    return finish(model, encode, decode, prompt, thought, reason, thought, **end), len(answers)


def confidence_stop(model, logprob, encode, decode, prompt, *, threshold, window, context, max_answer):
    """Thinking ends behind the first token where the mean log-probability of the last `window` ones exceeds `threshold`."""
    start = encode(THINK)
    limit, stops = limits(encode, prompt, start, context)
    thought, sure, reason = [], [], "length"
    while len(thought) < limit:
        token = model(tuple(prompt + start + thought), None, frozenset())
        sure.append(logprob(tuple(prompt + start + thought), token))
        if token in stops:
            reason = "stop"
            break
        thought = [*thought, token]
        if len(sure) >= window and sum(sure[-window:]) > threshold * window:
            break
    end = {"start": start, "context": context, "max_answer": max_answer}
    return finish(model, encode, decode, prompt, thought, reason, thought, **end), reason == "length"
