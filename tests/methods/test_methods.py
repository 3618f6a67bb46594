"""What each method promises beyond the reference: shares, kinds of segments, ends, pools, early exit, room for tree search."""

from functools import partial

import pytest

from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.early_exit import early_exit
from s1x.methods.majority_voting import majority_voting
from s1x.methods.none import none
from s1x.methods.rejection_sampling import rejection_sampling
from s1x.methods.step_conditional import step_conditional
from s1x.methods.token_conditional import token_conditional
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.types import GREEDY, All, Read, Sampling, Segment, Span, Trace

from ..streams import driver
from .conftest import CONTEXT, END, START, make_chat, make_engine
from .running import naive, scheduled

WARM = Sampling(1.0, noise=77)
forcing = budget_forcing


def ask(prompt, chat, sampling, most=20, **limits):
    return Ask(prompt, chat, sampling, max_answer_tokens=most, **limits)


def by_hand(method, *texts):
    """Drive a method with spans of these texts: (text, reason, stop text). Returns its reads and its trace."""
    reads, step = [], next(method)
    for text, reason, stop in texts:
        reads.append(step)
        ids, stop_ids = CHAT.encode(text), CHAT.encode(stop)
        try:
            step = method.send(Span(ids, reason, step.start, step.start + len(ids) + len(stop_ids), stop_ids))
        except StopIteration as end:
            return reads, end.value
    raise AssertionError(f"the method wants more: {step}")


CHAT = make_chat()


def shown(trace):
    return [(s.kind, CHAT.decode(s.ids)) for s in trace.segments]


def test_segments_of_a_wait():
    method = forcing(ask(CHAT.prompt("x"), CHAT, GREEDY), max_thinking_tokens=50, ignore_end=1)
    reads, trace = by_hand(
        method, ("1+1=2\n", "stop", "<|im_start|>"), (" so 2", "stop", "<|im_end|>"), (" 2", "stop", "<|im_end|>")
    )
    assert shown(trace) == [
        ("delimiter", "<|im_start|>think"),
        ("thinking", "1+1=2\n"),
        ("injected", "Wait"),
        ("thinking", " so 2"),
        ("delimiter", "<|im_start|>answer"),
        ("answer", " 2"),
    ]
    assert (trace.end, trace.waits) == ("natural", 1)
    assert [r.forbid and r.forbid.first for r in reads] == [None, 1, None]
    assert reads[1].limit == 50 - len(CHAT.encode("1+1=2\nWait"))  # the rounds share the budget


@pytest.mark.parametrize(
    ("start", "thought", "closing"),
    [
        ("<|im_start|>think", "1+1", "\n<|im_start|>answer\nFinal Answer:"),
        ("<|im_start|>think", "1+1\n", "<|im_start|>answer\nFinal Answer:"),
        ("\nthink", "1+1", "<|im_start|>answer\nFinal Answer:"),
    ],
)
def test_newline_before_a_forced_end(start, thought, closing):
    chat = make_chat(thinking_start=start)
    method = forcing(ask(chat.prompt("x"), chat, GREEDY), max_thinking_tokens=4)
    _, trace = by_hand(method, (thought, "limit", ""), (" 2", "stop", "<|im_end|>"))
    assert shown(trace)[-2:] == [("delimiter", closing), ("answer", " 2")]
    assert trace.end == "forced"


def test_an_end_is_ignored_only_while_string_and_a_token_fit():
    method = forcing(ask(CHAT.prompt("x"), CHAT, GREEDY), max_thinking_tokens=5, ignore_end=3)
    _, trace = by_hand(method, ("1+1", "stop", "<|im_start|>"), ("2", "limit", ""), ("2", "stop", "<|im_end|>"))
    assert (trace.waits, trace.end, trace.thinking_tokens) == (1, "forced", 5)
    method = forcing(ask(CHAT.prompt("x"), CHAT, GREEDY), max_thinking_tokens=4, ignore_end=3)
    _, trace = by_hand(method, ("1+1", "stop", "<|im_start|>"), ("2", "stop", "<|im_end|>"))
    assert (trace.waits, trace.end, trace.thinking_tokens) == (0, "natural", 3)


