"""What the newer sequential methods promise beyond their papers: stores, polls, plans, prompts in the trace, sentences."""

import json
from functools import partial
from pathlib import Path

import pytest

from s1x.cell import Cell
from s1x.chat import ThinkingClosed
from s1x.evaluation.forecast import forecast
from s1x.evaluation.naming import method_of
from s1x.evaluation.samples import graded_text
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.deer import deer
from s1x.methods.facts import check, facts
from s1x.methods.majority_voting import majority_voting
from s1x.methods.none import none
from s1x.methods.prompted import prompted
from s1x.methods.self_refine import self_refine
from s1x.report.load import load_cells
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.types import GREEDY, Sampling

from .conftest import CONTEXT, make_chat, make_engine
from .running import scheduled
from .test_against_reference import ask
from .test_configs import settings
from .test_methods import by_hand

CHAT = make_chat()
NEW = ["self_refine", "budget_reminder", "alpha_one", "deer", "prompted", "no_thinking", "chain_of_draft"]
SHORT = {  # what makes each of them do its work within the small context
    "self_refine": ["method.critique='?'", "method.revision=so", "method.satisfied='7'", "method.least_room=20"],
    "budget_reminder": ["method.max_thinking_tokens=100"],
    "alpha_one": ["method.mark='\n'", "method.alpha=1"],
    "deer": ["method.threshold=0.6", "method.marks=[Wait,'=']"],
    "prompted": ["method.opening=Hmm"],
}


def of(question="x", sampling=GREEDY, chat=CHAT):
    return ask(chat.prompt(question), chat, sampling)


@pytest.mark.parametrize("name", NEW)
def test_the_same_from_the_store_one_token_or_eight_at_a_time(name):
    method, found = method_of(settings(name, *SHORT.get(name, ()))), []
    asked = [(q, s) for q in ("x", "x=", "1+1") for s in (GREEDY, Sampling(1.0, noise=5))]
    for per_poll in (1, 8):
        engine, store = make_engine(4, start=60, end=30, tokens_per_poll=per_poll), MemoryStore()
        for decoded in (None, 0):  # on an empty store, and on the full one
            traces, before = {}, engine.counters.decoded
            scheduler = Scheduler(engine, store, decode=CHAT.decode)
            scheduler.run(Job((i,), method(of(*a)), lambda t, i=i, to=traces: to.update({i: t})) for i, a in enumerate(asked))
            assert decoded is None or engine.counters.decoded == before
            found.append([(t.prompt, t.segments, t.end, t.waits, t.info, t.reads) for _, t in sorted(traces.items())])
    assert found[1] == found[0] and found[3] == found[2]
    assert [trace[:5] for trace in found[2]] == [trace[:5] for trace in found[0]]


@pytest.mark.parametrize("name", NEW)
def test_a_plan_prices_it(composed, name):
    def tokens(*settings):
        cfg = composed("task.thinking=150", "task.questions=10", *settings)
        return sum(forecast(Cell(cfg, Path(), Path())).values()) / 10

    free, steps = tokens("method=budget_forcing"), 150 / 10  # scale.plan.step
    reminders = 4 * 7  # words of the thinking that are not decoded
    most = {"self_refine": 5 * free, "no_thinking": 10, "deer": free + 5 * steps, "budget_reminder": free - reminders}
    assert tokens(f"method={name}") == pytest.approx(most.get(name, free), rel=0.1)


def test_every_prompt_of_a_conversation_is_in_the_trace_with_its_role():
    method = self_refine(of(), inner=partial(budget_forcing), critique="?", revision="so", rounds=1, least_room=20)
    texts = ["1+1", " 2", "2", " x", "3", " 4"]
    stops = ["<|im_start|>", "<|im_end|>"] * 3
    reads, trace = by_hand(method, *[(text, "stop", stop) for text, stop in zip(texts, stops, strict=True)])
    turns = [[("user", "x")], [("assistant", "2"), ("user", "?")], [("assistant", "x"), ("user", "so")]]
    said, told = "", []
    for turn in turns:
        said += "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turn)
        told.append(said + "<|im_start|>assistant\n")
    assert [CHAT.decode(read.prefix) for read in reads[::2]] == [text + "<|im_start|>think" for text in told]
    assert [(s.role, CHAT.decode(s.ids)) for s in trace.segments if s.role] == [("critique", told[1]), ("revision", told[2])]
    assert CHAT.decode(trace.prompt) == told[0] and trace.ids("answer") == CHAT.encode(" 4")
    assert trace.thinking_tokens == sum(len(CHAT.encode(text)) for text in texts[:5])
    assert graded_text(trace, CHAT, ()) == " 4"
    assert trace.info == {"rounds": 1, "satisfied": False, "left_out": 0, "cut": False}


