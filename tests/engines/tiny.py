"""The model that ships with s1x, its chat and some of its questions, for tests of real engines."""

from __future__ import annotations

import random
from pathlib import Path

import s1x
from s1x.chat import Chat, ChatFormat
from s1x.models.tokenizer import load_tokenizer

MODEL = str(Path(s1x.__file__).parent / "tiny" / "models" / "tiny-s1")
VOCABULARY, PADDED, CONTEXT = 422, 512, 2048


def chat() -> Chat:
    return Chat(ChatFormat(), load_tokenizer({"path": MODEL}), CONTEXT)


def questions(n: int) -> list[str]:
    from s1x.tiny import problems

    rng = random.Random(1)
    return [problems.sample(rng, rng.randint(2, 6)).question for _ in range(n)]