def test_minimum_goes_on_where_the_model_wanted_to_end():
    method = forcing(ask(CHAT.prompt("x"), CHAT, GREEDY), min_thinking_tokens=5, ignore_end=1, string=None)
    reads, trace = by_hand(
        method,
        ("1+1", "stop", "<|im_end|>"),
        ("=2\n", "stop", "<|im_start|>"),
        ("Hmm", "stop", "<|im_start|>"),
        ("2", "stop", "<|im_end|>"),
    )
    assert [r.forbid and r.forbid.first for r in reads] == [None, 2, 1, None]
    assert (trace.waits, trace.thinking_tokens) == (1, 7)


def test_first_reads_are_shared_by_all_settings():
    prompt, streams = CHAT.prompt("x"), set()
    for settings in (
        {},
        {"max_thinking_tokens": 9},
        {"ignore_end": 2},
        {"min_thinking_tokens": 7},
        {"max_thinking_tokens": "auto", "string": None},
    ):
        streams.add(next(forcing(ask(prompt, CHAT, GREEDY), **settings)).key("model"))
    streams.add(next(none(ask(prompt, CHAT, GREEDY))).key("model"))
    assert len(streams) == 1
    assert next(forcing(ask(prompt, CHAT, GREEDY), ignore_end=1, compat="s1")).key("model") not in streams


def test_the_references_cut_keeps_the_plain_end():
    """T9: rounds that are too long only together are cut, yet get no "Final Answer:"; by the paper they do."""
    seen = 0
    for seed in range(40):
        engine = make_engine(seed, start=300)
        how = {"max_thinking_tokens": 40, "ignore_end": 4}
        code, paper = (naive(forcing(ask(CHAT.prompt("x"), CHAT, GREEDY), compat=c, **how), engine, CHAT) for c in ("s1", None))
        if code.end == "forced" and "Final" not in CHAT.decode(code.ids("delimiter")):
            seen += 1
            assert code.thinking_tokens == 40
            assert paper.thinking_tokens <= 40
            assert (paper.end == "forced") == ("Final" in CHAT.decode(paper.ids("delimiter")))
    assert seen >= 3


def test_a_sweep_in_one_scheduler_shares_and_changes_nothing():
    cells = [partial(forcing, max_thinking_tokens=b) for b in (5, 10, 20, 40, 80, 160)]
    cells += [partial(forcing, max_thinking_tokens="auto", ignore_end=n) for n in range(5)]
    prompts = [CHAT.prompt(f"x={i}") for i in range(5)]

    def sweep(engine, cells):
        return scheduled([cell(ask(p, CHAT, GREEDY)) for cell in cells for p in prompts], engine, CHAT)

    together, engine = sweep(shared := make_engine(3), cells), make_engine(3)
    alone = [trace for cell in cells for trace in sweep(engine, [cell])]
    assert [t.segments for t in together] == [t.segments for t in alone]
    union = {}
    for trace in together:
        for key, end in trace.reads.items():
            union[key] = max(end, union.get(key, 0))
    assert shared.counters.decoded <= 1.1 * sum(union.values())
    assert shared.counters.decoded < 0.5 * engine.counters.decoded
    assert {t.end for t in together} == {"natural", "forced"}
    assert {t.waits for t in together} == {0, 1, 2, 3, 4}


def test_when_the_context_is_full():
    engine, prompt = make_engine(0, start=0, end=0), CHAT.prompt("x")  # never stops
    (full,) = scheduled([forcing(ask(prompt, CHAT, GREEDY), max_thinking_tokens=None)], engine, CHAT)
    assert full.end == "context" and full.answer_tokens == 0
    assert len(prompt.ids + full.ids()) == CONTEXT
    (auto, larger) = scheduled(
        [forcing(ask(prompt, CHAT, GREEDY), max_thinking_tokens=m) for m in ("auto", CONTEXT)], engine, CHAT
    )
    assert auto.segments == larger.segments and (auto.end, larger.end) == ("forced", "context")
    assert auto.answer_tokens == 20
    frame = CHAT.encode("<|im_start|>think<|im_start|>answer\nFinal Answer:")
    assert len(prompt.ids) + auto.thinking_tokens + len(frame) + 100 == CONTEXT
    long = CHAT.prompt("x" * CONTEXT)
    for method in (forcing(ask(long, CHAT, GREEDY), max_thinking_tokens=m) for m in (None, "auto", 9)):
        (trace,) = scheduled([method], engine, CHAT)
        assert trace.end == "context" and trace.answer_tokens == trace.thinking_tokens == 0


