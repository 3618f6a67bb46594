"""Loading through transformers, without its talk: what matters of it reaches people in a line of ours."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)


def quiet() -> None:
    """No bars while weights are read and written, and no remarks on a model's files; errors still come."""
    from transformers.utils import logging as theirs

    theirs.disable_progress_bar()
    theirs.set_verbosity_error()


def causal_lm(source: str, **settings: Any) -> Any:
    """AutoModelForCausalLM.from_pretrained; says where the files lack weights, which are random then."""
    from transformers import AutoModelForCausalLM

    quiet()
    model, told = AutoModelForCausalLM.from_pretrained(source, output_loading_info=True, **settings)
    if lacking := sorted(told["missing_keys"]):
        names = f"{lacking[0]} and {len(lacking) - 1} more" if len(lacking) > 1 else lacking[0]
        log.warning(f"model.path={source}: its files lack {names}: these weights are random now")
    return model
