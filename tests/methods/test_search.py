"""Searches against naive ones without scheduler or store: the same trees for random rewards, widths and ties; resumed too."""

import ast
import math
import re
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1x.engines.scripted import ScriptedEngine
from s1x.methods.base import Ask
from s1x.methods.beam_search import beam_search
from s1x.methods.best_of_n import best_of_n
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.dvts import dvts
from s1x.methods.facts import facts
from s1x.methods.majority_voting import majority_voting
from s1x.methods.particle_filtering import particle_filtering
from s1x.methods.rebase import rebase
from s1x.methods.search import Policy
from s1x.scorer import Scorer, ScorerFormat
from s1x.streams.engine import Scoring
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Model, Scheduler
from s1x.streams.scores import MemoryScores, rounded
from s1x.streams.types import Sampling, digest

from .conftest import CONTEXT, END, START, Tokenizer, make_chat, make_engine

CHAT, NEWLINE, ANSWER = make_chat(), Tokenizer.ids["\n"], 5
FORMAT = ScorerFormat("test", template=False, prompt="{question}:", mark=".", separator="\n", labels=("1", "0"), answer=False)


class Judge(ScriptedEngine):
    """Rewards as hashes, of which only `levels` different ones (so that there are ties)."""

    def __init__(self, seed, levels):
        super().__init__(seed=seed, context_length=4 * CONTEXT)
        self.levels, self.asked = levels, []  # every row that was asked for: what was read

    def rows(self, request):
        self.asked += [request.ids[:n] for n in request.at]
        return [tuple(-(round(-v * self.levels) / self.levels) for v in row) for row in super().rows(request)]


# --- the naive ones: chains are (ids of each step, sampling of the last, ended by itself, values) ---


