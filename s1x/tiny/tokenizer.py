"""The laptop world's tokenizer: byte-level BPE with single digits, three special tokens and a Qwen-style chat template."""

from __future__ import annotations

import random
from collections.abc import Iterable

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SYSTEM = "You are Tiny."
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(texts: Iterable[str], vocab_size: int = 512, max_length: int = 2048):
    """Learn merges on `texts`; digits and punctuation stay single tokens, frequent words become one."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?[A-Za-z]+|\d|[^\sA-Za-z\d]|\s"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=20,
            special_tokens=SPECIALS,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tok,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIALS[1:2],
        chat_template=CHAT_TEMPLATE,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def corpus(seed: int = 0, n: int = 6000) -> list[str]:
    """The texts the shipped tokenizer was built on: questions, traces and the words of s1's prompts."""
    from . import notes, problems

    rng = random.Random(seed)
    fixed = (
        "<|im_start|>think <|im_start|>answer\nFinal Answer: A B C D. Wait Hmm Alternatively, check redo all steps checked.\n"
        "Think for up to 512 tokens. Think for up to 8 steps. steps left user assistant system You are Tiny. Do check to"
    )
    texts = [fixed] * 100
    for _ in range(n):
        problem = problems.sample(rng, rng.randint(1, 6))
        if rng.random() < 0.2:
            problem = problems.with_choices(rng, problem)
        texts.append(f"{problem.question}\n{notes.trace(rng, problem).text}Final Answer: {problem.answer}")
    return texts
