"""The tiny pool: 4000 questions with reasoning traces, the laptop analog of s1's 59K (paper section 2.1).

Like a crawled pool it is not clean: 15% of the records are damaged (a trace cut short, characters lost, or a wrong final
answer), many questions are easy, and a trace that stopped before the check it needed ends in a wrong answer. The data
stage's quality, difficulty and diversity steps make the tiny s1K from it. experiments/data_pipeline/pool.py makes the pool.
"""

from __future__ import annotations

import re
from pathlib import Path

from . import benchmarks

SHIPPED = Path(__file__).parent / "data" / "pool.parquet"

_FAST = r"\d:\d{3}[-+*]\d{1,3}=\d{3}\n"
_SO = r"So \d{3}\.\n"
_COLUMNS = r"(?: \d[-+*]\d(?:[-+]\d)?=\d{2}| \d{2,3})+"
_CHECK = rf"(?:Wait|Hmm), check \d:\d{{3}}[-+*]\d{{1,3}}{_COLUMNS}\.\n(?:{_FAST})*"
FORMAT = rf"(?:{_FAST})+{_SO}(?:(?:{_CHECK}|Alternatively, redo\.\n(?:{_FAST})+|Wait, all steps checked\.\n){_SO})*"
"""What a whole, undamaged trace looks like (a regular expression for the full text)."""


def load() -> list[dict]:
    """The shipped pool: `build()` with `base_correct`: whether the tiny base model's own plain answer is right."""
    import pyarrow.parquet as pq

    return pq.read_table(SHIPPED).to_pylist()


def damaged(table) -> list[bool]:
    """Quality filter: the trace is not whole (a table column `thinking` in, one flag per row out)."""
    whole = re.compile(FORMAT)
    return [whole.fullmatch(text or "") is None for text in table["thinking"].to_pylist()]


def benchmark_rows() -> list[dict]:
    """The questions of all splits of the tiny tasks, for decontamination."""
    return [row for split in benchmarks.SEEDS for task in ("tiny_math", "tiny_mc") for row in benchmarks.rows(task, split)]