class Naive:
    def __init__(self, policy, engine, judge, prompt, sampling):
        self.p, self.engine, self.judge, self.sampling = policy, engine, judge, sampling
        self.head = prompt.ids + CHAT.thinking_start
        self.room = CONTEXT - len(self.head) - CHAT.frame - 0
        self.most = min(self.room, policy.max_thinking_tokens or self.room)
        self.grown = []  # every chain that there was, kept or not

    def value(self, steps):
        words, row = CHAT.encode("q:"), None
        for step in filter(lambda step: CHAT.decode(step).strip(), steps):
            words += CHAT.encode(CHAT.decode(step)) + CHAT.encode(".")
        row = rounded(self.judge.rows(Scoring(words, (len(words),), CHAT.encode("10")))[0])
        shares = [math.exp(v - max(row)) for v in row]  # rounded as the scorer rounds, or ties would not be ties
        return shares[0] / sum(shares)

    def child(self, chain, i):
        steps, sampling, _, values = chain
        sampling, ids, so_far = sampling.sample(i), [], sum(steps, ())
        own = False
        while len(ids) < min(self.p.step_tokens, self.most - len(so_far)):
            token = self.engine.next_token(self.head + so_far + tuple(ids), sampling)
            if token in (START, END):
                own = True
                break
            ids.append(token)
            if token == NEWLINE and CHAT.decode(tuple(ids)).strip():
                break
        steps = (*steps, tuple(ids))
        values = (*values, self.value(steps)) if CHAT.decode(tuple(ids)).strip() else values
        self.grown.append((steps, sampling, own, values))
        return self.grown[-1]

    def ended(self, chain):
        steps, _, own, _ = chain
        return own or len(sum(steps, ())) >= self.most or len(steps) >= self.p.max_steps

    def worth(self, chain):
        values = chain[3]
        how = {"last": lambda v: v[-1], "min": min, "mean": lambda v: sum(v) / len(v), "product": math.prod}
        return how[self.p.by](values) if values else 0.0

    def best(self, chains, k):
        order = sorted(range(len(chains)), key=lambda i: (-self.worth(chains[i]), i))
        return [chains[i] for i in order[:k]]

    def root(self, index=0):
        return ((), self.sampling.sample(index), False, ())

    def beam(self, n, width, root=None):
        chains = [self.child(root or self.root(), i) for i in range(n)]
        while not all(map(self.ended, kept := self.best(chains, n // width))):
            chains = [c for k in kept for c in ([k] if self.ended(k) else [self.child(k, i) for i in range(width)])]
        return kept

    def dvts(self, n, width):
        return [leaf for t in range(n // width) for leaf in self.beam(width, width, self.root(t))]

    def rebase(self, n, temperature):
        chains, leaves = [self.child(self.root(), i) for i in range(n)], []
        while True:
            leaves += [c for c in chains if self.ended(c)]
            living = self.best([c for c in chains if not self.ended(c)], n)
            width = n - len(leaves)
            if not living or width <= 0:
                return leaves
            weights = [math.exp((self.worth(c) - self.worth(living[0])) / temperature) for c in living]
            total, chains = sum(weights), []
            for c, w in zip(living, weights, strict=True):
                k = min(width, math.ceil(width * w / total - 1e-9)) if total > 0 else 0
                chains += [self.child(c, i) for i in range(k)]
                width, total = width - k, total - w

    def particles(self, n):
        chains, depth = [self.child(self.root(), i) for i in range(n)], 1
        while not all(map(self.ended, chains)):
            shift = int.from_bytes(digest("resample", self.sampling.noise, depth)[:6], "little") / 2**48
            worths = [self.worth(c) for c in chains]
            bounds = [sum(worths[: i + 1]) / sum(worths) for i in range(n)]
            bounds[-1] = 1.0
            drawn = [next(i for i, b in enumerate(bounds) if (j + shift) / n < b) for j in range(n)]
            new = []
            for i in sorted(set(drawn)):
                k = drawn.count(i)
                new += [chains[i]] * k if self.ended(chains[i]) else [self.child(chains[i], j) for j in range(k)]
            chains, depth = new, depth + 1
        return chains


METHODS = {
    "beam": (lambda n, w, policy: dict(n=n * w, width=w, policy=policy), beam_search, lambda v, n, w: v.beam(n * w, w)),
    "dvts": (lambda n, w, policy: dict(n=n * w, width=w, policy=policy), dvts, lambda v, n, w: v.dvts(n * w, w)),
    "rebase": (lambda n, w, policy: dict(n=n + w, policy=policy), rebase, lambda v, n, w: v.rebase(n + w, 0.2)),
    "particles": (lambda n, w, policy: dict(n=n + w, policy=policy), particle_filtering, lambda v, n, w: v.particles(n + w)),
}


def question(sampling=Sampling(1.0, noise=5), **kw):
    scorer = Scorer(FORMAT, Tokenizer())
    return Ask(CHAT.prompt("x"), CHAT, sampling, max_answer_tokens=ANSWER, answer_reserve=0, question="q", scorer=scorer, **kw)


def run(methods, engine, judge, store=None, scores=None):
    traces = {}
    others = {"scorer": Model(judge, MemoryStore(), scores=scores)}
    scheduler = Scheduler(engine, store or MemoryStore(), decode=CHAT.decode, others=others, flush_seconds=0)
    scheduler.run(Job((0, i), m, lambda t, i=i: traces.update({i: t})) for i, m in enumerate(methods))
    return [traces[i] for i in range(len(methods))], scheduler


POLICIES = st.builds(
    Policy,
    step_tokens=st.integers(1, 12),
    max_steps=st.integers(1, 6),
    max_thinking_tokens=st.none() | st.integers(1, 40),
    by=st.sampled_from(["last", "min", "mean", "product"]),
)


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=40, deadline=None)
@given(POLICIES, st.integers(1, 4), st.integers(1, 4), st.integers(0, 99), st.sampled_from([1, 3, 1000]))
def test_equals_the_naive_search(name, policy, n, width, seed, levels):
    arguments, method, naive = METHODS[name]
    engine, judge = make_engine(seed, start=400, end=200, tokens_per_poll=1 + seed % 8), Judge(seed, levels)
    ask = question(Sampling(1.0, noise=seed))
    ((trace,), scheduler) = run([method(ask, **arguments(n, width, policy))], engine, judge)
    reference = Naive(policy, engine, judge, ask.prompt, ask.sampling)
    expected, worth = naive(reference, n, width), reference.worth
    assert [sample.ids("thinking") for sample in trace.samples] == [sum(steps, ()) for steps, *_ in expected]
    assert [sample.info["reward"] for sample in trace.samples] == pytest.approx([worth(chain) for chain in expected])
    assert [sample.end == "natural" for sample in trace.samples] == [own for _, _, own, _ in expected]

    texts, told = {(): ""}, []  # the tree: every chain that was grown, the dropped ones too, and what it was worth
    for node in trace.info["nodes"]:
        path = tuple(node["path"])
        assert path not in texts
        texts[path] = texts.get(path[:-1], "") + node["text"]
        told.append((texts[path], node["tokens"], node["value"] or 0, node["worth"]))
    known = [
        (CHAT.decode(sum(steps, ())), len(steps[-1]), (values or (0,))[-1], worth((steps, 0, 0, values)))
        for steps, _, _, values in reference.grown
    ]
    for ours, naives in zip(sorted(told), sorted(known), strict=True):
        assert ours[:2] == naives[:2] and ours[2:] == pytest.approx(naives[2:])
    for sample in trace.samples:
        assert texts[tuple(sample.info["path"])] == CHAT.decode(sample.ids("thinking"))


@pytest.mark.parametrize("name", METHODS)
def test_killed_and_resumed_it_grows_the_same_tree(name):
    arguments, method, _ = METHODS[name]
    policy = Policy(step_tokens=10, max_steps=5)

    class Killed(Exception):
        pass

    class Dies(type(make_engine())):
        left = 10**9

        def poll(self, wait=1.0):
            self.left -= 1
            if not self.left:
                raise Killed
            return super().poll(wait)

    def go(store, scores, polls=10**9):
        engine, judge = make_engine(3, start=300), Judge(3, 1000)
        engine.__class__ = Dies
        engine.left = polls
        asked = [method(question(Sampling(1.0, noise=i)), **arguments(2, 3, policy)) for i in range(3)]
        try:
            traces, _ = run(asked, engine, judge, store, scores)
        except Killed:
            return None, engine.counters.decoded, judge.asked
        return [[(s.segments, s.info) for s in t.samples] for t in traces], engine.counters.decoded, judge.asked

    undisturbed, decoded, asked = go(MemoryStore(), MemoryScores())
    assert len(set(asked)) == len(asked)
    for polls in (3, 20, 45):
        store, scores = MemoryStore(), MemoryScores()
        nothing, first, before = go(store, scores, polls)
        flushed = len(scores.rows)
        assert nothing is None
        resumed, second, after = go(store, scores)
        assert resumed == undisturbed and len(scores.rows) == len(set(asked))
        assert len(after) == len(asked) - flushed  # what the store had was not scored again
        assert set(before) | set(after) == set(asked)
        assert first + second <= decoded + 2 * 4 * 8  # what was open when it died was cut, not lost


def test_width_one_is_the_plain_chain():
    engine, judge = make_engine(2, start=300), Judge(2, 1000)
    policy = Policy(step_tokens=7, max_steps=10**6)
    (searched, plain), _ = run(
        [beam_search(question(), n=1, width=1, policy=policy), budget_forcing(question())], engine, judge
    )
    assert searched.samples[0].ids("thinking") == plain.ids("thinking")
    assert searched.samples[0].ids("answer") == plain.ids("answer")


def test_a_countdown_is_searched_step_by_step():
    """The steps of a policy that counts down are read without its labels, and the 0 ends the thinking."""
    chat = make_chat(thinking_start="", thinking_stop=("<|im_end|>",))
    ask = question()
    policy = Policy(steps=3)
    mark = (START,)
    steps = (
        chat.encode("3 steps left\n1+1") + mark + chat.encode("2"),
        chat.encode(" steps left\n=2") + mark + chat.encode("1"),
    )
    assert policy.texts(ask, steps) == ["1+1", "=2"]
    assert policy.texts(ask, steps[:1]) == ["1+1"]


def test_best_of_n_shares_the_pool_of_majority_voting():
    engine, judge = make_engine(4, start=300), Judge(4, 1000)
    inner = lambda ask: budget_forcing(ask, max_thinking_tokens=40)  # noqa: E731
    (best, votes), scheduler = run(
        [best_of_n(question(), n=6, inner=inner), majority_voting(question(), n=6, inner=inner)], engine, judge
    )
    assert [s.segments for s in best.samples] == [s.segments for s in votes.samples]
    assert best.reads == votes.reads and best.vote == "best" and sum(best.scored.values()) > 0
    for sample in best.samples:
        steps = [s for s in CHAT.decode(sample.ids("thinking")).split("\n") if s.strip()]
        words, rows = CHAT.encode("q:"), None
        for step in steps:
            words += CHAT.encode(step) + CHAT.encode(".")
        rows = rounded(judge.rows(Scoring(words, (len(words),), CHAT.encode("10")))[0]) if steps else None
        expected = 0.0 if rows is None else math.exp(rows[0]) / sum(map(math.exp, rows))
        assert sample.info["reward"] == pytest.approx(expected)


def test_the_readme_shows_beam_search_as_it_is():
    root = Path(__file__).parents[2]
    (shown,) = re.findall(r"^```python\ndef beam_search.*?\n(.*?)^```", (root / "README.md").read_text(), re.M | re.S)
    assert shown in (root / "s1x/methods/beam_search.py").read_text()


@pytest.mark.parametrize("name", ["best_of_n", "beam_search", "dvts", "rebase", "particle_filtering"])
def test_a_search_is_short(name):
    tree = ast.parse((Path(__file__).parents[2] / f"s1x/methods/{name}.py").read_text())
    counted = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and not isinstance(n, ast.Import | ast.ImportFrom)]
    docstrings = [n for n in counted if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    assert len(counted) - len(docstrings) <= 35


def test_searches_need_a_scorer_and_sampling():
    assert facts(partial(rebase, n=4)).needs_scorer and facts(partial(rebase, n=4)).needs_sampling
    assert not facts(partial(rebase, n=1)).needs_sampling
    assert facts(partial(majority_voting, n=2, inner=partial(beam_search, n=4))).needs_scorer
    with pytest.raises(ValueError, match="scorer=none"):
        next(beam_search(Ask(CHAT.prompt("x"), CHAT, Sampling(1.0, noise=1)), n=4))
