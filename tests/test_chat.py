"""Prompts and ends of turns: what a chat template and a tokenizer bring, what a chat format adds, and what stands once."""

import json
import shutil
import tarfile
from functools import partial
from pathlib import Path

import pytest

import s1x
from s1x.chat import TODAY, Chat, ChatFormat, ThinkingClosed
from s1x.data.format import encode, example
from s1x.errors import SettingError
from s1x.methods.base import Ask
from s1x.methods.budget_forcing import budget_forcing
from s1x.methods.facts import check
from s1x.methods.majority_voting import majority_voting
from s1x.methods.none import none
from s1x.models.files import end_ids
from s1x.models.tokenizer import load_tokenizer
from s1x.streams.types import Segment, Span, Trace
from s1x.tiny import tokenizer as tiny

from .conftest import SAFELY

TINY = Path(s1x.__file__).parent / "tiny" / "models" / "tiny-s1"
QWEN = Path(__file__).parents[2] / "shared" / "data" / "tokenizers" / "qwen2.5.tar.gz"
TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n"
OPENS = TURNS + ASK + "<think>\n{% endif %}"  # as templates of models that always think
BARE = TURNS + ASK + "<think>{% endif %}"
HYBRID = (
    TURNS
    + ASK
    + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
SHUT = TURNS + ASK + "{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}"  # opened or shut, never left alone
THINK = ChatFormat(
    "think",
    thinking_start="<think>\n",
    thinking_end="</think>\n\n",
    final_answer="Final Answer:",
    thinking_stop=("</think>", "<|im_end|>"),
)
RECORD = {"question": "What is 6*7?", "thinking": "Six sevens.\n\nThat is 42.", "answer": "42"}


@pytest.fixture(scope="session")
def qwen(tmp_path_factory):
    """Qwen2.5's real tokenizer with the tags of thinking models; the tiny one where the real one is not there."""
    if QWEN.is_file():
        folder = tmp_path_factory.mktemp("qwen")
        with tarfile.open(QWEN) as archive:
            archive.extractall(folder, **SAFELY)
        tokenizer = load_tokenizer({"path": str(next(folder.rglob("tokenizer.json")).parent)})
    else:
        tokenizer = tiny.build(["think answer Final Answer: 42 Let x be a number."] * 30)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>", "[THINK]", "[/THINK]"]})
    return tokenizer


@pytest.fixture
def chat_of(qwen, monkeypatch):
    """chat_of(template, **changes of the format "think")."""

    def make(template, base=THINK, **changes):
        monkeypatch.setattr(qwen, "chat_template", template)
        fields = {name: getattr(base, name) for name in ChatFormat.__dataclass_fields__}
        return Chat(ChatFormat(**fields | changes), qwen, 4096)

    return make


# --- a thinking start that stands once ---


@pytest.mark.parametrize(
    ("template", "changes", "end"),
    [
        (OPENS, {}, "assistant\n<think>\n"),
        (BARE, {}, "assistant\n<think>"),  # the white space behind it is the model's own
        (TURNS + ASK + "<think>\n\n{% endif %}", {}, "assistant\n<think>\n\n"),
        (OPENS, {"thinking_start": "<think>"}, "assistant\n<think>\n"),
        (OPENS, {"thinking_start": ""}, "assistant\n<think>\n"),
        (HYBRID, {}, "assistant\n<think>\n"),
        (SHUT, {"arguments": {"thinking": True}}, "assistant\n<think>"),
        (TURNS + ASK + "[THINK]{% endif %}", {"thinking_start": "[THINK]", "thinking_end": "[/THINK]"}, "assistant\n[THINK]"),
        (TURNS + ASK + "{% endif %}", {"thinking_start": "<think>"}, "assistant\n<think>"),
    ],
)
def test_thinking_is_opened_once(chat_of, template, changes, end):
    chat = chat_of(template, **changes)
    ask = Ask(chat.prompt("Is <think> a tag?"), chat)
    text = chat.decode(ask.head)
    assert text.endswith(end) and text.count("<think>") + text.count("[THINK]") == 2  # the question has one, too
    if chat.format.opened(ask.prompt.rendered):  # one text, so that tokens merge as in life
        assert ask.head == tuple(chat.tokenizer.encode(text, add_special_tokens=False))
    trace = ask.unfinished([Segment("thinking", chat.encode("so"))])
    assert chat.decode(trace.prompt + trace.ids()) == text + "so"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (OPENS, "<think>\nSix sevens.\n\nThat is 42.\n</think>\n\nAnswer: 42<|im_end|>\n"),
        (BARE, "<think>\nSix sevens.\n\nThat is 42.\n</think>\n\nAnswer: 42<|im_end|>\n"),
        (HYBRID, "<think>\nSix sevens.\n\nThat is 42.\n</think>\n\nAnswer: 42<|im_end|>\n"),
        (TURNS + ASK + "<think>\n\n{% endif %}", "<think>\n\nSix sevens.\n\nThat is 42.\n</think>\n\nAnswer: 42<|im_end|>\n"),
    ],
)
def test_a_training_text_opens_thinking_once_and_begins_as_a_prompt(chat_of, template, text):
    chat = chat_of(template, instruction="Be brief.")
    made = example(RECORD, chat.tokenizer, chat.format)
    assert (made.prompt + made.completion).rpartition("assistant\n")[2] == text
    head = Ask(chat.prompt(RECORD["question"]), chat).head
    assert tuple(encode(made, chat.tokenizer)["input_ids"][: len(head)]) == head


