"""Every family of models, as its own chat template renders it (recorded by scripts/families.py): the prompt, where thinking
begins and ends, a forced end, the answer. A model that writes what the family writes is played; ids must be those of the whole
text, so a delimiter that s1x appends is spelled as the model itself would have spelled it."""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from s1x.cell import Cell
from s1x.chat import Chat, ChatFormat
from s1x.data.format import example
from s1x.evaluation import naming
from s1x.evaluation.forecast import forecast
from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.none import none
from s1x.methods.prompted import prompted
from scripts.families import ANSWER, CUT, PAGE, QUESTION, THINKING, Recorded, chat_format, load, table

from ..conftest import CONF, SAFELY
from ..streams import driver

QWEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "tokenizers" / "qwen2.5.tar.gz"
FAMILIES = load()["families"]
FORCED = {  # by hand: the end of thinking as the family writes it, and the words that ask for the answer
    "s1, s1.1": "\n<|im_start|>answer\nFinal Answer:",
    "Qwen3": "\n</think>\n\nFinal Answer:",
    "Qwen3-Thinking-2507": "\n</think>\n\nFinal Answer:",
    "QwQ-32B": "\n</think>\n\nFinal Answer:",
    "DeepSeek-R1-Distill-Qwen": "\n</think>\n\nFinal Answer:",
    "DeepSeek-R1-Distill-Llama": "\n</think>\n\nFinal Answer:",
    "gpt-oss": "<|end|><|start|>assistant<|channel|>final<|message|>Final Answer:",
    "Seed-OSS": "</seed:think>\nFinal Answer:",
    "Phi-4-reasoning": "\n</think>\n\nFinal Answer:",
    "Magistral": "[/THINK]Final Answer:",
    "Nemotron Nano 2": "\n</think>\nFinal Answer:",
    "Nemotron 3": "\n</think>\nFinal Answer:",
    "GLM-4.6": "</think>\nFinal Answer:",
    "SmolLM3": "\n</think>\nFinal Answer:",
    "Kimi-K2-Thinking": "</think>Final Answer:",
}
OFF = {name: prompt for name, family in FAMILIES.items() for prompt in family["prompts"][2:3] if family["off"]}
MODELS = {
    "Qwen3": "qwen3-8b",
    "Qwen3-Thinking-2507": "qwen3-4b-thinking-2507",
    "QwQ-32B": "qwq-32b",
    "DeepSeek-R1-Distill-Qwen": "r1-distill-qwen-7b",
    "DeepSeek-R1-Distill-Llama": "r1-distill-llama-8b",
    "gpt-oss": "gpt-oss-20b",
    "Seed-OSS": "seed-oss-36b",
    "Phi-4-reasoning": "phi-4-reasoning",
    "Magistral": "magistral-small",
    "Nemotron Nano 2": "nemotron-nano-9b-v2",
    "Nemotron 3": "nemotron-3-nano-30b-a3b",
    "GLM-4.6": "glm-4.6",
    "SmolLM3": "smollm3-3b",
    "Kimi-K2-Thinking": "kimi-k2-thinking",
}


class Real(Recorded):
    """The recorded prompts under Qwen2.5's whole tokenizer, which has the family's tokens beside its own."""

    def __init__(self, name: str):
        super().__init__(name)
        self.tokenizer = qwen()
        self.eos_token_id = self.tokenizer.token_to_id(self.family["tokens"][0])

    def encode(self, text, add_special_tokens=False):
        return self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids, **_):
        return self.tokenizer.decode(ids, skip_special_tokens=False)


@cache
def qwen():
    from tokenizers import AddedToken, Tokenizer

    if not QWEN.is_file():
        pytest.skip("shared/data is not beside this checkout")
    with tempfile.TemporaryDirectory() as folder, tarfile.open(QWEN) as tar:
        tar.extractall(folder, **SAFELY)
        tokenizer = Tokenizer.from_file(f"{folder}/qwen2.5/tokenizer.json")
    own = [family["tokens"] for family in FAMILIES.values() if family["vocabulary"] == "Qwen2.5"]
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in dict.fromkeys(t for ts in own for t in ts)])
    return tokenizer


