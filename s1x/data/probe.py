"""Difficulty by trying: a model attempts every question of the pool through an engine and the store, and is graded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from omegaconf import DictConfig, OmegaConf

from ..chat import Chat, ChatFormat
from ..models.files import end_ids
from ..models.tokenizer import load_tokenizer
from . import asking, attempts, classify


def engine(cfg: DictConfig, model: Mapping[str, Any]):
    """The configured engine for one of `data.difficulty.models`; weights load at the first missing token."""
    from ..engines.build import build

    model = {"revision": None, "tokenizer": None, **model}
    stops = tuple(sorted(_chat(cfg, model, 0).answer_stops.ids))
    return build(OmegaConf.to_container(cfg.engine, resolve=True), model, stops)


def solved(cfg: DictConfig, table: pa.Table, name: str, settings: Mapping[str, Any]) -> list[bool | None]:
    """Per row: is model `name`'s one attempt right (None: not graded)? Questions that do not fit its context are unsolved."""
    from ..streams.accept import open_store

    model = settings["models"][name]
    opened = engine(cfg, model)
    chat = _chat(cfg, model, opened.context_length)
    questions, solutions = table["question"].to_pylist(), table["solution"].to_pylist()
    fits = [i for i, q in enumerate(questions) if q and len(chat.prompt(q).ids) < opened.context_length]
    store = open_store(Path(cfg.store.dir).expanduser(), opened.fingerprint, cfg.store.accept, cfg.store.fsync)
    try:
        texts: list[str | None] = [None] * len(questions)
        tried = attempts.attempts(
            opened,
            chat,
            store,
            [questions[i] for i in fits],
            max_tokens=settings["max_tokens"],
            temperature=settings["temperature"],
            seed=cfg.seed,
        )
        for i, text in zip(fits, tried):
            texts[i] = text
    finally:
        store.close()
        opened.close()
    if settings.get("judge"):
        return classify.judge(asking.Server(**settings["judge"]), questions, texts, solutions, Path(cfg.data.dir) / "asked")
    return attempts.grade(texts, solutions)


def _chat(cfg: DictConfig, model: Mapping[str, Any], context_length: int) -> Chat:
    ends = tuple(cfg.chat.answer_stop)
    plain = ChatFormat("plain", thinking_start="", thinking_end="", thinking_stop=ends, answer_stop=ends)
    tokenizer = load_tokenizer(model, "data.difficulty.models: path")
    return Chat(plain, tokenizer, context_length, end_ids(model["path"], model.get("revision")))
