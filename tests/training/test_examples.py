from __future__ import annotations

import pytest

from s1x.chat import ChatFormat
from s1x.errors import SettingError
from s1x.training.examples import UNLEARNED, Encoded, check, encode_all, order

WHOLE = {"id": "a", "question": "q", "thinking": "t", "answer": "a"}


def encoded(records, tokenizer, **changes) -> Encoded:
    return encode_all(records, tokenizer, ChatFormat(), **{"max_length": 2048, "name": "pool"} | changes)


def test_loss_falls_on_thinking_answer_and_end_of_turn_but_not_on_slips(records, tokenizer):
    slipped = next(r for r in records if r["slips"])
    rows = encoded([slipped], tokenizer)
    ids, labels = rows.input_ids[0], rows.labels[0]
    text = tokenizer.decode(ids)
    prompt = (
        f"<|im_start|>system\nYou are Tiny.<|im_end|>\n<|im_start|>user\n{slipped['question']}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    thinking = slipped["thinking"].strip()
    assert text == f"{prompt}<|im_start|>think\n{thinking}\n<|im_start|>answer\n{slipped['answer']}<|im_end|>\n"

    learned = tokenizer.decode([t for t, label in zip(ids, labels) if label != UNLEARNED])
    kept = "".join(c for i, c in enumerate(thinking) if not any(a <= i < b for a, b in slipped["slips"]))
    assert learned == f"<|im_start|>think\n{kept}\n<|im_start|>answer\n{slipped['answer']}<|im_end|>\n"
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in labels
    assert all(label in (token, UNLEARNED) for token, label in zip(ids, labels))


PROMPT = (
    "<|im_start|>system\nYou are Tiny.<|im_end|>\n<|im_start|>user\nWhat is 6*7?{suffix}<|im_end|>\n<|im_start|>assistant\n"
)
THINK = ChatFormat("think", thinking_start="<think>\n", thinking_end="</think>\n\n")


@pytest.mark.parametrize(
    ("chat", "control", "suffix", "completion"),
    [
        (ChatFormat(), None, "", "<|im_start|>think\nSix.\n\nSo 42.\n<|im_start|>answer\nAnswer: 42<|im_end|>\n"),
        (THINK, None, "", "<think>\nSix.\n\nSo 42.\n</think>\n\nAnswer: 42<|im_end|>\n"),
        (
            ChatFormat(),
            "tokens",
            "\n\nThink for up to {bucket} tokens.",
            "<|im_start|>think\nSix.\n\nSo 42.\n<|im_start|>answer\nAnswer: 42<|im_end|>\n",
        ),
        (
            ChatFormat(),
            "steps",
            "\n\nThink for up to 2 steps.",
            "<|im_start|>2 steps left\nSix.\n<|im_start|>1 steps left\nSo 42.\n<|im_start|>answer\nAnswer: 42<|im_end|>\n",
        ),
    ],
)
def test_each_format_is_token_for_token_that_of_the_paper(tokenizer, chat, control, suffix, completion):
    """s1's (appendix D), with <think> tags, and for the two kinds of conditional control (appendix E.1, figure 10)."""
    thinking = "Six.\n\nSo 42."
    n = len(tokenizer.encode(thinking, add_special_tokens=False))
    bucket = next(2**k for k in range(20) if 2**k >= n)  # rounded upwards
    prompt = PROMPT.format(suffix=suffix.format(bucket=bucket))
    record = {"question": "What is 6*7?", "thinking": f"\n{thinking}\n", "answer": "42"}
    rows = encode_all([record], tokenizer, chat, max_length=2048, name="pool", control=control)
    assert rows.input_ids == [tokenizer.encode(prompt + completion, add_special_tokens=False)]
    learned = tokenizer.encode(completion, add_special_tokens=False)
    assert rows.labels == [[UNLEARNED] * (len(rows.input_ids[0]) - len(learned)) + learned]


def test_long_records_are_cut_and_counted(records, tokenizer):
    whole = encoded(records, tokenizer)
    lengths = [len(ids) for ids in whole.input_ids]
    limit = sorted(lengths)[len(lengths) // 2]
    short = encoded(records, tokenizer, max_length=limit)
    assert short.cut == sum(n > limit for n in lengths) > 0 and short.longest == max(lengths)
    assert max(map(len, short.input_ids)) == limit
    assert short.facts()["cut_share"] == short.cut / len(records) and whole.facts()["cut"] == 0


def test_a_cut_that_leaves_nothing_to_learn_is_refused(records, tokenizer):
    with pytest.raises(SettingError, match="train.max_length=8: the prompt of record"):
        encoded(records, tokenizer, max_length=8)


def test_encoded_examples_survive_their_file(records, tokenizer, tmp_path):
    rows = encoded(records[:5], tokenizer, max_length=100)
    rows.save(tmp_path / "examples.parquet")
    assert Encoded.load(tmp_path / "examples.parquet") == rows


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ([], r"there is no record to train on \(3 in the pool\); training needs records with the columns question"),
        ([{"question": "q", "thinking": "t"}], "1 of 1 records have no answer or an empty one .*; training needs question"),
        ([WHOLE, WHOLE | {"id": "b", "thinking": " \n"}], r"1 of 2 records have no thinking or an empty one \(the first: b\)"),
        ([WHOLE | {"answer": None}], "have no answer"),
    ],
)
def test_bad_records_are_sentences(broken, sentence):
    with pytest.raises(SettingError, match=f"data=mine: .*{sentence}"):
        check(broken, "mine", "3 in the pool")


def test_every_epoch_holds_every_example_and_the_last_batch_is_filled_from_its_beginning():
    lengths = [10 * (i % 7) + 5 for i in range(50)]
    indices = order(lengths, epochs=3, batch=16, seed=1)
    assert len(indices) == 3 * 64
    for epoch in range(3):
        part = indices[64 * epoch : 64 * (epoch + 1)]
        assert sorted(set(part)) == list(range(50))
        assert set(part[48:]) - set(part[:16]) == set(range(50)) - set(part[:48])  # two new ones, the rest from the first batch
    assert indices[:64] != indices[64:128]


def test_the_order_depends_on_the_seed_alone_and_puts_the_longest_of_a_batch_first():
    lengths = [(37 * i) % 101 for i in range(64)]
    indices = order(lengths, epochs=1, batch=16, seed=5)
    assert indices == order(lengths, epochs=1, batch=16, seed=5) != order(lengths, epochs=1, batch=16, seed=6)
    for start in range(0, 64, 16):
        batch = [lengths[i] for i in indices[start : start + 16]]
        assert batch == sorted(batch, reverse=True)


def test_fewer_examples_than_a_batch_are_repeated():
    counts = [order([1, 2, 3], epochs=1, batch=8, seed=0).count(i) for i in range(3)]
    assert sorted(counts) == [2, 3, 3]