@pytest.fixture(params=["recorded", "real"])
def chat(name, request):
    """The family's chat format on the words that were recorded, and on the real tokenizer of Qwen2.5 where that is the one."""
    if request.param == "real" and FAMILIES[name]["vocabulary"] != "Qwen2.5":
        pytest.skip("its vocabulary is recorded alone")
    return make(name, Real if request.param == "real" else Recorded)


def make(name: str, kind=Recorded, **changes) -> Chat:
    format = chat_format(FAMILIES[name]["chat"])
    changes["arguments"] = {**format.arguments, **changes.get("arguments", {})}
    return Chat(replace(format, **changes), kind(name), 4096)


def playing(*texts):
    """A model that goes on as `texts` (ids) do; a prefix that none of them begins with is spelled as no model would."""

    def next_token(prefix, sampling, banned):
        for ids in texts:
            if tuple(ids[: len(prefix)]) == prefix and len(ids) > len(prefix):
                return ids[len(prefix)]
        raise AssertionError(f"nobody would have written {prefix[-8:]}")

    return next_token


def play(chat: Chat, method, *texts, **settings):
    ask = Ask(chat.prompt(QUESTION), chat)
    return driver.run(method(ask, **settings), playing(*map(chat.encode, texts)), 4096, chat.decode)


def prompt_of(name: str) -> str:
    return FAMILIES[name]["prompts"][0]["text"].replace("«%Y-%m-%d»", "2026-01-01")


def opening(name: str) -> str:
    """What stands between prompt and thinking, as the family writes it; s1's models write the line's end themselves."""
    before, _, after = FAMILIES[name]["turn"].partition(THINKING)
    return (before.removesuffix("\n") if name == "s1, s1.1" else before) if after else ""


everywhere = pytest.mark.parametrize("name", FAMILIES)
thinking = pytest.mark.parametrize("name", FORCED)


@everywhere
def test_the_prompt_is_as_rendered_and_thinking_opens_once(name, chat):
    ask = Ask(chat.prompt(QUESTION), chat)
    assert chat.decode(ask.prompt.ids) == prompt_of(name)
    assert chat.decode(ask.head) == prompt_of(name) + opening(name)
    start = chat.format.thinking_start.strip()
    assert not start or chat.decode(ask.head[-12:]).count(start) == 1


@thinking
def test_thinking_ends_by_itself(name, chat):
    whole = prompt_of(name) + FAMILIES[name]["turn"]
    trace = play(chat, budget_forcing, whole, max_thinking_tokens=None)
    assert trace.end == "natural"
    assert [*trace.prompt, *trace.ids(), chat.tokenizer.eos_token_id] == chat.tokenizer.encode(whole)
    assert "".join(chat.decode(s.ids) for s in trace.segments if s.kind == "thinking").strip() == THINKING
    assert chat.answer_text(trace).strip() == ANSWER


@thinking
def test_nobody_interferes(name, chat):
    whole = prompt_of(name) + FAMILIES[name]["turn"]
    trace = play(chat, none, whole)
    assert [*trace.prompt, *trace.ids(), chat.tokenizer.eos_token_id] == chat.tokenizer.encode(whole)
    assert chat.decode(trace.segments[1].ids).strip() == THINKING
    assert chat.answer_text(trace).strip() == ANSWER


@thinking
@pytest.mark.parametrize("given", ["thinking", "opening"])
def test_thinking_that_is_written_or_begun_for_the_model(name, given, chat):
    """Thinking that is given is closed as the family closes it, without "Final Answer:"; one that is begun goes on."""
    end, eos, said = FORCED[name].removesuffix(chat.format.final_answer), chat.tokenizer.eos_token_id, CUT
    whole = [i for text in (prompt_of(name) + opening(name), said, end, ANSWER) for i in chat.encode(text)] + [eos]
    model, inner = playing(whole), {"thinking": none, "opening": budget_forcing}[given]
    trace = driver.run(prompted(Ask(chat.prompt(QUESTION), chat), inner=inner, **{given: said}), model, 4096, chat.decode)
    assert chat.decode(trace.prompt) == prompt_of(name) and chat.decode(trace.ids()).startswith(opening(name) + said)
    assert chat.answer_text(trace).strip() == ANSWER
    assert trace.thinking_tokens == (len(chat.encode(said)) if given == "thinking" else len(trace.segments[1].ids))


