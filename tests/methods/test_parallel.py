"""Parallel and hybrid methods against naive ones written from their papers (parallel.py), token for token."""

import random
from dataclasses import replace
from functools import partial

import pytest

from s1x.evaluation.naming import method_of
from s1x.methods import pools
from s1x.methods.adaptive_consistency import adaptive_consistency, beta, dirichlet
from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.esc import esc
from s1x.methods.facts import check, facts
from s1x.methods.gen_select import gen_select
from s1x.methods.majority_voting import majority_voting
from s1x.methods.none import none
from s1x.methods.pdr import pdr
from s1x.methods.rsa import rsa
from s1x.methods.short_m_of_k import short_m_of_k
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.store import Store
from s1x.streams.types import GREEDY, Sampling, Segment, Trace

from .conftest import END, START, make_chat, make_engine
from .parallel import Plain
from .running import scheduled
from .test_configs import composed

CONTEXT, ANSWER = 600, 7
CHAT = make_chat(CONTEXT)
SELECT, WORDS = "{question}? {n}:\n{candidates}\nJudgment: ", "{question}={candidates}"
DISTILL, REFINE = "{question}+{candidates}", "{question} so\n{workspace}"


def stated(ids):
    """The first digit of an answer, 0 to 3: so answers often agree."""
    digits = [c for c in CHAT.decode(tuple(ids)) if c.isdigit()]
    return str(int(digits[0]) % 4) if digits else None


def engine(seed, per_poll=3, **kw):
    return make_engine(seed, **{"start": 400, "end": 300, "context_length": CONTEXT, "tokens_per_poll": per_poll} | kw)


def ask(seed, sampling=None):
    sampling = Sampling(1.0, noise=1000 + seed) if sampling is None else sampling
    return Ask(CHAT.prompt(f"x={seed}"), CHAT, sampling, max_answer_tokens=ANSWER, answer_of=stated)


def plain(seed, most, sampling=None, n=16):
    model, sampling = engine(seed), ask(seed, sampling).sampling

    def token(ids, noise, banned):
        return model.next_token(ids, GREEDY if noise is None else Sampling(1.0, noise=noise), banned)

    return Plain(
        token, lambda t: list(CHAT.encode(t)), lambda i: CHAT.decode(tuple(i)), CONTEXT, ANSWER,
        [sampling.sample(i).noise for i in range(n)], lambda ids: stated(ids), most,
    )  # fmt: skip


def everywhere(tmp_path, make, seed):
    """The trace of a method, one token or eight at a time, on an empty store and on a full one: always the same."""
    traces = []
    for per_poll in (1, 8):
        store = MemoryStore()
        for again in (False, True):
            model = engine(seed, per_poll)
            traces += scheduled_on(store, model, make(ask(seed)))
            assert not again or model.counters.decoded == 0
    with Store(tmp_path / str(seed), model.fingerprint) as store:
        traces += scheduled_on(store, engine(seed, 4), make(ask(seed)))
    first = traces[0]
    for trace in traces[1:]:
        assert summary(trace) == summary(first) and trace.reads == first.reads
    return first


def scheduled_on(store, model, *methods):
    traces = {}
    scheduler = Scheduler(model, store, decode=CHAT.decode)
    scheduler.run(Job((0, i), m, lambda t, i=i: traces.update({i: t})) for i, m in enumerate(methods))
    return [traces[i] for i in range(len(methods))]


def summary(trace):
    return [(s.kind, s.ids, s.role) for s in trace.segments], trace.info, trace.weights, [*map(summary, trace.samples)]


def written(trace):
    return [(s.ids("thinking"), s.ids("answer")) for s in trace.samples]


def prompts(trace):
    return [CHAT.decode(s.ids) for s in trace.segments if s.role]


def short(limit):
    return partial(budget_forcing, max_thinking_tokens=limit)