def test_s1s_own_prompts_are_what_they_were():
    chat = Chat(ChatFormat(), load_tokenizer({"path": str(TINY)}), 2048, end_ids(str(TINY)))
    prompt = chat.prompt("Start with 1.")
    messages = [{"role": "user", "content": "Start with 1."}]
    text = chat.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert Ask(prompt, chat).head == chat.encode(text) + chat.encode("<|im_start|>think")
    assert chat.thinking_stops.ids == {chat.single("<|im_start|>"), chat.single("<|im_end|>")}
    assert chat.answer_stops.ids == {chat.single("<|im_end|>")}


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        (HYBRID, {"enable_thinking": False}),
        (SHUT, {"thinking": False}),
        (SHUT, {}),
        (TURNS + ASK + "<think></think>{% endif %}", {}),
    ],
)
def test_thinking_that_the_template_closed_is_refused_or_respected(chat_of, template, arguments):
    chat = chat_of(template, arguments=arguments)
    ask = Ask(chat.prompt("1+1?"), chat)
    for method in (
        partial(budget_forcing),
        partial(majority_voting, n=2, inner=partial(budget_forcing, max_thinking_tokens=9)),
    ):
        with pytest.raises(ThinkingClosed, match="ends the thinking in the prompt"):
            check(method, context_length=4096, temperature=1, chat=chat)
    for method in (partial(none), partial(majority_voting, n=2, inner=partial(none))):
        check(method, context_length=4096, temperature=1, chat=chat)
    read = next(none(ask))
    assert read.prefix == ask.prompt.ids and read.role == "answer"
    with pytest.raises(SettingError, match="ends the thinking in the prompt"):
        example(RECORD, chat.tokenizer, chat.format)


# --- ends of turns ---


@pytest.fixture
def llama():
    """A tokenizer without <|im_end|>, as those of Llama's family."""
    tokenizer = tiny.build(["think answer Final Answer: 42 Let x be a number."] * 30)
    state = json.loads(
        tokenizer.backend_tokenizer.to_str().replace("<|im_end|>", "<|eot|>").replace("<|im_start|>", "<|head|>")
    )
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="<|eot|>")
    made.chat_template = "{% for m in messages %}<|head|>{{ m.role }}\n{{ m.content }}<|eot|>{% endfor %}<|head|>assistant\n"
    return made


def test_a_tokenizer_without_the_formats_end_of_turn_brings_its_own(llama):
    llama.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    chat = Chat(THINK, llama, 4096)
    eot, end = llama.convert_tokens_to_ids(["<|eot|>", "</think>"])
    assert chat.answer_stops.ids == {eot} and chat.thinking_stops.ids == {eot, end}
    plain = Chat(ChatFormat("plain", thinking_start="", thinking_end="", thinking_stop=("<|im_end|>",)), llama, 4096)
    assert plain.answer_stops.ids == plain.thinking_stops.ids == {eot}