@pytest.mark.parametrize("format", [{}, {"thinking_start": "", "thinking_end": "", "thinking_stop": ("<|im_end|>",)}])
def test_an_answer_that_a_critique_lets_stand_is_the_one_that_is_graded(format):
    chat = make_chat(**format)
    method = self_refine(of(chat=chat), inner=none, critique="?", satisfied="FINE", least_room=20)
    spans = [(" 2", "stop", "<|im_end|>"), ("so fine.", "stop", "<|im_end|>")]
    if not format:
        end = "<|im_start|>answer"
        spans = [("1+1", "stop", end), spans[0], ("so", "stop", end), spans[1]]
    _, trace = by_hand(method, *spans)
    assert trace.info["satisfied"] and trace.info["rounds"] == 0
    assert graded_text(trace, chat, (".",)) == " 2" and trace.ids("answer") == chat.encode(" 2")


def test_a_conversation_keeps_within_the_context_and_says_what_was_cut():
    cut = set()
    for seed in range(30):
        method = self_refine(
            of(), inner=partial(budget_forcing), rounds=6, critique="?", revision="so", satisfied=None, least_room=90
        )
        (trace,) = scheduled([method], make_engine(seed, start=400, end=900), CHAT)
        prompts = [s.ids for s in trace.segments if s.role]
        assert all(len(ids) + len(CHAT.encode("<|im_start|>answer\nFinal Answer:")) + 100 + 90 <= CONTEXT for ids in prompts)
        rounds = [CHAT.decode(s.ids).count("user\nso<|im_end|>") for s in trace.segments if s.role == "revision"]
        if trace.info["rounds"] == len(rounds):
            assert trace.info["left_out"] == (len(rounds) - rounds[-1] if rounds else 0)
        cut.add((trace.info["left_out"] > 0, trace.info["cut"]))
    assert (True, False) in cut and (False, True) in cut


def test_a_pool_is_no_turn():
    pool = partial(majority_voting, n=2, inner=partial(budget_forcing))
    with pytest.raises(ValueError, match="a turn needs one answer"):
        scheduled([self_refine(of(sampling=Sampling(1.0, noise=1)), inner=pool)], make_engine(1), CHAT)


def test_given_thinking_is_in_every_sample_of_a_pool():
    pool = partial(majority_voting, n=3, inner=none)
    (trace,) = scheduled([prompted(of(sampling=Sampling(1.0, noise=1)), inner=pool, thinking="so")], make_engine(1), CHAT)
    for sample in trace.samples:
        assert [s.kind for s in sample.segments] == ["delimiter", "injected", "delimiter", "answer"]
        assert sample.prompt == trace.prompt == CHAT.prompt("x").ids and sample.thinking_tokens == len(CHAT.encode("so"))


def test_a_mark_within_a_token_that_also_holds_words_ends_no_thinking():
    method = deer(of(), marks=("+1",), threshold=1)
    reads, trace = by_hand(
        method, ("1+1", "stop", ""), (" 2", "limit", ""), ("x", "stop", "<|im_end|>"), (" 2", "stop", "<|im_end|>")
    )
    assert [read.start for read in (reads[0], reads[2])] == [0, 3] and trace.info["trials"] == 1 and trace.end == "natural"


@pytest.mark.parametrize(
    ("name", "override", "says"),
    [
        ("self_refine", "method.rounds=0", r"method\.rounds=0: must be a whole number of 1 or more"),
        ("self_refine", "method.critique=null", r"method\.critique=null: must be some text"),
        ("self_refine", "method.revision='a<|im_end|>'", r"method\.revision='a<\|im_end\|>'.*ends thinking"),
        ("budget_reminder", "method.max_thinking_tokens=null", r"method\.max_thinking_tokens=null"),
        ("budget_reminder", "method.every=0", r"method\.every=0: must be a whole number of 1 or more, null"),
        ("budget_reminder", "method.text='<|im_start|>'", r"method\.text='<\|im_start\|>'.*ends thinking"),
        ("alpha_one", "method.average=null", r"method\.average=null: must be a whole number of 1 or more"),
        ("alpha_one", "method.p=1.5", r"method\.p=1\.5: must be a number from 0 to 1"),
        ("alpha_one", "method.alpha=-1", r"method\.alpha=-1: must be a number of 0 or more"),
        ("alpha_one", "method.slow=[]", r"method\.slow=\[\]: must be a list of texts, at least one"),
        ("deer", "method.threshold=2", r"method\.threshold=2: must be a number from 0 to 1"),
        ("deer", "method.marks=Wait", r"method\.marks='Wait': must be a list of texts"),
        ("deer", "method.trial_tokens=0", r"method\.trial_tokens=0"),
        ("prompted", "method.opening='<|im_end|>'", r"method\.opening='<\|im_end\|>'.*ends thinking"),
        ("no_thinking", "method.opening=Hmm", r"method\.opening='Hmm': must be null where method\.thinking is given"),
        ("no_thinking", "method@method.inner=budget_forcing", r"gives all of the thinking.*method=none answers at once"),
        ("token_conditional", "method.wording='Think'", r"method\.wording='Think': must say \{tokens\}"),
        ("token_conditional", "method.wording=null", r"method\.wording=null: must be some text"),
    ],
)
def test_bad_settings_get_a_sentence(name, override, says):
    with pytest.raises(ValueError, match=says):
        check(method_of(settings(name, override)), context_length=CONTEXT, temperature=1.0, chat=CHAT)