def test_plain_generation_is_one_stream():
    method = none(ask(CHAT.prompt("x"), CHAT, GREEDY), max_tokens=12)
    reads, trace = by_hand(method, ("1+1", "stop", "<|im_start|>answer"), ("\n2", "stop", "<|im_end|>"))
    assert shown(trace) == [
        ("delimiter", "<|im_start|>think"),
        ("thinking", "1+1"),
        ("delimiter", "<|im_start|>answer"),
        ("answer", "\n2"),
    ]
    assert reads[0].key("model") == reads[1].key("model")
    assert (reads[1].start, reads[1].limit) == (5, 7)
    _, trace = by_hand(none(ask(CHAT.prompt("x"), CHAT, GREEDY)), ("1+1", "stop", "<|im_end|>"))
    assert trace.end == "natural" and trace.answer_tokens == 0


def test_stop_strings_of_the_task():
    engine = make_engine(1, start=0, end=0)
    for method in (
        none(ask(CHAT.prompt("x"), CHAT, GREEDY, 9, until=("7", "++")), thinking=False),
        forcing(ask(CHAT.prompt("x"), CHAT, GREEDY, 200, until=("7", "++")), max_thinking_tokens=5),
    ):
        (trace,) = scheduled([method], engine, CHAT)
        text = CHAT.decode(trace.ids("answer"))
        assert "7" not in text and "++" not in text and trace.answer_tokens < 200


def test_countdown_lines_are_delimiters():
    text = "16 steps left\n1+1\n<|im_start|>15 steps left\n=2\n<|im_start|>think\n<|im_start|>-1 steps left\n"
    method = step_conditional(ask(CHAT.prompt("x"), CHAT, GREEDY), steps=16)
    reads, trace = by_hand(method, (text, "stop", "<|im_start|>answer"), ("\n2", "stop", "<|im_end|>"))
    assert CHAT.decode(reads[0].prefix).endswith(
        "x\n\nThink for up to 16 steps.<|im_end|>\n<|im_start|>assistant\n<|im_start|>"
    )
    assert shown(trace) == [
        ("delimiter", "<|im_start|>16 steps left\n"),
        ("thinking", "1+1\n"),
        ("delimiter", "<|im_start|>15 steps left\n"),
        ("thinking", "=2\n<|im_start|>think\n"),
        ("delimiter", "<|im_start|>-1 steps left\n"),
        ("delimiter", "<|im_start|>answer"),
        ("answer", "\n2"),
    ]
    assert trace.info == {"instructed": 16, "unit": "steps", "steps": 3}


def test_countdown_to_zero_is_forced():
    method = step_conditional(ask(CHAT.prompt("x"), CHAT, GREEDY), steps=1, forced=True)
    _, trace = by_hand(method, ("1 steps left\n1+1\n", "stop", "<|im_start|>0"), ("\n2", "stop", "<|im_end|>"))
    assert shown(trace)[1:] == [("thinking", "1+1\n"), ("delimiter", "<|im_start|>answer"), ("answer", "\n2")]
    assert trace.end == "forced"


def test_pools_nest_and_compose():
    engine, prompt = make_engine(5), CHAT.prompt("x")
    inner = partial(token_conditional, tokens=16, inner=partial(forcing, max_thinking_tokens=16))
    small, large = scheduled([majority_voting(ask(prompt, CHAT, WARM), n=n, inner=inner) for n in (2, 6)], engine, CHAT)
    assert [t.segments for t in large.samples[:2]] == [t.segments for t in small.samples]
    assert len({t.ids() for t in large.samples}) > 1
    (single,) = scheduled([inner(ask(prompt, CHAT, WARM))], engine, CHAT)
    assert single.segments == large.samples[0].segments
    for sample in large.samples:
        assert sample.info["instructed"] == 16 and sample.thinking_tokens <= 16
        assert all(s.logprobs is not None and len(s.logprobs) == len(s.ids) for s in sample.segments if s.kind == "answer")


