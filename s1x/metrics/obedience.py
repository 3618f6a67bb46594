"""Obedience to an instructed length: how far thinking is from the number of tokens that the prompt names (as L1 is measured,
arXiv 2503.04697). Control, beside it, only asks whether a limit is kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from .intervals import percentile_interval, resampled_means

NEAR = 0.2  # of the instructed number
NAMES = ("error", "within_20")


def line_obedience(line: dict[str, Any], instructed: int) -> tuple[float, float]:
    """Of a sample line, over the members of its pool if it is one: mean of |tokens - instructed| / instructed, and the share
    of chains within 20% of it. Tokens are thinking tokens."""
    tokens = np.array([chain["thinking_tokens"] for chain in line.get("samples") or [line]], dtype=float)
    errors = np.abs(tokens - instructed) / instructed
    return float(errors.mean()), float((errors <= NEAR).mean())


def obedience(questions: np.ndarray) -> dict[str, dict[str, Any]]:
    """Figures {value, ci95} by name, from values per question (questions, 2); the interval is a bootstrap over questions."""
    draws = resampled_means(questions)
    return {
        name: {"value": float(questions[:, at].mean()), "ci95": percentile_interval(draws[:, at])}
        for at, name in enumerate(NAMES)
    }