@pytest.mark.parametrize(
    ("name", "series", "limits", "instructed"),
    [
        ("self_refine", "self_refine(budget_forcing)", (None, None), None),
        ("budget_reminder", "budget_reminder", (0, 256), 256),
        ("alpha_one", "alpha_one", (None, None), None),
        ("deer", "deer", (None, None), None),
        ("prompted", "prompted(budget_forcing)", (0, None), None),
        ("no_thinking", "prompted(no_thinking, none)", (None, None), None),
        ("chain_of_draft", "prompted(chain_of_draft, budget_forcing)", (0, None), None),
        ("token_conditional", "token_conditional(budget_forcing)", (0, 256), 256),
        ("token_conditional_forced", "token_conditional(budget_forcing, forced)", (0, 256), 256),
    ],
)
def test_what_is_declared(name, series, limits, instructed):
    found = facts(method_of(settings(name)))
    assert (found.series, found.limits, found.instructed) == (series, limits, instructed)
    assert not found.free and found.needs_sampling is None


def test_thinking_that_the_template_closes_is_not_written():
    chat = make_chat(thinking_end="assistant\n", thinking_stop=("<|im_end|>",))
    with pytest.raises(ThinkingClosed):
        next(prompted(of(chat=chat), inner=none, thinking="so"))


TINY = ("tracking=none", "task.limit=2", "engine=scripted", "hydra.run.dir=out")


def test_a_whole_run_keeps_roles_and_measures_the_errors_of_a_length(command, tmp_path):
    told = ["method=token_conditional", "method.tokens=64", "method.wording='Think for {tokens} tokens.'"]
    assert command(*TINY, *told, "method.inner.max_thinking_tokens=96")[0] == 0
    cell = json.loads((tmp_path / "out" / "cell.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "out" / "samples_tiny_math.jsonl").read_text().splitlines()]
    errors = [abs(line["thinking_tokens"] - 64) / 64 for line in lines]
    assert cell["declared"]["instructed"] == 64 and cell["obedience"]["error"] == pytest.approx(sum(errors) / 2)
    again = ["method=self_refine", "method.rounds=1", "method.satisfied=null", "method.inner.max_thinking_tokens=40"]
    assert command(*TINY[:3], "hydra.run.dir=refined", *again)[0] == 0
    for line in (tmp_path / "refined" / "samples_tiny_math.jsonl").read_text().splitlines():
        segments = json.loads(line)["segments"]
        assert [s["role"] for s in segments if "role" in s] == ["critique", "revision"][: sum("role" in s for s in segments)]
        assert all(s["kind"] == "delimiter" for s in segments if "role" in s)
    assert json.loads((tmp_path / "refined" / "cell.json").read_text())["obedience"] == {}
    shown = [segment[3:] for t in load_cells(tmp_path / "refined")[0][0].traces for segment in t["segments"]]
    assert ["critique"] in shown and [] in shown


def test_a_models_own_sentence_can_end_its_thinking(command, tmp_path):
    """Qwen3's early stop, which is a setting of the chat format."""
    said = "\n\nConsidering the limited time by the user.\n"
    words = [f'chat.forced_break="{said}"', "chat.final_answer=''"]
    assert command(*TINY, *words, "method.max_thinking_tokens=2") == (0, "")
    lines = map(json.loads, (tmp_path / "out" / "samples_tiny_math.jsonl").read_text().splitlines())
    line = next(line for line in lines if line["end"] == "forced")
    assert [s["text"] for s in line["segments"] if s["kind"] == "delimiter"][1] == f"{said}<|im_start|>answer"