@pytest.mark.parametrize(
    ("format", "message"),
    [
        (THINK, "'</think>' is . tokens"),  # nothing else could end the thinking
        (ChatFormat(), "'<|im_start|>' is .* tokens"),
        (ChatFormat("m", thinking_start="[THINK]", thinking_end="\n[/THINK]\n", thinking_stop=("[/THINK]",)), "'.*THINK.*' is"),
    ],
)
def test_the_thinking_end_must_be_a_token(llama, format, message):
    with pytest.raises(ValueError, match=message.replace("|", r"\|").replace("[", r"\[") if "|" in message else message):
        _ = Chat(format, llama, 4096).thinking_stops


def test_a_format_without_any_end_left_is_refused(llama):
    llama.eos_token = None
    with pytest.raises(ValueError, match="it must be one"):
        _ = Chat(THINK, llama, 4096).answer_stops
    assert Chat(THINK, llama, 4096, frozenset([7])).answer_stops.ids == {7}


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({"generation_config.json": {"eos_token_id": [2, 0]}}, {0, 2}),
        ({"generation_config.json": {"eos_token_id": 0}}, {0}),
        ({"generation_config.json": {"eos_token_id": [2, 999_999, None]}}, {2}),  # beyond the vocabulary
        ({"generation_config.json": {}}, set()),
        ({"generation_config.json": None}, {2}),  # config.json's own
        ({"generation_config.json": None, "config.json": {"eos_token_id": [1, 2], "vocab_size": 5}}, {1, 2}),
        ({"generation_config.json": None, "config.json": {"text_config": {"eos_token_id": 3, "vocab_size": 5}}}, {3}),
    ],
)
def test_ends_of_turn_from_the_models_files(tmp_path, files, ends):
    model = tmp_path / "model"
    shutil.copytree(TINY, model)
    for name, content in files.items():
        (model / name).unlink()
        if content is not None:
            (model / name).write_text(json.dumps(content))
    assert end_ids(str(model)) == ends
    assert end_ids("nowhere/" + "x" * 9 + "/y") == frozenset()