@pytest.mark.parametrize(
    ("k", "m", "every", "which"), [(4, 2, 8, "first"), (3, 1, 1, "first"), (5, 5, 3, "first"), (4, 2, 8, "last")]
)
def test_the_m_shortest_chains_vote(tmp_path, k, m, every, which):
    natural = 0
    for seed in range(12):
        naive = plain(seed, most=60)
        samples, order, lengths = naive.short(f"x={seed}", k, m, which == "last")
        method = partial(short_m_of_k, k=k, m=m, every=every, max_thinking_tokens=60, which=which)
        trace = everywhere(tmp_path, method, seed)
        assert written(trace) == samples and [s.info["member"] for s in trace.samples] == order
        assert trace.weights == (1.0,) * m
        mth = lengths[order[-1]] if which == "first" else 60
        others = [lengths[i] for i in range(k) if i not in order]
        upto = min(60, -(-mth // every) * every)  # the round in which the m-th ended
        assert trace.info["cut_tokens"] == sum(min(n, upto) for n in others)
        assert trace.info["cut_tokens"] <= sum(min(n, mth + every) for n in others)
        heads = {ask(seed).sample(i).think().key(engine(seed).fingerprint): lengths[i] for i in range(k)}
        read = {heads[key]: n for key, n in trace.reads.items() if key in heads}
        assert all(n <= length for length, n in read.items()) and len(heads.keys() & trace.reads.keys()) == k
        thought = sum(n for key, n in trace.reads.items() if key in heads)
        assert thought == trace.info["cut_tokens"] + sum(lengths[i] for i in order)
        natural += sum(s.end == "natural" for s in trace.samples)
    assert natural > 6


def test_first_finish_costs_less_than_all_chains_and_shares_them():
    model = engine(5, start=100, end=50)
    first, votes = scheduled(
        [short_m_of_k(ask(5), k=6, m=1, every=4, max_thinking_tokens=200), majority_voting(ask(5), n=6, inner=short(200))],
        model, CHAT,
    )  # fmt: skip
    assert first.path_tokens < votes.path_tokens and first.reads.keys() <= votes.reads.keys()
    best = min(range(6), key=lambda i: (len(votes.samples[i].ids("thinking")), i))
    assert first.samples[0].segments == votes.samples[best].segments and first.samples[0].info == {"member": best}


def test_a_chain_has_no_more_than_fits():
    (trace,) = scheduled([short_m_of_k(ask(0), k=2, m=2, max_thinking_tokens=590)], engine(0, start=0, end=0), CHAT)
    assert [s.end for s in trace.samples] == ["context"] * 2 and trace.samples[0].thinking_tokens == ask(0).room
    (none_fits,) = scheduled(
        [short_m_of_k(Ask(CHAT.prompt("x" * CONTEXT), CHAT, Sampling(1.0, noise=1)), k=2, m=1)], engine(0), CHAT
    )
    assert none_fits.end == "context" and not none_fits.samples


@pytest.mark.parametrize("threshold", [0.8, 0.95])
def test_adaptive_consistency(tmp_path, threshold):
    ends = []
    for seed in range(16):
        samples, decided = plain(seed, most=40).adaptive(f"x={seed}", 8, threshold)
        trace = everywhere(tmp_path, partial(adaptive_consistency, n=8, threshold=threshold, inner=short(40)), seed)
        assert written(trace) == samples and trace.info == {"samples": len(samples), "decided": decided}
        ends.append(len(samples))
    assert 8 in ends and min(ends) < 8


@pytest.mark.parametrize(("window", "n"), [(2, 4), (3, 7)])
def test_esc(tmp_path, window, n):
    ends = []
    for seed in range(20):
        samples, decided = plain(seed, most=40).esc(f"x={seed}", n, window)
        trace = everywhere(tmp_path, partial(esc, n=n, window=window, inner=short(40)), seed)
        assert written(trace) == samples and trace.info == {"samples": len(samples), "decided": decided}
        ends.append((len(samples), decided))
    assert (n, False) in ends and any(decided and drawn < n for drawn, decided in ends)


def test_the_pools_are_one():
    pool, sure, windows = scheduled(
        [
            majority_voting(ask(2), n=8, inner=short(40)),
            adaptive_consistency(ask(2), n=8, window=3, inner=short(40)),
            esc(ask(2), n=8, inner=short(40)),
        ],
        engine(2), CHAT,
    )  # fmt: skip
    assert sure.info["samples"] in (3, 6, 8)
    for fewer in (sure, windows):
        assert [s.segments for s in fewer.samples] == [s.segments for s in pool.samples[: len(fewer.samples)]]


def test_how_sure_a_majority_is():
    assert [round(beta(c), 4) for c in ([1], [2, 1], [4], [3], [5, 5])] == [0.75, 0.6875, 0.9688, 0.9375, 0.5]
    assert dirichlet((4, 2)) == beta((4, 2))  # of two answers they are the same
    draw = random.Random(1)
    for counts in ((3, 2, 1), (6, 1, 1, 1), (2, 2, 2), (20, 9, 4)):
        shares = [[draw.gammavariate(c + 1, 1) for c in counts] for _ in range(8_000)]
        assert dirichlet(counts) == pytest.approx(sum(s[0] == max(s) for s in shares) / 8_000, abs=0.02)
        assert dirichlet(counts) <= beta(counts) + 1e-9
    assert dirichlet((400, 300, 10)) == pytest.approx(beta((400, 300)), abs=1e-4)


@pytest.mark.parametrize(("most", "thoughts"), [(500, False), (300, True), (110, True)])
def test_gen_select(tmp_path, most, thoughts):
    judged, cuts = set(), set()
    for seed in range(12):
        samples, judgement, chosen, valid, cut = plain(seed, most=50).select(f"x={seed}", 3, SELECT, most, thoughts)
        method = partial(gen_select, n=3, words=SELECT, thoughts=thoughts, prompt_tokens=most, inner=short(50))
        trace = everywhere(tmp_path, method, seed)
        assert written(trace) == samples and trace.info == {"chosen": chosen, "judged": valid, "prompt_cut": cut}
        assert (trace.ids("thinking"), trace.ids("answer")) == judgement[1:]
        assert [(s.role, s.kind) for s in trace.segments][0] == ("select", "delimiter")
        assert prompts(trace) == [f"<|im_start|>user\n{judgement[0]}<|im_end|>\n<|im_start|>assistant\n"]
        assert len(trace.segments[0].ids) <= most
        assert trace.weights == tuple(float(i == chosen) for i in range(3))
        judged.add(valid)
        cuts.add(cut > 0)
    assert True in cuts if most == 110 else cuts == {False}


@pytest.mark.parametrize(
    ("said", "chosen", "judged"),
    [("Judgment: 2", 2, True), ("Judgment: 1 so\nJudgment: 0", 0, True), ("**judgement:** 1.", 1, True),
     ("Judgment: 3", 0, False), ("2", 0, False), ("", 0, False)],
)  # fmt: skip
def test_what_the_judge_names(said, chosen, judged):
    def inner(ask):
        text = ask.prompt.text
        answer = CHAT.encode(said if "Judgment" in text else "7")
        return Trace(ask.prompt.ids, [Segment("answer", answer)])
        yield

    (trace,) = scheduled([gen_select(ask(1), n=3, words=SELECT, inner=inner)], engine(1), CHAT)
    assert (trace.info["chosen"], trace.info["judged"]) == (chosen, judged)


@pytest.mark.parametrize(("n", "k", "rounds", "most"), [(4, 2, 3, 500), (3, 3, 2, 120), (2, 1, 4, 500), (3, 2, 1, 500)])
def test_rsa(tmp_path, n, k, rounds, most):
    lost = 0
    for seed in range(6):
        naive = plain(seed, most=40)
        samples, cut = naive.rsa(f"x={seed}", n, k, rounds, WORDS, most, ask(seed).sampling.noise)
        method = partial(rsa, n=n, k=k, rounds=rounds, words=WORDS, prompt_tokens=most, inner=short(40))
        trace = everywhere(tmp_path, method, seed)
        assert written(trace) == samples and trace.info == {"prompt_cut": cut}
        assert trace.weights == (0.0,) * n * (rounds - 1) + (1.0,) * n
        told = [prompt for s in trace.samples for prompt in prompts(s)]
        assert told == [f"<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n" for p in naive.prompts]
        lost += cut
    assert (lost > 0) == (most == 120)


@pytest.mark.parametrize(("n", "rounds", "most"), [(3, 1, 500), (2, 2, 500), (1, 3, 90)])
def test_pdr(tmp_path, n, rounds, most):
    for seed in range(6):
        naive = plain(seed, most=40)
        samples, cut = naive.pdr(f"x={seed}", n, rounds, DISTILL, REFINE, 12, most)
        method = partial(
            pdr, n=n, rounds=rounds, distill=DISTILL, refine=REFINE, workspace_tokens=12, prompt_tokens=most, inner=short(40)
        )
        trace = everywhere(tmp_path, method, seed)
        assert written(trace) == samples and trace.info == {"prompt_cut": cut}
        assert trace.weights == (0.0,) * n * rounds + (1.0,)
        told = {p for s in [trace, *trace.samples] for p in prompts(s)}
        assert told == {f"<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n" for p in naive.prompts}
        assert [s.role for s in trace.segments if s.role] == ["distill"] * rounds


@pytest.mark.parametrize("fmt", [{}, {"thinking_start": "", "thinking_end": "", "thinking_stop": ("<|im_end|>",)}])
def test_they_run_in_any_format_around_any_method_and_a_pool_in_them_is_refused(fmt):
    chat = make_chat(CONTEXT, **fmt)
    asked = Ask(chat.prompt("x"), chat, Sampling(1.0, noise=3), max_answer_tokens=ANSWER, answer_of=stated)
    for inner in (short(30), partial(none, max_tokens=40), partial(none, thinking=False, max_tokens=30)):
        makes = [
            partial(adaptive_consistency, n=3, inner=inner),
            partial(esc, n=4, window=2, inner=inner),
            partial(gen_select, n=2, words=SELECT, inner=inner),
            partial(rsa, n=2, k=2, rounds=2, words=WORDS, inner=inner),
            partial(pdr, n=2, rounds=1, distill=DISTILL, refine=REFINE, inner=inner),
        ]
        for make in makes:
            check(make, context_length=CONTEXT, temperature=1.0, chat=chat)
            (trace,) = scheduled([make(asked)], engine(4), chat)
            assert trace.samples and all(s.segments and s.reads for s in trace.samples)
            for sample in trace.samples:  # what was asked is not what was answered
                text = chat.answer_text(sample)
                assert text.endswith(chat.decode(sample.ids("answer"))) and "user" not in text
    errors = []
    pool = partial(gen_select, n=2, words=SELECT, inner=partial(majority_voting, n=2, inner=short(9)))
    Scheduler(engine(1), MemoryStore(), decode=CHAT.decode).run([Job((0,), pool(ask(1)), print, errors.append)])
    assert "gives a pool" in str(errors[0])


@pytest.mark.parametrize(
    "make",
    [
        partial(gen_select, n=2, words=SELECT, inner=short(30)),
        partial(rsa, n=2, k=2, rounds=2, words=WORDS, inner=short(30)),
        partial(pdr, n=2, rounds=1, distill=DISTILL, refine=REFINE, inner=short(30)),
    ],
)
def test_a_prompt_that_finds_no_room_is_not_read_under(make):
    """Samples are shown without their words, and where not even that leaves room, it ends as in a full context."""
    answered = set()
    for spare in range(150, 190, 5):  # tokens beside the question
        asked = replace(ask(1), prompt=CHAT.prompt("x" * (CONTEXT - spare)))
        (trace,) = scheduled([make(asked)], engine(1, start=0, end=0), CHAT)
        assert trace.info["prompt_cut"] > 0 or not trace.samples[0].ids("answer")
        for chain in [trace, *trace.samples]:
            parts = [s.ids for s in chain.segments if not s.role]
            told = [s.ids for s in chain.segments if s.role]
            assert sum(map(len, parts)) + len(told[0] if told else chain.prompt) <= CONTEXT or not chain.ids("thinking")
            answered |= {bool(chain.ids("answer"))} if told else set()
    assert answered == {True, False}


def test_an_answer_is_read_from_what_is_graded():
    whole = []

    def answer_of(ids):
        whole.append(CHAT.decode(ids))
        return "7"

    asked = Ask(CHAT.prompt("x"), CHAT, answer_of=answer_of)
    start, closed = Segment("delimiter", CHAT.thinking_start), Segment("delimiter", CHAT.thinking_end)
    forced = Segment("delimiter", CHAT.encode("\n") + CHAT.thinking_end + CHAT.final_answer)
    thought, said = Segment("thinking", CHAT.encode("1+1")), Segment("answer", CHAT.encode(" 2"))
    for segments in ([start, thought, closed, said], [start, thought, forced, said], [said], [start, closed, said]):
        trace = Trace(asked.prompt.ids, segments)
        assert pools.answer(asked, trace) == "7"
        assert whole[-1] == CHAT.answer_text(trace)
    assert pools.answer(asked, Trace(asked.prompt.ids, [start, thought])) is None


def test_what_they_declare():
    inner = short(9)
    for make in (
        partial(adaptive_consistency, n=4, inner=inner),
        partial(esc, n=4, inner=inner),
        partial(gen_select, n=4, words=SELECT, inner=inner),
        partial(rsa, n=4, k=2, rounds=2, words=WORDS, inner=inner),
        partial(pdr, n=4, rounds=2, distill=DISTILL, refine=REFINE, inner=inner),
        partial(short_m_of_k, k=4, m=2, max_thinking_tokens=9),
    ):
        found = facts(make)
        assert found.limits == (0, 9) and found.needs_sampling and not found.free and found.columns
    assert facts(partial(short_m_of_k, k=4, m=2, which="last")).series == "short_m_of_k(last)"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (partial(short_m_of_k, k=2, m=3), r"method\.m=3: must be at most 2 \(method\.k=2\)"),
        (partial(short_m_of_k, k=2, m=1, which="best"), r"method\.which='best': must be one of 'first', 'last'"),
        (partial(short_m_of_k, k=2, m=1, max_thinking_tokens=590), r"method\.max_thinking_tokens=590: must be at most"),
        (partial(adaptive_consistency, n=2, inner=none, threshold=2), r"method\.threshold=2: must be a number from 0 to 1"),
        (partial(adaptive_consistency, n=2, inner=none, rule="gamma"), r"method\.rule='gamma'"),
        (partial(esc, n=4, inner=none, window=5), r"method\.window=5: must be at most 4 \(method\.n=4\)"),
        (partial(esc, n=4, inner=none, window=1), r"method\.window=1: must be a whole number of 2 or more"),
        (partial(gen_select, n=2, inner=none, words="{question}"), r"method\.words=.*: must say \{candidates\}, where"),
        (
            partial(gen_select, n=2, inner=none, words=SELECT, prompt_tokens=601),
            r"method\.prompt_tokens=601: must be at most 600",
        ),
        (partial(rsa, n=2, k=3, rounds=1, inner=none, words=WORDS), r"method\.k=3: must be at most 2"),
        (partial(rsa, n=2, k=1, rounds=1, inner=none, words=WORDS + "<|im_end|>"), r"method\.words=.*ends thinking"),
        (partial(pdr, n=2, rounds=0, inner=none, distill=DISTILL, refine=REFINE), r"method\.rounds=0"),
        (partial(pdr, n=2, rounds=1, inner=none, distill=DISTILL, refine="{question}"), r"method\.refine.*\{workspace\}"),
    ],
)
def test_wrong_settings_get_a_sentence(make, says):
    with pytest.raises(ValueError, match=says):
        check(make, context_length=CONTEXT, temperature=1.0, chat=CHAT)
    assert (START, END) == (0, 1)


@pytest.mark.parametrize("name", ["short_m_of_k", "adaptive_consistency", "esc", "gen_select", "rsa", "pdr"])
def test_a_methods_yaml_says_its_defaults(name):
    """Or the words of a prompt would stand in the names of curves."""
    series = facts(method_of(composed(name))).series
    assert series == (name if name == "short_m_of_k" else f"{name}(budget_forcing)")