def test_rejection_reads_one_pool_for_all_limits():
    prompt, limits = CHAT.prompt("x"), (5, 10, 20, 40)

    def methods():
        return [
            rejection_sampling(ask(prompt, CHAT, WARM), limit=m, max_tries=50, ahead=a)
            for m, a in zip(limits, (1, 4, 2, 8), strict=True)
        ]

    engine = make_engine(5, start=200)
    together = scheduled(methods(), engine, CHAT)
    alone = [scheduled([m], make_engine(5, start=200), CHAT)[0] for m in methods()]
    assert [t.segments for t in together] == [t.segments for t in alone]
    tries = [t.info["tries"] for t in together]
    assert tries == sorted(tries, reverse=True) and tries[0] > tries[-1]
    by_member = [
        naive(forcing(ask(prompt, CHAT, WARM.sample(i)), max_thinking_tokens=limits[0]), engine, CHAT) for i in range(tries[0])
    ]
    assert [t.end == "natural" for t in by_member] == [False] * (tries[0] - 1) + [True]
    assert by_member[-1].ids("thinking") == together[0].ids("thinking")


# --- early exit ---


def thinker(answers):
    """A model that thinks "1" forever, and whose forced answer after t tokens of thinking is `answers(t)`."""

    def model(ids, sampling, banned):
        final = CHAT.encode("\nFinal Answer:")
        at = next((i for i in range(len(ids)) if ids[i : i + len(final)] == final), None)
        if at is None:
            return CHAT.single("1")
        said = ids[at + len(final) :]
        answer = CHAT.encode(answers(ids.count(CHAT.single("1")))) + (END,)
        return answer[min(len(said), len(answer) - 1)]

    return model