def test_a_declared_end_ends_the_thinking_in_a_whole_run(command, tmp_path):
    """A model that writes <|endoftext|> for ever, which its generation_config.json declares an end."""
    import torch
    from transformers import AutoModelForCausalLM

    model, declared = AutoModelForCausalLM.from_pretrained(TINY), tmp_path / "declared"
    with torch.no_grad():
        model.model.norm.weight.zero_()  # all logits are equal, and the first id is <|endoftext|>
    shutil.copytree(TINY, declared)
    model.save_pretrained(declared)
    (declared / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    settings = ["tracking=none", "task.limit=1", "method.max_thinking_tokens=12", "task.max_answer_tokens=8"]
    status, said = command(f"model.path={declared}", "hydra.run.dir=out", *settings)
    assert status == 0, said
    (line,) = (json.loads(row) for row in (tmp_path / "out" / "samples_tiny_math.jsonl").read_text().splitlines())
    assert (line["thinking_tokens"], line["answer_tokens"], line["end"]) == (0, 0, "natural")


# --- what the template is told ---


def test_arguments_reach_the_template(chat_of):
    template = TURNS + "{{ reasoning_effort }} {{ thinking_budget }} {{ deep.a }}" + ASK + "{% endif %}"
    chat = chat_of(template, arguments={"reasoning_effort": "high", "thinking_budget": 512, "deep": {"a": 1}, "typo": 2})
    assert "high 512 1<|im_start|>assistant" in chat.prompt("x").rendered
    assert chat.unread_arguments == ["typo"]
    assert chat_of(HYBRID, arguments={"enable_thinking": True}).unread_arguments == []


@pytest.mark.parametrize(("date", "day"), [(None, TODAY), ("2025-01-31", "2025-01-31"), ("2024-02-29", "2024-02-29")])
def test_one_day_for_all_runs(chat_of, date, day):
    macro = "{% macro today() %}{{ strftime_now('%Y-%m-%d') }}{% endmacro %}"
    chat = chat_of(macro + TURNS + "{{ today() }}" + ASK + "{% endif %}", date=date)
    assert f"<|im_end|>\n{day}<|im_start|>assistant" in chat.prompt("x").rendered


def test_a_date_that_was_set_is_the_templates_date_string_unless_an_argument_says_so(chat_of):
    template = "{{ date_string if date_string is defined else 'its own' }}" + TURNS + ASK + "{% endif %}"
    assert chat_of(template).prompt("x").rendered.startswith("its own")
    assert chat_of(template, date="2025-01-31").prompt("x").rendered.startswith("31 Jan 2025")
    chat = chat_of(template, date="2025-01-31", arguments={"date_string": "today"})
    assert chat.prompt("x").rendered.startswith("today")


def test_the_instruction_follows_the_question_and_no_later_turn(chat_of):
    chat = chat_of(OPENS, instruction="Put your final answer within \\boxed{}.")
    prompt = chat.prompt("1+1?")
    assert "user\n1+1?\n\nPut your final answer within \\boxed{}.<|im_end|>" in prompt.rendered
    later = prompt.followed([{"role": "assistant", "content": "2"}, {"role": "user", "content": "Sure?"}])
    assert later.rendered.count("boxed") == 1 and "Sure?<|im_end|>" in later.rendered
    assert "boxed{}.\n\nThink for up to 8 tokens.<|im_end|>" in prompt.with_suffix("Think for up to 8 tokens.").rendered


def test_a_template_that_refuses_is_a_sentence(chat_of):
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role here') }}{% endif %}" + TURNS
    chat = chat_of(refuses, system="Be brief.")
    with pytest.raises(ValueError, match=r"chat=think: .*template does not take .*\(system, user\): no system role here"):
        _ = chat.prompt("x").ids
    with pytest.raises(ValueError, match="no system role"):
        check(partial(none), context_length=99, temperature=0, chat=chat)
    assert chat_of(refuses).prompt("x").ids
    with pytest.raises(ValueError, match="enable_thinking=7"):
        _ = chat_of(TURNS + "{{ enable_thinking.a.b }}", arguments={"enable_thinking": 7}).prompt("x").ids
    with pytest.raises(SettingError, match="no system role"):
        example(RECORD, chat.tokenizer, chat_of(refuses, system="Be brief.").format)


def test_without_a_chat_template(chat_of):
    plain = {"thinking_start": "", "thinking_end": "", "thinking_stop": ("<|im_end|>",), "name": "plain"}
    chat = chat_of(None, **plain)
    assert chat.decode(chat.prompt("Question: 1+1?\nAnswer:").ids) == "Question: 1+1?\nAnswer:"
    assert not chat.ends_turns and chat_of(OPENS).ends_turns
    assert chat_of(None, **plain, system="S", instruction="I").prompt("Q").rendered == "S\n\nQ\n\nI"
    for changes in ({}, {"thinking_start": ""}, plain | {"arguments": {"enable_thinking": True}}):
        with pytest.raises(ValueError, match="no chat template; chat=plain asks in plain text"):
            _ = chat_of(None, **changes).prompt("x").ids
    with pytest.raises(SettingError, match="no chat template to train with"):
        example(RECORD, chat.tokenizer, chat.format)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("chat.date=yesterday", "chat.date=yesterday: must be a day as YYYY-MM-DD"),
        ("chat.date=2025-02-30", "chat.date=2025-02-30: must be a day"),
        ("chat.thinking_stop=['']", "chat.thinking_stop=['']: must be a list of tokens, each with some text"),
        ("chat.arguments.add_generation_prompt=false", "chat.arguments.add_generation_prompt: s1x itself says this"),
        ("chat.arguments.strftime_now=x", "set chat.date"),
        ("chat.argument.enable_thinking=false", "there is no such setting"),
        ("chat=think", "'</think>' is "),  # the tiny model has no such token
    ],
)
def test_bad_settings_are_sentences(command, override, said):
    status, printed = command(override, "task.limit=1", "tracking=none")
    assert status == 2 and said in printed and "Traceback" not in printed


@pytest.mark.parametrize("plus", ["", "+"])
def test_arguments_of_any_name(composed, plus):
    chat = composed(f"{plus}chat.arguments.enable_thinking=false", f"{plus}chat.arguments.deep.a=1").chat
    assert chat.arguments == {"enable_thinking": False, "deep": {"a": 1}}


# --- what is graded ---


