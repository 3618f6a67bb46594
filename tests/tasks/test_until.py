"""Stop strings of tasks: when they count (task.until), where one stands, and that none of lm-eval's eats an answer."""

import json
import re
from functools import cache, partial
from itertools import count
from pathlib import Path

import lm_eval
import pytest
import yaml
from lm_eval.models.utils import postprocess_generated_text
from omegaconf import OmegaConf

from s1x.chat import Chat, ChatFormat
from s1x.composition import BASE
from s1x.evaluation.samples import graded_text
from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.none import none
from s1x.streams.engine import Chunk, Counters
from s1x.streams.memory import MemoryStore
from s1x.streams.scheduler import Job, Scheduler
from s1x.streams.types import Segment, Trace, first_stop
from s1x.tasks import load_task
from s1x.tasks.task import Task
from s1x.tiny import tokenizer as tiny

CONF = Path(__file__).parents[2] / "conf" / "chat"
TEXT = "\n\nLet me see.\n\nFirst, 2 + 2 is 4.\n4 + 5 is 9. Question: is it?\n\nSo the answer is \\boxed{9}.\nAnswer: 9"


def test_an_empty_beginning_holds_no_stop():
    assert first_stop("\n\n42\nQ", ["\n"]) == 4
    assert first_stop("42", ["\n"]) == -1 == first_stop("", ["a"]) == first_stop(" \n", ["\n"])
    assert first_stop("```x```", ["```"]) == 4
    assert first_stop("\nFinal Answer: 4\n\nQ", ["\n\n", "\n", "Answer:"], 14) == 16
    assert first_stop("a. b; c", [";", ". "]) == 1 and first_stop("A: 1 A: 2", ["A:"]) == 5


@pytest.mark.parametrize("stop", ["\n", "\n\n", ". ", "Question:", "9", "}", "nowhere", "Answer", "\n4"])
@pytest.mark.parametrize("text", [TEXT, TEXT.strip(), "9 is it", "So: 4\n"])
def test_where_a_stop_cuts_is_lm_evals_rule(stop, text):
    theirs = postprocess_generated_text("thinking\n\n. 9 } Question: Answer\n4 </think>" + text, [stop], "</think>")
    cut = first_stop(text, [stop])
    ours = text[:cut] if cut >= 0 else text
    assert ours.strip() == (theirs or ours).strip() and ours  # an answer is not cut away whole


# --- all of lm-eval's lists with every chat format ---


class _Loader(yaml.SafeLoader):
    """YAML with lm-eval's own tags (functions) left out."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


@cache
def stop_lists():
    """The distinct `until` lists of lm-eval's task files (413 of 14,000 files have one)."""
    found = {}
    for file in (Path(lm_eval.__file__).parent / "tasks").rglob("*"):
        if not re.search(r"yaml", file.name) or file.is_dir() or b"until:" not in (data := file.read_bytes()):
            continue
        try:
            until = (yaml.load(data, _Loader).get("generation_kwargs") or {}).get("until")  # noqa: S506
        except (yaml.YAMLError, AttributeError):
            continue
        if until is not None:
            found.setdefault(json.dumps(until), until)
    return list(found.values())


class Playback:
    """An engine whose streams write what is said for the prefix they follow, and then an end of the turn for ever."""

    fingerprint, capacity, context_length, scores = "playback", 64, 4096, frozenset()

    def __init__(self, says, end):
        self.says, self.end, self.counters = says, end, Counters()
        self._handles, self._open = count(), {}

    def open(self, request):
        handle = next(self._handles)
        self._open[handle] = request
        return handle

    def poll(self):
        chunks = []
        for handle, request in self._open.items():
            ids = [*self.says(request.prefix), self.end][: request.limit]
            chunks.append(Chunk(handle, ids, [0.0] * len(ids) if request.logprobs else None, True))
        self._open.clear()
        return chunks

    def cancel(self, handle):
        self._open.pop(handle, None)

    def close(self):
        pass


