"""The model that scores, from the group `scorer`: its strings, its engine, and where scores are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..models.facts import model_facts
from ..models.tokenizer import load_tokenizer
from ..scorer import Scorer, ScorerFormat
from ..streams.engine import EngineError
from ..streams.memory import MemoryStore
from ..streams.scheduler import Model
from ..streams.scores import MemoryScores, ScoreStore

STRINGS = tuple(field.name for field in fields(ScorerFormat))
TOGETHER, BESIDE = 0.9, (0.6, 0.3)  # of a GPU's memory: both models; policy and scorer, where neither says
_SHARE = "gpu_memory_utilization"
_OF_ONE_MODEL = ("model_id", "lora")  # engine settings that say which weights are meant
_NAMED = re.compile(r"(?<![\w.])(engine\.(?=[a-z])|model\.(?=path|revision|tokenizer))")


def format_of(scorer: Mapping[str, Any] | None) -> ScorerFormat | None:
    """The strings of the resolved group `scorer`, None for none. Raises ValueError (a sentence) for what makes no sense."""
    if not scorer or scorer.get("name") == "none":
        return None
    if unknown := [key for key in scorer if key not in (*STRINGS, "model", "engine")]:
        raise ValueError(f"scorer.{unknown[0]}: there is no such setting; there are {', '.join((*STRINGS, 'model', 'engine'))}")
    if not (scorer.get("model") or {}).get("path"):
        raise ValueError(f"scorer={scorer.get('name')}: scorer.model.path must say where the model is (a folder or a hub id)")
    return ScorerFormat(**{key: value for key, value in scorer.items() if key in STRINGS})


def engine_of(engine: Mapping[str, Any], scorer: Mapping[str, Any], policy: str | None = None) -> dict[str, Any]:
    """Engine settings of the scorer: those of the policy with `scorer.engine` in their place, or that alone where it names an
    engine of its own. policy: path of the policy's model, of which nothing holds for another one. Raises ValueError where
    both want more of a GPU than there is."""
    own = scorer.get("engine") or {}
    if "_target_" not in own:
        same = policy is None or policy == (scorer.get("model") or {}).get("path")
        own = {key: value for key, value in engine.items() if same or key not in _OF_ONE_MODEL} | own
    shares = _shares(engine, scorer)
    return dict(own) | ({_SHARE: shares[1]} if shares else {})


def beside(engine: Mapping[str, Any], scorer: Mapping[str, Any] | None) -> dict[str, Any]:
    """Engine settings of the policy, which leaves room for a scorer on its GPUs. Raises ValueError as engine_of."""
    shares = _shares(engine, scorer) if format_of(scorer) else None
    return dict(engine) | ({_SHARE: shares[0]} if shares else {})


def _shares(engine: Mapping[str, Any], scorer: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """What policy and scorer have of a GPU's memory, where both are embedded engines that ask for a share of it."""
    own = (scorer or {}).get("engine") or {}
    if _SHARE not in (own if "_target_" in own else engine) or _SHARE not in engine:
        return None
    policy, second = engine[_SHARE], own.get(_SHARE)
    if policy is None and second is None:
        return BESIDE
    policy, second = (round(TOGETHER - other, 3) if one is None else one for one, other in ((policy, second), (second, policy)))
    if policy <= 0 or second <= 0 or policy + second > 1:
        raise ValueError(
            f"engine.{_SHARE}={policy:g} and scorer.engine.{_SHARE}={second:g}: two models on the same GPUs need a share each, "
            f"1 in all at most (null: {BESIDE[0]} and {BESIDE[1]}), or scorer.engine._target_ says where else the scorer runs"
        )
    return policy, second


def model_of(scorer: Mapping[str, Any]) -> dict[str, Any]:
    return {"revision": None, "tokenizer": None, **scorer["model"]}


def open_scorer(
    engine: Mapping[str, Any],
    scorer: Mapping[str, Any] | None,
    directory: Path | None,
    *,
    policy: str | None = None,
    writable: bool = True,
    fsync: bool = False,
) -> tuple[Scorer, Model] | None:
    """The scorer of the resolved groups `engine` and `scorer`, and its model; None for none.

    directory, writable, fsync: of the store. policy: see engine_of. Raises ValueError, SettingError or EngineError (a
    sentence), also where the engine cannot score what the scorer needs: servers are asked.
    """
    from ..engines.build import build

    if (strings := format_of(scorer)) is None:
        return None
    assert scorer is not None
    model = model_of(scorer)
    bound = Scorer(strings, load_tokenizer(model, "scorer.model.path"))
    bound.of  # noqa: B018  raises where a label is no token
    with _of_the_scorer():
        built = build(engine_of(engine, scorer, policy), model)
        try:
            fingerprint = built.fingerprint
            kind, able = "head" if bound.of == "head" else "labels", built.scores
            if kind not in able:
                needs = "outputs of a value head (scorer.labels=null)" if kind == "head" else "probabilities of scorer.labels"
                raise ValueError(
                    f"scorer={strings.name} needs {needs}, and its engine says {_list(able)} of {model['path']}; "
                    "choose another scorer.engine or scorer.model.path"
                )
        except BaseException:
            built.close()
            raise
    scores = MemoryScores() if directory is None else ScoreStore(directory, fingerprint, writable=writable, fsync=fsync)
    return bound, Model(built, MemoryStore(), scores=scores)


def sizes_of(engine: Mapping[str, Any], scorer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Sizes of the scorer's model (models.facts); None for none, and for an engine without a model."""
    from ..engines.build import needs_model

    if format_of(scorer) is None or not needs_model(engine_of(engine, scorer or {})):
        return None
    model = model_of(scorer or {})
    return model_facts(model["path"], model["revision"])


def _list(able: frozenset[str]) -> str:
    said = {"head": "outputs of a value head", "labels": "probabilities of labels", "next": "those of what is there"}
    return " and ".join(words for kind, words in said.items() if kind in able) or "nothing"


@contextmanager
def _of_the_scorer() -> Iterator[None]:
    """What is wrong with an engine or a model is said of the scorer's."""
    try:
        yield
    except (ValueError, EngineError) as error:
        kind = ValueError if isinstance(error, ValueError) else EngineError
        raise kind(_NAMED.sub(r"scorer.\1", str(error))) from error