@pytest.mark.parametrize(
    ("answers", "thinking", "probes", "agreed"),
    [
        (lambda t: "7", 30, 3, True),  # agrees at once
        (lambda t: str(min(t // 10, 4)), 60, 6, True),  # 0 1 2 3 4 4 4: settles at 40 tokens
        (lambda t: str(t // 10 % 2), 100, 9, False),  # never agrees
        (lambda t: "", 100, 9, False),  # says nothing: that is no answer
    ],
)
def test_early_exit(answers, thinking, probes, agreed):
    answer = (lambda t: answers(t).replace("1", "8")) if answers(10) else answers  # "1" counts the thinking
    method = early_exit(ask(CHAT.prompt("x"), CHAT, GREEDY), every=10, agree=3, max_thinking_tokens=100)
    trace = driver.run(method, thinker(answer), CONTEXT, CHAT.decode)
    assert (trace.thinking_tokens, trace.end) == (thinking, "forced")
    assert (trace.info["probes"], trace.info["agreed"]) == (probes, agreed)
    assert CHAT.decode(trace.ids("answer")) == answer(thinking)


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_early_exit_through_the_scheduler(ahead):
    ends = set()
    for seed in range(30):
        engine = make_engine(seed, start=300, end=300, vocab=2, first_id=3)  # two words: probes of one token often agree

        def make():
            return early_exit(
                ask(CHAT.prompt("x"), CHAT, GREEDY),
                every=2,
                agree=2,
                max_thinking_tokens=24,
                probe_tokens=1,
                ahead=ahead,
            )

        (trace,) = scheduled([make()], engine, CHAT)
        expected = naive(make(), engine, CHAT)
        assert (trace.segments, trace.end, trace.info) == (expected.segments, expected.end, expected.info)
        if trace.end == "forced":  # the answer is the one that budget forcing gives at that point
            there = forcing(ask(CHAT.prompt("x"), CHAT, GREEDY), max_thinking_tokens=trace.thinking_tokens)
            assert trace.segments == naive(there, engine, CHAT).segments
        ends.add((trace.end, trace.info["agreed"]))
    assert ("natural", False) in ends and ("forced", True) in ends


# --- what comes later: tree search needs nothing new ---


def beam(ask, *, width, depth, step_tokens, score):
    """A small beam search: every kept path is continued `width` times, the best `width` paths are kept."""
    paths = [(ask.prompt.ids, ())]
    for _ in range(depth):
        spans = yield All(
            [Read(prefix, ask.sampling.sample(i), CHAT.answer_stops, step_tokens) for prefix, _ in paths for i in range(width)]
        )
        starts = [path for path in paths for _ in range(width)]
        grown = {(prefix + s.ids, said + s.ids) for (prefix, said), s in zip(starts, spans, strict=True)}
        paths = sorted(grown, key=lambda path: (score(path[1]), path[1]))[-width:]
    return Trace(ask.prompt.ids, [Segment("answer", paths[-1][1])])


def test_the_contract_allows_tree_search():
    engine = make_engine(2, start=0, end=200)

    def make(width):
        return beam(ask(CHAT.prompt("x"), CHAT, WARM), width=width, depth=4, step_tokens=5, score=sum)

    narrow, wide = scheduled([make(1), make(4)], engine, CHAT)
    assert [narrow.ids(), wide.ids()] == [naive(make(w), engine, CHAT).ids() for w in (1, 4)]
    assert sum(wide.ids()) > sum(narrow.ids())
    voted = scheduled(
        [
            majority_voting(
                ask(CHAT.prompt("x"), CHAT, WARM), n=3, inner=partial(beam, width=2, depth=2, step_tokens=5, score=sum)
            )
        ],
        engine,
        CHAT,
    )  # and it composes
    assert len(voted[0].samples) == 3


def test_a_method_that_stops_early_frees_the_engine():
    engine = make_engine(0, start=2000)
    done = []
    Scheduler(engine, MemoryStore(), decode=CHAT.decode).run(
        [
            Job(
                (0,),
                rejection_sampling(ask(CHAT.prompt("x"), CHAT, WARM), limit=200, max_tries=10**9, ahead=4),
                done.append,
            )
        ]
    )
    assert done[0].info["tries"] == 1 and engine.poll() == []
    assert START in CHAT.thinking_stops.ids


# --- other chat formats ---

PLAIN = {"thinking_start": "", "thinking_end": "", "thinking_stop": ("<|im_end|>",)}


def test_a_format_without_delimiters_asks_in_words():
    chat = make_chat(**PLAIN)
    reads, trace = by_hand(
        forcing(ask(chat.prompt("x"), chat, GREEDY)), ("1+1=2", "stop", "<|im_end|>"), (" 2", "stop", "<|im_end|>")
    )
    assert CHAT.decode(reads[1].prefix).endswith("assistant\n1+1=2\nFinal Answer:")
    _, trace = by_hand(none(ask(chat.prompt("x"), chat, GREEDY)), ("1+1=2", "stop", "<|im_end|>"))
    assert (trace.end, CHAT.decode(trace.ids("answer")), trace.thinking_tokens) == ("none", "1+1=2", 0)


@pytest.mark.parametrize("after", ["\n\n2", "\n2", "2"])
def test_white_space_after_the_models_own_delimiter(after):
    chat = make_chat(thinking_end="\n<|im_start|>\n\n")
    reads, trace = by_hand(
        none(ask(chat.prompt("x"), chat, GREEDY)),
        ("1+1\n", "stop", "<|im_start|>"),
        (after, "stop", "<|im_end|>"),
    )
    assert reads[0].stop.sequences == ((START,),)
    assert CHAT.decode(trace.ids("answer")) == after


@pytest.mark.parametrize("fmt", [{}, PLAIN, {"thinking_end": "\n<|im_start|>\n\n"}])
def test_all_methods_run_in_all_formats(fmt):
    chat, engine = make_chat(**fmt), make_engine(8)
    args = (ask(chat.prompt("x"), chat, WARM, 9),)
    traces = scheduled(
        [
            none(*args),
            forcing(*args, max_thinking_tokens=30, ignore_end=2),
            forcing(*args, max_thinking_tokens=30, ignore_end=2, compat="s1"),
            step_conditional(*args, steps=4),
            step_conditional(*args, steps=4, forced=True),
            rejection_sampling(*args, limit=100),
            early_exit(*args, every=10),
        ],
        engine,
        chat,
    )
    assert all(t.segments and t.reads for t in traces)
