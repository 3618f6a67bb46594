"""What W&B calls things: names that it would refuse are mended before anything starts.

Limits of wandb 0.31 (`Settings.validate_project`, `validate_run_id`, `validate_tags`, `artifacts/_validators.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

LONGEST, TAG, ID = 128, 64, 64  # characters of a name, of a tag, of a run's id (what WANDB_RUN_ID may hold)
REFUSED = "/\\#?%:"
QUOTES = "'\"`"  # which filters of reports cannot hold
IN_IDS = ",;"  # refused there besides
SWEEP = "s1x_sweep"  # the key of a run's configuration by which reports find the runs of a sweep: its group


def clean(name: str, most: int = LONGEST, refused: str = REFUSED + QUOTES) -> str:
    """A name for a run or a group: what W&B would refuse becomes a dash. Long names that differ stay different."""
    text = "".join("-" if c in refused or not c.isprintable() else c for c in name).strip() or "-"
    return text if len(text) <= most else f"{text[: most - 9]}-{blake2b(name.encode(), digest_size=4).hexdigest()}"


def run_id(name: str) -> str:
    """An id for a run."""
    return clean(name, ID, REFUSED + QUOTES + IN_IDS)


def artifact(name: str) -> str:
    """A name for an artifact: letters, digits, `_`, `-` and `.` alone."""
    return clean(re.sub(r"[^A-Za-z0-9_.-]+", "-", name))


def metric(name: str) -> str:
    """A name that may stand before a slash in a metric's: a dot would make it a part of another."""
    return clean(re.sub(r"[^\w-]+", "_", name).strip("_") or "_", TAG)


def tags(given: Iterable[str]) -> list[str]:
    """Tags of 1 to 64 characters, each once."""
    return list(dict.fromkeys(clean(tag, TAG) for tag in map(str, given) if tag.strip()))
