"""The best of several cells, chosen on one half of the questions and measured on the other, and the other way round.

Two-fold cross-fitting (Chernozhukov et al. 2018, section 3): no question helps to choose the cell it is then counted for, so
the luck that makes a cell look best is not counted as its merit. The halves are fixed: a question is always in the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np


def halves(questions: Iterable[Any]) -> np.ndarray:
    """Whether each question is in the first half, by a hash of its id. The halves need not be of the same size."""
    return np.array([blake2b(str(q).encode(), digest_size=1).digest()[0] % 2 == 0 for q in questions], dtype=bool)


def chosen(scores: np.ndarray, half: np.ndarray, among: Sequence[int] | None = None) -> tuple[int, int]:
    """The columns of `scores` (questions, cells) with the highest mean on the first half and on the second; of equals the
    first.

    among: the columns that may be chosen, all by default. Raises ValueError when a half is empty.
    """
    if not half.any() or half.all():
        raise ValueError("cross-fitting: one half of the questions is empty; more questions are needed")
    columns = list(range(scores.shape[1]) if among is None else among)
    first, second = (columns[int(scores[rows][:, columns].mean(0).argmax())] for rows in (half, ~half))
    return first, second


def measured(scores: np.ndarray, half: np.ndarray, picked: tuple[int, int]) -> np.ndarray:
    """Per question the score of the cell that was picked on the half it is not in."""
    first, second = picked
    return np.where(half, scores[:, second], scores[:, first])