@thinking
@pytest.mark.parametrize("cut", [CUT, THINKING, f"{THINKING}\n"])
def test_a_forced_end(name, cut, chat):
    """A cut in the midst of a sentence, behind one, and behind a line, where no second newline comes."""
    if cut.endswith("\n") and chat.format.forced_break == "":
        pytest.skip("this family writes no newline there")
    start, lead = prompt_of(name) + opening(name), "\n" if name == "s1, s1.1" else ""
    spoken = chat.encode(start) + chat.encode(lead + cut)
    closing = FORCED[name].removeprefix("\n") if cut.endswith("\n") else FORCED[name]
    asked = spoken + chat.encode(closing)
    ask = Ask(chat.prompt(QUESTION), chat)
    model = playing([*asked, *chat.encode(" 4"), chat.tokenizer.eos_token_id], [*spoken, *chat.encode(" so")])
    limit = len(chat.encode(lead + cut))
    trace = driver.run(budget_forcing(ask, max_thinking_tokens=limit), model, 4096, chat.decode)
    assert (trace.end, trace.thinking_tokens) == ("forced", limit)
    assert chat.decode(trace.ids()) == opening(name) + lead + cut + closing + " 4"
    assert chat.answer_text(trace).strip() == "Final Answer: 4"
    if cut == CUT:  # nothing merges over the cut, so the whole is spelled as one text
        assert [*trace.prompt, *trace.ids()] == chat.tokenizer.encode(start + lead + cut + closing + " 4")


@thinking
def test_wait(name, chat):
    """An ignored end leaves no token of it, and thinking goes on behind the word."""
    whole = chat.encode(prompt_of(name) + FAMILIES[name]["turn"])
    ask = Ask(chat.prompt(QUESTION), chat)
    ends = [i for i in range(len(ask.head), len(whole)) if whole[i] in chat.thinking_stops.ids]
    again = (*whole[: ends[0]], *chat.encode("Wait"), *chat.encode(f" {THINKING}"), *whole[ends[0] :])
    trace = driver.run(budget_forcing(ask, max_thinking_tokens=None, ignore_end=1), playing(whole, again), 4096, chat.decode)
    assert (trace.waits, trace.end) == (1, "natural")
    assert (*trace.prompt, *trace.ids(), chat.tokenizer.eos_token_id) == again
    assert chat.answer_text(trace).strip() == ANSWER


@pytest.mark.parametrize("name", [name for name, turn in FORCED.items() if turn == "\n</think>\n\nFinal Answer:"])
def test_the_general_format_does_for_all_who_write_its_tags(name):
    """Also for R1's distills, whose tokenizers have no <|im_end|>: the end of a turn is the tokenizer's own."""
    chat = Chat(chat_format("think"), Recorded(name), 4096)
    chat.tokenizer.apply_chat_template = lambda messages, **_: prompt_of(name)
    whole = prompt_of(name) + FAMILIES[name]["turn"]
    trace = play(chat, budget_forcing, whole, max_thinking_tokens=None)
    assert [*trace.prompt, *trace.ids(), chat.tokenizer.eos_token_id] == chat.tokenizer.encode(whole)


@thinking
def test_a_training_text_is_what_the_family_writes(name):
    chat, said = make(name), "Answer: 4"
    made = example({"question": QUESTION, "thinking": THINKING, "answer": said}, chat.tokenizer, chat.format)
    turn = FAMILIES[name]["turn"].replace(ANSWER, said)
    assert made.prompt + made.completion.rstrip("\n") == prompt_of(name) + turn


