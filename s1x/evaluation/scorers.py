"""The model that scores, from the group `scorer`: its strings, its engine, and where scores are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..models.facts import model_facts
from ..models.tokenizer import load_tokenizer
from ..scorer import Scorer, ScorerFormat
from ..streams.memory import MemoryStore
from ..streams.scheduler import Model
from ..streams.scores import MemoryScores, ScoreStore

STRINGS = tuple(field.name for field in fields(ScorerFormat))


def format_of(scorer: Mapping[str, Any] | None) -> ScorerFormat | None:
    """The strings of the resolved group `scorer`, None for none. Raises ValueError (a sentence) for what makes no sense."""
    if not scorer or scorer.get("name") == "none":
        return None
    if unknown := [key for key in scorer if key not in (*STRINGS, "model", "engine")]:
        raise ValueError(f"scorer.{unknown[0]}: there is no such setting; there are {', '.join((*STRINGS, 'model', 'engine'))}")
    if not (scorer.get("model") or {}).get("path"):
        raise ValueError(f"scorer={scorer.get('name')}: scorer.model.path must say where the model is (a folder or a hub id)")
    return ScorerFormat(**{key: value for key, value in scorer.items() if key in STRINGS})


def engine_of(engine: Mapping[str, Any], scorer: Mapping[str, Any]) -> dict[str, Any]:
    """Engine settings of the scorer: those of the policy with `scorer.engine` in their place, or that alone where it names an
    engine of its own."""
    own = scorer.get("engine") or {}
    return dict(own) if "_target_" in own else {**engine, **own}


def model_of(scorer: Mapping[str, Any]) -> dict[str, Any]:
    return {"revision": None, "tokenizer": None, **scorer["model"]}


def open_scorer(
    engine: Mapping[str, Any],
    scorer: Mapping[str, Any] | None,
    directory: Path | None,
    *,
    writable: bool = True,
    fsync: bool = False,
) -> tuple[Scorer, Model] | None:
    """The scorer of the resolved groups `engine` and `scorer`, and its model; None for none.

    directory, writable, fsync: of the store. Raises ValueError or SettingError (a sentence).
    """
    from ..engines.build import build

    if (strings := format_of(scorer)) is None:
        return None
    assert scorer is not None
    model = model_of(scorer)
    bound = Scorer(strings, load_tokenizer(model, "scorer.model.path"))
    bound.of  # noqa: B018  raises where a label is no token
    built = build(engine_of(engine, scorer), model)
    scores = MemoryScores() if directory is None else ScoreStore(directory, built.fingerprint, writable=writable, fsync=fsync)
    return bound, Model(built, MemoryStore(), scores=scores)


def sizes_of(engine: Mapping[str, Any], scorer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Sizes of the scorer's model (models.facts); None for none, and for an engine without a model."""
    from ..engines.build import needs_model

    if format_of(scorer) is None or not needs_model(engine_of(engine, scorer or {})):
        return None
    model = model_of(scorer or {})
    return model_facts(model["path"], model["revision"])
