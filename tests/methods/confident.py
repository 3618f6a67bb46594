"""DeepConf and self-certainty, written a second time and plainly from their papers: each group summed anew, numpy percentiles.

`naive` is parallel.Plain, `sure(prefix, written)` the confidences at each token written behind a prefix: of the 20 likeliest
tokens, or of all.
"""

import numpy as np


def means(values, window):
    """Of each group of `window` tokens in a row, or of all."""
    rows = [values[i : i + window] for i in range(len(values) - window + 1)] or [values]
    return [float(np.mean(row)) if row else 0.0 for row in rows]


def confidence(values, by, window):
    found = means(values, window)
    if by == "bottom":
        return float(np.mean(np.sort(found)[: max(1, int(0.1 * len(found)))]))
    return {"lowest": min(found), "tail": found[-1], "mean": means(values, 10**6)[0]}[by]


def offline(naive, sure, text, n, keep, by, window):
    """2508.15260, section 3: (samples, the confidence of each, their weights)."""
    samples = [naive.sample(text, i) for i in range(n)]
    worth = [confidence(naive.confidences(text, i, sure), by, window) for i in range(n)]
    bar = np.percentile(worth, 100 * (1 - keep))
    return samples, worth, [value if value >= bar - 1e-12 else 0.0 for value in worth]


def online(naive, sure, text, n, warmup, keep, consensus, window):
    """2508.15260, algorithm 2: (samples that were finished, their weights, how far each cut chain was read, agreed)."""
    finished, worth, cut, bar = [], [], [], None

    def agreement():
        votes = {}
        for sample, value in zip(finished, worth, strict=True):
            if value >= bar and (said := naive.answer_of(sample[1])) is not None:
                votes[said] = votes.get(said, 0.0) + value
        return max(votes.values()) / sum(votes.values()) if votes else 0.0

    for i in range(n):
        out, reason = naive.thought(text, i)
        values = naive.confidences(text, i, sure)
        if i == warmup:
            bar = np.percentile(worth, 100 * (1 - keep))
        if i >= warmup:
            if agreement() >= consensus:
                break
            thought = len(out) - (reason == "stop")
            upto = [t for t in range(window, thought + 1) if means(values[t - window : t], window)[0] < bar]
            if upto and (reason == "stop" or upto[0] < len(out)):
                cut.append(upto[0])
                continue
        finished.append(naive.close(text, i, out, reason))
        worth.append(confidence(values, "lowest", window))
    return finished, [w if w >= bar else 0.0 for w in worth], cut, agreement() >= consensus


def borda(naive, sure, text, n, power):
    """2502.18581: (samples, the self-certainty of each, v(r) = (N - r + 1)^p of the r-th most certain)."""
    samples = [naive.sample(text, i) for i in range(n)]
    certain = [confidence(naive.confidences(text, i, sure), "mean", 1) for i in range(n)]
    ranks = [
        1 + sum(other > mine or (other == mine and j < i) for j, other in enumerate(certain)) for i, mine in enumerate(certain)
    ]
    return samples, certain, [(n - r + 1) ** power for r in ranks]
