"""Training texts token for token as s1 makes them (paper appendix D and E.1), and which tokens are learned."""

import pytest

from s1x.chat import ChatFormat
from s1x.data.format import encode, example, power_of_two
from s1x.errors import SettingError
from s1x.tiny import tokenizer as tiny_tokenizer

QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
THINK = ChatFormat(
    "think", thinking_start="<think>\n", thinking_end="</think>\n\n", final_answer="Final Answer:", thinking_stop=("</think>",)
)


@pytest.fixture(scope="module")
def qwen():
    """A small byte-level tokenizer under Qwen2.5's own system prompt, with <think> tags as special tokens."""
    texts = ["think answer Think for up to 512 tokens. steps left Final Answer: 42 Let x be a number."] * 30
    tokenizer = tiny_tokenizer.build(texts)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    tokenizer.chat_template = tokenizer.chat_template.replace(tiny_tokenizer.SYSTEM, QWEN_SYSTEM)
    return tokenizer


def whole(formatted):
    return formatted.prompt + formatted.completion


HEAD = f"<|im_start|>system\n{QWEN_SYSTEM}<|im_end|>\n<|im_start|>user\n"
RECORD = {"question": "What is 6*7?", "thinking": "\nSix sevens.\n\nThat is 42. ", "answer": "It is 42.\n"}


def test_s1_layout(qwen):
    expected = (
        f"{HEAD}What is 6*7?<|im_end|>\n<|im_start|>assistant\n<|im_start|>think\nSix sevens.\n\nThat is 42.\n"
        "<|im_start|>answer\nAnswer: It is 42.<|im_end|>\n"
    )
    formatted = example(RECORD, qwen, ChatFormat())
    assert whole(formatted) == expected
    encoded = encode(formatted, qwen)
    assert encoded["input_ids"] == qwen(expected, add_special_tokens=False)["input_ids"]  # as one text, like s1
    learned = [i for i, m in zip(encoded["input_ids"], encoded["completion_mask"]) if m]
    assert qwen.decode(learned) == formatted.completion  # loss on trace and answer, up to the end of the turn


def test_an_answer_that_says_answer_gets_no_second_one(qwen):
    completion = example({**RECORD, "answer": "Final Answer: 42"}, qwen, ChatFormat()).completion
    assert completion.endswith("<|im_start|>answer\nFinal Answer: 42<|im_end|>\n")


def test_a_system_prompt_of_the_chat_format_replaces_the_templates(qwen):
    prompt = example(RECORD, qwen, ChatFormat(system="Be brief.")).prompt
    assert prompt.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n") and QWEN_SYSTEM not in prompt


def test_think_tags(qwen):
    formatted = example(RECORD, qwen, THINK)
    assert formatted.completion == "<think>\nSix sevens.\n\nThat is 42.\n</think>\n\nAnswer: It is 42.<|im_end|>\n"
    assert encode(formatted, qwen)["input_ids"] == qwen(whole(formatted), add_special_tokens=False)["input_ids"]


def test_a_template_that_rewrites_thinking_does_not_touch_it(qwen):
    kept = qwen.chat_template
    qwen.chat_template = kept.replace("message['content']", "message['content'].split('</think>')[-1]")
    try:
        assert "Six sevens." in example(RECORD, qwen, THINK).completion
    finally:
        qwen.chat_template = kept


@pytest.mark.parametrize(
    ("n", "bucket"), [(0, 1), (1, 1), (2, 2), (3, 4), (1023, 1024), (1024, 1024), (1025, 2048), (9109, 16384)]
)
def test_buckets_are_powers_of_two_rounded_up(n, bucket):
    assert power_of_two(n) == bucket


def test_token_conditional(qwen):
    thinking = "x" * 33
    assert len(qwen(thinking, add_special_tokens=False)["input_ids"]) == 33
    formatted = example({**RECORD, "thinking": thinking}, qwen, ChatFormat(), control="tokens")
    assert f"{HEAD}What is 6*7?\n\nThink for up to 64 tokens.<|im_end|>\n" in formatted.prompt
    assert formatted.completion == f"<|im_start|>think\n{thinking}\n<|im_start|>answer\nAnswer: It is 42.<|im_end|>\n"


def test_step_conditional(qwen):
    record = {**RECORD, "thinking": "First.\n\nSecond,\ntwo lines.\n\n\n\nThird."}
    formatted = example(record, qwen, ChatFormat(), control="steps")
    assert formatted.prompt.endswith("user\nWhat is 6*7?\n\nThink for up to 4 steps.<|im_end|>\n<|im_start|>assistant\n")
    assert formatted.completion == (
        "<|im_start|>4 steps left\nFirst.\n<|im_start|>3 steps left\nSecond,\ntwo lines.\n<|im_start|>2 steps left\nThird.\n"
        "<|im_start|>answer\nAnswer: It is 42.<|im_end|>\n"
    )
    assert encode(formatted, qwen)["input_ids"] == qwen(whole(formatted), add_special_tokens=False)["input_ids"]


def marked(record, span_text):
    at = record["thinking"].index(span_text)
    return {**record, "slips": [[at, at + len(span_text)]]}


@pytest.mark.parametrize(
    ("control", "chat"), [(None, ChatFormat()), (None, THINK), ("tokens", ChatFormat()), ("steps", ChatFormat())]
)
def test_slips_are_not_learned(qwen, control, chat):
    record = marked({**RECORD, "thinking": "\n 1:3*4=12\n2:12+5=18\nSo 18.\n"}, "18")
    formatted = example(record, qwen, chat, control=control, step_separator="\n")
    ((start, end),) = formatted.unlearned
    assert formatted.completion[start:end] == "18"
    encoded = encode(formatted, qwen)
    prompt = len(qwen(formatted.prompt, add_special_tokens=False)["input_ids"])
    silent = [i for i, m in zip(encoded["input_ids"][prompt:], encoded["completion_mask"][prompt:]) if not m]
    assert qwen.decode(silent) == "18"
    assert not any(encoded["completion_mask"][:prompt])


def test_a_token_that_touches_a_slip_is_not_learned(qwen):
    record = marked({**RECORD, "thinking": "Let think be"}, "hin")
    encoded = encode(example(record, qwen, ChatFormat()), qwen)
    prompt = encoded["completion_mask"].index(1)
    silent = [i for i, m in zip(encoded["input_ids"][prompt:], encoded["completion_mask"][prompt:]) if not m]
    assert qwen.decode(silent) == "think"


def test_text_outside_ascii_keeps_its_spans(qwen):
    record = marked({**RECORD, "thinking": "é½ → 18 ∎"}, "18")
    formatted = example(record, qwen, ChatFormat())
    ((start, end),) = formatted.unlearned
    assert formatted.completion[start:end] == "18"
    assert encode(formatted, qwen)["completion_mask"].count(0) == len(qwen(formatted.prompt)["input_ids"]) + 2


def test_missing_thinking_and_answer_do_not_fail(qwen):
    formatted = example({"question": "Q", "thinking": None, "answer": None}, qwen, ChatFormat(), control="steps")
    assert formatted.completion == "<|im_start|>1 steps left\n\n<|im_start|>answer\nAnswer:<|im_end|>\n"


def test_an_unknown_control_is_a_sentence(qwen):
    with pytest.raises(SettingError, match="data.control=words: must be null, tokens or steps"):
        example(RECORD, qwen, ChatFormat(), control="words")