def bind(name):
    """The chat format of conf/chat on a tokenizer that has its tokens."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF.parent), **BASE):
        format = ChatFormat(**OmegaConf.to_container(compose("config", [f"chat={name}"]).chat, resolve=True))
    tokenizer = tiny.build(["think answer Final Answer: 42 Question: see boxed"] * 30)
    wanted = [*format.thinking_stop, *format.answer_stop]
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [t for t in dict.fromkeys(wanted) if len(tokenizer.encode(t)) > 1]}
    )
    return Chat(format, tokenizer, 4096)


def run(chat, until, method, text=TEXT):
    """The graded text of an answer `text` after some thinking."""
    ask = Ask(chat.prompt("2+2+5?"), chat, until=until)
    end = next(iter(chat.answer_stops.ids))

    def says(prefix):
        thinking = chat.encode("\n\nHm.\n\nQuestion: what? Answer: 4\n")
        thought = prefix[: len(ask.head)] == ask.head and len(prefix) > len(ask.head)
        if chat.thinking_end and not thought:  # its own delimiter, whichever method reads on
            return (*thinking, *chat.thinking_end, *chat.encode(text))
        return chat.encode(text)

    traces = []
    Scheduler(Playback(says, end), MemoryStore(), decode=chat.decode).run([Job((0,), method(ask), traces.append)])
    return graded_text(traces[0], chat, until)


@pytest.mark.parametrize("name", sorted(file.stem for file in CONF.glob("*.yaml")))
def test_under_auto_no_list_of_lm_evals_changes_what_is_graded(name):
    chat, task = bind(name), Task.__new__(Task)
    task.until_rule = "auto"
    lists = stop_lists()
    assert len(lists) > 60 and ["\n"] in lists and ["\n\n"] in lists
    changed = 0
    for method in (none, partial(budget_forcing, max_thinking_tokens=5), budget_forcing):
        whole = run(chat, (), method)
        assert "\\boxed{9}.\nAnswer: 9" in whole
        for listed in lists:
            until = tuple(filter(None, [listed] if isinstance(listed, str) else listed))
            assert run(chat, until if task.stops_count(chat.ends_turns) else (), method) == whole
            changed += run(chat, until, method) != whole if method is budget_forcing else 0
    assert changed > 10  # with task.until=task many of them end this answer
    chat.tokenizer.chat_template = None  # a base model that is asked in plain text has no end of its own
    assert task.stops_count(chat.ends_turns)


@pytest.mark.parametrize("rule", ["task", "none", "auto"])
@pytest.mark.parametrize("ends", [True, False])
def test_the_rule(rule, ends):
    task = load_task({"name": "tiny_math", "until": rule, "limit": 1})
    assert task.stops_count(ends) == {"task": True, "none": False, "auto": not ends}[rule]


def test_stops_inside_our_own_delimiter_end_nothing():
    chat = bind("s1")
    trace = Trace((), [Segment("thinking", chat.encode("4\n\n")), *(_forced(chat, "Final"))])
    assert graded_text(trace, chat, ("Answer:", "\n", ":")) == "\nFinal Answer: 42"
    trace.segments[-1] = Segment("answer", chat.encode("\n\n$$\n42\n$$"))
    assert graded_text(trace, chat, ("\n\n",)) == "\nFinal Answer:\n\n$$\n42\n$$"
    assert graded_text(trace, chat, ("\n",)) == "\nFinal Answer:\n\n$$"
    trace.segments[-1:] = []
    assert graded_text(trace, chat, ("\n",)) == "\nFinal Answer:"  # no room was left for an answer


def _forced(chat, _):
    return Segment("delimiter", chat.thinking_end + chat.final_answer), Segment("answer", chat.encode(" 42\nQuestion: 5"))


def test_stops_within_plain_thinking_end_nothing():
    """chat=plain grades all that was written; a stop string counts in the answer alone."""
    chat = bind("plain")
    trace = Trace(
        (),
        [
            Segment("thinking", chat.encode("2 and 2\n\nmake 4\n\n")),
            Segment("delimiter", chat.final_answer),
            Segment("answer", chat.encode(" 4\n\nQuestion: 5")),
        ],
    )
    assert graded_text(trace, chat, ("\n\n",)) == "2 and 2\n\nmake 4\n\n\nFinal Answer: 4"


OWN = """task: own
custom_dataset: !function s1x.tasks.sources.tiny
dataset_kwargs: {task: tiny_math, split: test}
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: answer
generation_kwargs: {until: %s, max_gen_toks: 16}
filter_list:
  - name: answer
    filter: [{function: custom, filter_fn: !function s1x.tasks.graders.extract_integer}, {function: take_first}]
process_results: !function s1x.tasks.graders.grade_same
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("until", "rule", "counts", "said"),
    [
        ('["\\n"]', "auto", "none", "task.until=auto, and chat=s1 ends its answers: its stops '\\n' are ignored"),
        ('["\\n"]', "task", "task", "task.until=task: its stops '\\n' end answers"),
        ('["\\n\\n", ""]', "auto", "none", "its stops '\\n\\n' are ignored"),
        ('[""]', "task", "none", ""),
        ('"Answer:"', "task", "task", "its stops 'Answer:' end answers"),
    ],
)
def test_a_whole_run_is_graded_as_without_stops(command, tmp_path, until, rule, counts, said):
    (tmp_path / "own.yaml").write_text(OWN % until)
    settings = ["tracking=none", "task.limit=3", "method.max_thinking_tokens=64"]
    place = ["task=lm_eval", f"task.lm_eval={tmp_path}/own.yaml", "task.max_answer_tokens=16", "task.name=own"]
    assert command(*place, *settings, f"task.until={rule}", "hydra.run.dir=own")[0] == 0
    log = (tmp_path / "own" / "run.log").read_text()
    assert log.count("its stops") == bool(said) and said in log
    assert command(*settings, "hydra.run.dir=whole")[0] == 0
    own, whole = (json.loads((tmp_path / run / "cell.json").read_text()) for run in ("own", "whole"))
    assert own["until"] == counts and whole["until"] == "none"
    assert own["accuracy"] == whole["accuracy"] and own["no_answer_rate"] == whole["no_answer_rate"]


@pytest.mark.parametrize(("until", "message"), [("[3]", "must be text, not 3"), ("[null]", "must be text, not None")])
def test_stops_that_are_no_text(tmp_path, until, message):
    (tmp_path / "own.yaml").write_text(OWN % until)
    with pytest.raises(ValueError, match=message):
        load_task({"lm_eval": str(tmp_path / "own.yaml"), "name": "own"})
