"""What a command imports, imported once: commands that are killed while they work are forked from here (commands.py)."""

from pathlib import Path

import lm_eval.tasks  # noqa: F401
import matplotlib.backends.backend_agg  # noqa: F401
import matplotlib.figure  # noqa: F401
import rich.progress  # noqa: F401

import run  # noqa: F401
import s1x.report.aggregate  # noqa: F401
import s1x.report.render  # noqa: F401
import s1x.stages.evaluate  # noqa: F401
import s1x.tasks  # noqa: F401
import s1x.tasks.library  # noqa: F401
from s1x.models.tokenizer import load_tokenizer

load_tokenizer({"path": Path(__file__).parents[2] / "s1x" / "tiny" / "models" / "tiny-s1"})  # transformers imports lazily
