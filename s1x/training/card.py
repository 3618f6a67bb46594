"""The model card of a trained model: what it was made from, how, and how it went."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from omegaconf import DictConfig

from ..files import is_local, write_text


def write(folder: Path, base: str, facts: Mapping[str, Any], content: Mapping[str, Any], cfg: DictConfig) -> None:
    """Write README.md into the model's folder. base: name of the model it was; `facts`, `content`: those of training.json."""
    environment = Environment(loader=PackageLoader("s1x.training", "."), undefined=StrictUndefined, trim_blocks=True)
    text = environment.get_template("card.md.jinja").render(
        base=base, hub=not is_local(facts["base"]), facts=facts, content=content, cfg=cfg, data=facts["data"]
    )
    write_text(folder / "README.md", text)