@pytest.mark.parametrize("name", OFF)
def test_thinking_switched_off(name):
    """The template closes the thinking in the prompt, or opens none: the answer is all there is, and it is read."""
    chat = make(name, system=OFF[name]["system"], arguments=OFF[name]["arguments"])
    prompt = OFF[name]["text"]
    eos = FAMILIES[name]["tokens"][0]
    assert chat.prompt(QUESTION).closed
    trace = play(chat, none, prompt + ANSWER + eos)
    assert chat.decode(trace.prompt) == prompt
    assert (trace.thinking_tokens, trace.end) == (0, "none")
    assert chat.answer_text(trace) == ANSWER
    with pytest.raises(ValueError, match="so there is none to read"):
        play(chat, budget_forcing, prompt + ANSWER + eos)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("gpt-oss", {"arguments": {"reasoning_effort": "low"}}, "Reasoning: low\n"),
        ("gpt-oss", {"arguments": {"reasoning_effort": "high"}}, "Reasoning: high\n"),
        ("gpt-oss", {}, "Current date: 2026-01-01\n"),
        ("gpt-oss", {"date": "2025-12-31"}, "Current date: 2025-12-31\n"),
        ("Seed-OSS", {"arguments": {"thinking_budget": 512}}, "every 128 tokens"),
        ("SmolLM3", {}, "Reasoning Mode: /think\n"),
        ("SmolLM3", {"arguments": {"enable_thinking": False}}, "Reasoning Mode: /no_think\n"),
        ("GLM-4.6", {"arguments": {"enable_thinking": False}}, f"{QUESTION}/nothink<|assistant|>"),
        ("Magistral", {"system": "Be brief."}, "[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT]"),
        ("Phi-4-reasoning", {"system": "Be brief."}, "<|im_start|>system<|im_sep|>Be brief.<|im_end|>"),
        ("DeepSeek-R1-Distill-Llama", {"instruction": "Put the answer in a box."}, f"{QUESTION}\n\nPut the answer in a box.<"),
    ],
)
def test_what_a_family_can_be_told(name, settings, says):
    assert says in make(name, **settings).prompt(QUESTION).rendered


@pytest.mark.parametrize(("name", "model"), MODELS.items())
def test_a_model_brings_its_chat_format(name, model):
    said = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text(encoding="utf-8"))
    assert said["defaults"] == [{"override /chat": FAMILIES[name]["chat"]}]


def test_every_format_belongs_to_a_family_and_every_family_has_a_model():
    formats = {path.stem for path in (CONF / "chat").glob("*.yaml")} - {"think"}
    assert formats == {family["chat"] for family in FAMILIES.values()}
    assert set(FAMILIES) - set(MODELS) == {"s1, s1.1", "Qwen2.5"}  # these have models with the default chat


def test_hydra_makes_the_same_formats_and_what_is_typed_wins_over_the_models(composed):
    made = ChatFormat(**OmegaConf.to_container(composed("model=gpt-oss-20b", "scale=paper").chat))
    assert made == chat_format("gpt-oss")
    assert composed("chat=s1", "model=gpt-oss-20b").chat.name == "s1"


def test_no_thinking_typed(composed):
    chat = composed("model=qwen3-8b", "chat.arguments.enable_thinking=false", "method=none").chat
    assert (chat.name, dict(chat.arguments)) == ("qwen3", {"enable_thinking": False})


@pytest.mark.parametrize(
    "typed",
    [
        ("model=qwen3-8b", "chat.arguments.enable_thinking=true", "chat.arguments.enable_thinking=false"),
        ("model=seed-oss-36b", "chat.arguments.thinking_budget=512", "chat.arguments.thinking_budget=1024"),
        ("model=gpt-oss-20b", "chat.arguments.reasoning_effort=low", "chat.arguments.reasoning_effort=high"),
        ("model=nemotron-nano-9b-v2", "chat.system=null", "chat.system=/no_think"),
    ],
    ids=lambda typed: typed[0],
)
def test_a_control_of_the_models_own_is_a_cell_that_shares_nothing_with_others(composed, typed):
    model, *values = typed
    cells = [Cell(composed(model, "method=none", value), Path(), Path()) for value in values]
    one, other = (naming.identity(cell) for cell in cells)
    key, _, value = values[1].partition("=")
    assert one["cell_id"] != other["cell_id"] and str(other["settings"][key]).lower() == value
    assert not forecast(cells[0]).keys() & forecast(cells[1]).keys()


@pytest.mark.parametrize("name", [n for n, f in FAMILIES.items() if f["vocabulary"] == "Qwen2.5"])
def test_the_recorded_words_are_the_tokenizers(name):
    real, recorded = Real(name), Recorded(name)
    for word, ids in recorded.words.items():
        assert real.encode(word) == ids, word


def test_the_page_says_what_was_recorded():
    assert table() in PAGE.read_text(encoding="utf-8")