@pytest.mark.parametrize(
    ("template", "text", "again"),
    [
        (HYBRID, "<think>\nhm", True),  # the model opened it
        (OPENS, "hm", True),  # the template did
        (HYBRID, "It is 5.", False),
        (HYBRID, "", False),
    ],
)
def test_a_stop_string_within_thinking_that_nobody_asked_for_ends_nothing(chat_of, template, text, again):
    chat = chat_of(template)
    run = none(Ask(chat.prompt("x"), chat, until=("\n\n",)), thinking=False, max_tokens=99)
    first = next(run)
    assert (first.stop.strings, first.limit) == (("\n\n",), 99)
    try:
        second = run.send(Span(chat.encode(text), "stop", 0, 9, chat.encode("\n\n")))
    except StopIteration:
        assert not again
    else:
        assert again and (second.prefix, second.stop.strings, second.limit) == (first.prefix, (), 99)


@pytest.mark.parametrize(
    ("template", "changes", "text", "graded"),
    [
        (HYBRID, {"thinking_start": ""}, "so \\boxed{5}", "so \\boxed{5}"),
        (HYBRID, {"thinking_start": "", "thinking_stop": ("</think>",)}, "\n\nIt is 5.", "\n\nIt is 5."),
        (HYBRID, {"thinking_start": ""}, "hm</think>5", "5"),
        (HYBRID, {}, "It is 5.", "It is 5."),
        (HYBRID, {}, "<think>\nhm", ""),  # never ended
        (OPENS, {}, "hm", ""),  # opened by the template, and never ended
        (OPENS, {}, "hm</think>\n\n5", "\n\n5"),
        (HYBRID, {"arguments": {"enable_thinking": False}}, "It is 5.", "It is 5."),
    ],
)
def test_what_is_graded_when_nobody_asked_for_thinking(chat_of, template, changes, text, graded):
    chat = chat_of(template, **changes)
    run = none(Ask(chat.prompt("x"), chat), thinking=False)
    read = next(run)
    with pytest.raises(StopIteration) as stop:
        run.send(Span(chat.encode(text), "stop", 0, 9, (0,)))
    trace: Trace = stop.value.value
    assert read.prefix == chat.prompt("x").ids and chat.answer_text(trace) == graded


def test_a_whole_run_with_arguments_and_an_instruction(command, tmp_path):
    """A hybrid model, thinking switched off: plain generation answers, budgets are refused; and a typo is said once."""
    model = tmp_path / "hybrid"
    shutil.copytree(TINY, model)
    template = (TINY / "chat_template.jinja").read_text()
    shut = "{% if add_generation_prompt and enable_thinking is false %}<|im_start|>think\n<|im_start|>answer\n{% endif %}"
    (model / "chat_template.jinja").write_text(template + shut)
    settings = [f"model.path={model}", "tracking=none", "task.limit=2", "chat.instruction='Be brief.'", "hydra.run.dir=out"]
    status, said = command(*settings, "chat.arguments.enable_thinking=false")
    assert status == 2 and "chat.arguments.enable_thinking=False: with this the model's chat template ends the thinking" in said
    status, said = command(*settings, "method=none", "+chat.arguments.enable_thinking=false", "+chat.arguments.effort=high")
    assert status == 0, said
    assert (tmp_path / "out" / "run.log").read_text().count("chat.arguments.effort: the chat template of tiny-s1 reads no") == 1
    cell = json.loads((tmp_path / "out" / "cell.json").read_text())
    assert cell["thinking_tokens"]["max"] == 0 and cell["settings"]["chat.arguments.enable_thinking"] is False
    assert cell["settings"]["chat.instruction"] == "Be brief."


def test_the_budget_auto_of_the_reference_is_that_of_the_longest_question(chat_of):
    chat = chat_of(OPENS)
    short, long = (Ask(chat.prompt("x" * n), chat, longest=lambda: 200) for n in (1, 5))
    assert len(short.head) < 190 and short.room_of_batch == short.room - 200 + len(short.head) == long.room_of_batch
    assert Ask(chat.prompt("x"), chat).room_of_batch == short.room
    limits = {c: next(budget_forcing(short, compat=c)).limit for c in (None, "s1")}
    assert limits == {None: short.room, "s1": short.room_of_batch}
