"""A small tokenizer with s1's delimiters, and a hash-function language model that speaks it."""

import re
from functools import cache

import pytest

from s1x.chat import Chat, ChatFormat
from s1x.engines.scripted import ScriptedEngine

SPOKEN = ["\n", *"0123456789", "think", "answer", "Wait", " so", " x", "=", "+", "."]  # what the model says, beside stops
OTHER = ["Final", " Answer", ":", "Hmm", "Alternatively", " steps", " left", "Think", " for", " up", " to", " tokens", "-"]
TOKENS = ["<|im_start|>", "<|im_end|>", *SPOKEN, *OTHER]
TOKENS += sorted({chr(i) for i in range(32, 127)} - set(TOKENS))
START, END = 0, 1
CONTEXT = 420


class Tokenizer:
    """Longest match; anything it has no token for is an error."""

    ids = {t: i for i, t in enumerate(TOKENS)}
    pattern = re.compile("|".join(re.escape(t) for t in sorted(TOKENS, key=len, reverse=True)))

    def encode(self, text, add_special_tokens=False):
        return [self.ids[t] for t in self.pattern.findall(text)]

    def decode(self, ids, **_):
        return "".join(TOKENS[i] for i in ids)

    def apply_chat_template(self, messages, tokenize=False, add_generation_prompt=True):
        turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        return turns + "<|im_start|>assistant\n" * add_generation_prompt


def make_chat(context_length=CONTEXT, **settings):
    return Chat(ChatFormat(**settings), Tokenizer(), context_length)


def make_engine(seed=0, start=250, end=100, **kw):
    """`start`, `end`: chance of the stop tokens per 10,000 tokens."""
    settings = {"vocab": len(SPOKEN), "first_id": 2, "ends": {START: start, END: end}, "context_length": CONTEXT, "capacity": 4}
    engine = ScriptedEngine(seed=seed, **{**settings, **kw})
    engine.next_token = cache(engine.next_token)
    return engine


@pytest.fixture
def chat():
    return make_chat()
