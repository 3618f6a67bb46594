"""What a method costs is what it had decoded: the tokens of its trace against the engine's own counter, and against what the
trace holds."""

from functools import partial

import pytest

from s1x.evaluation.naming import method_of
from s1x.methods.base import Ask
from s1x.methods.facts import facts
from s1x.scorer import Scorer, ScorerFormat
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Model, Scheduler
from s1x.streams.types import GREEDY, Sampling

from .conftest import Tokenizer, make_chat, make_engine
from .test_configs import NAMES, settings

CHAT = make_chat()
SMALL = {"n": 6, "window": 4, "warmup": 3, "every": 8, "k": 4, "m": 2, "rounds": 2}  # within the small context
OWN = {
    "early_exit": {"ahead": 1},  # nothing runs ahead of what counts
    "rejection_sampling": {"ahead": 1},
    "pdr": {"rounds": 1},  # in so small a context two of its prompts may be the same
    "self_refine": {"critique": "?", "revision": "so", "satisfied": "7", "least_room": 20},
    "budget_reminder": {"max_thinking_tokens": 100},
    "alpha_one": {"mark": "\n", "alpha": 1.0},
    "deer": {"threshold": 0.6, "marks": ["Wait", "="]},
}
BESIDE = ("tried_tokens", "probe_tokens", "trial_tokens", "cut_tokens")  # decoded, and not in the trace
ELSE = {"none", "step_conditional", "step_conditional_forced"}  # the model itself writes delimiters
ELSE |= {
    "beam_search",
    "dvts",
    "rebase",
    "particle_filtering",
}  # leaves share what they grew from


def small(name):
    method = method_of(settings(name))
    fewer = {key: value for key, value in SMALL.items() if key in method.keywords}
    return partial(method.func, **method.keywords | fewer | OWN.get(name, {}))


def run(method, seed):
    warm = facts(method).needs_sampling is not None
    engine = make_engine(seed, start=120, end=100, tokens_per_poll=1)
    scorer = Scorer(ScorerFormat("x", template=False, separator="\n"), Tokenizer())
    ask = Ask(
        CHAT.prompt(f"x={seed % 10}"), CHAT, Sampling(1.0, noise=3 + seed) if warm else GREEDY, max_answer_tokens=20,
        question="x", scorer=scorer, answer_of=lambda ids: next((c for c in CHAT.decode(tuple(ids)) if c.isdigit()), None),
    )  # fmt: skip
    found = []
    others = {"scorer": Model(make_engine(9, context_length=1 << 14), MemoryStore())}
    Scheduler(engine, MemoryStore(), decode=CHAT.decode, others=others).run([Job((0,), method(ask), found.append)])
    return found[0], engine.counters.decoded


@pytest.mark.parametrize("name", NAMES)
def test_a_traces_tokens_are_those_that_the_engine_decoded(name):
    for seed in (1, 2):
        trace, decoded = run(small(name), seed)
        assert trace.path_tokens == decoded > 0


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ELSE])
def test_a_traces_tokens_are_those_in_it_and_those_it_tells_of(name):
    """And one for each stop that was read behind them."""
    for seed in (1, 2):
        trace, _ = run(small(name), seed)
        chains = [trace, *trace.samples]
        pieces = [s for chain in chains for s in chain.segments if s.kind in ("thinking", "answer")]
        told = sum(chain.info.get(key, 0) for chain in chains for key in BESIDE)
        if "tried_tokens" in trace.info:  # the last try is the one in the trace
            told -= len(trace.ids("thinking")) + (trace.end == "natural")
        least = told + sum(len(s.ids) for s in pieces)
        stops = len(pieces) + sum(trace.info.get(key, 0) for key in ("probes", "trials"))
        assert least <= trace.path_tokens <= least + stops
