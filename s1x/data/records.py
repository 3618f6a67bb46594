"""What a record is, and how rows of any origin become one clean table.

A pool is a `pyarrow.Table`. Text columns: `id, question, thinking, answer, solution, domain, source` (any may be null);
other columns (labels such as `base_correct`, `length`, `slips`) pass through. Hostile rows never raise here: text is made
valid, and the quality filters drop and count what is broken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import SettingError

TEXT = ("id", "question", "thinking", "answer", "solution", "domain", "source")


def question_id(question: str) -> str:
    """The content key of a question: the first 16 hex digits of its sha256 (s1's own key, `data/gemini.py`)."""
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def clean(value: Any) -> str | None:
    """A value as valid text: lists are joined by newlines (s1 stores traces as lists), lone surrogates become U+FFFD."""
    if value is None or value != value:  # null, or a float NaN as pandas writes it
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple)):
        return "\n".join(filter(None, map(clean, value)))
    text = value if isinstance(value, str) else str(value)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def table(rows: Iterable[Mapping[str, Any]], source: str) -> pa.Table:
    """Rows as a table: text columns cleaned, `id` and `source` filled in where the row has none."""
    rows = list(rows)
    names = list(dict.fromkeys([*TEXT, *(name for row in rows for name in row)]))
    columns: dict[str, list] = {name: [row.get(name) for row in rows] for name in names}
    for name in TEXT:
        columns[name] = [clean(value) for value in columns[name]]
    columns["id"] = [i or question_id(q or "") for i, q in zip(columns["id"], columns["question"])]
    columns["source"] = [s or source for s in columns["source"]]
    return pa.table({name: _array(name, values) for name, values in columns.items()})


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of all rows in order; a column that a table lacks is null there."""
    if not tables:
        return table([], "")
    return pa.concat_tables(tables, promote_options="permissive")


def column(table: pa.Table, name: str, needed_by: str) -> list:
    """A column as a list; a SettingError that says which setting needs it when it is not there."""
    if name not in table.column_names:
        raise SettingError(f"{needed_by}: the pool has no column {name!r}; it has {', '.join(table.column_names)}")
    return table[name].to_pylist()


def digest(table: pa.Table) -> str:
    """A hash of the rows alone (32 hex digits): the same whatever wrote the file and however it is chunked."""
    h = hashlib.blake2b(digest_size=16)
    for name in sorted(table.column_names):
        h.update(f"\n{name}\n".encode())
        values = table[name]
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            values = values.cast(pa.large_binary())
            h.update(pc.fill_null(pc.binary_length(values), -1).to_numpy().tobytes())
            for chunk in values.chunks:
                _, offsets, data = chunk.buffers()
                begin, end = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1][[0, -1]]
                if data is not None:
                    h.update(memoryview(data)[begin:end])
        else:
            h.update(json.dumps(values.to_pylist(), sort_keys=True, default=str).encode("utf-8", "surrogatepass"))
    return h.hexdigest()


def _array(name: str, values: list) -> pa.Array:
    if name in TEXT:
        return pa.array(values, pa.large_string())
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):  # mixed types in a column we only pass on
        return pa.array(
            [v if v is None else clean(v if isinstance(v, str) else json.dumps(v, default=str)) for v in values],
            pa.large_string(),
        )
