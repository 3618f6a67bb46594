"""From a data set's records to what the trainer reads: token ids, labels, and the order of all steps.

The order is one fixed list for the whole training, so it does not depend on the number of devices, and a killed run goes on
with the very next example.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from ..chat import ChatFormat
from ..data.format import encode, example
from ..errors import SettingError
from ..files import beside

NEEDED = ("question", "thinking", "answer")
UNLEARNED = -100  # the label that PyTorch's cross entropy leaves out


@dataclass
class Encoded:
    """`input_ids` and `labels` of each record (equally long lists), and what was cut."""

    input_ids: list[list[int]]
    labels: list[list[int]]
    cut: int
    longest: int  # tokens of the longest record before any cut

    def __len__(self) -> int:
        return len(self.input_ids)

    def save(self, file: Path) -> None:
        """Write to a parquet file, in one step."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(
            {"input_ids": pa.array(self.input_ids, pa.list_(pa.int32())), "labels": pa.array(self.labels, pa.list_(pa.int32()))}
        )
        table = table.replace_schema_metadata({"cut": str(self.cut), "longest": str(self.longest)})
        with beside(file) as part:
            pq.write_table(table, part)

    @classmethod
    def load(cls, file: Path) -> Encoded:
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        about = {key.decode(): int(value) for key, value in table.schema.metadata.items() if key in (b"cut", b"longest")}
        return cls(table["input_ids"].to_pylist(), table["labels"].to_pylist(), **about)

    def facts(self) -> dict[str, Any]:
        """Counts for the model card."""
        return {
            "examples": len(self),
            "tokens": sum(map(len, self.input_ids)),
            "learned_tokens": sum(label != UNLEARNED for row in self.labels for label in row),
            "longest": self.longest,
            "cut": self.cut,
            "cut_share": self.cut / len(self),
        }


def check(records: Sequence[Mapping[str, Any]], name: str, made: str = "") -> None:
    """Raise SettingError unless every record has a question, a thinking and an answer. made: how the records came about."""
    if not records:
        raise SettingError(
            f"data={name}: there is no record to train on{made and f' ({made})'}; training needs records with "
            f"the columns {', '.join(NEEDED)}"
        )
    for column in NEEDED:
        empty = [r for r in records if not (r.get(column) or "").strip()]
        if empty:
            raise SettingError(
                f"data={name}: {len(empty):,} of {len(records):,} records have no {column} or an empty one (the first: "
                f"{empty[0].get('id', 'without id')}); training needs {', '.join(NEEDED)}. The filter data.quality.missing "
                "(conf/data/full_59k.yaml has it) drops such records and counts them"
            )


def encode_all(
    records: Sequence[Mapping[str, Any]],
    tokenizer,
    chat: ChatFormat,
    *,
    max_length: int,
    name: str,
    control: str | None = None,
    step_separator: str = "\n\n",
) -> Encoded:
    """Encode every record of data set `name`; loss falls on thinking, answer and end of turn alone, and never on `slips`.

    Records longer than `max_length` tokens are cut and counted. Raises SettingError when a cut leaves nothing to learn.
    """
    ids, labels, cut, longest = [], [], 0, 0
    for record in records:
        row = encode(example(record, tokenizer, chat, control=control, step_separator=step_separator), tokenizer)
        longest = max(longest, len(row["input_ids"]))
        cut += len(row["input_ids"]) > max_length
        ids.append(row["input_ids"][:max_length])
        kept = zip(ids[-1], row["completion_mask"])
        labels.append([token if learned else UNLEARNED for token, learned in kept])
        if all(label == UNLEARNED for label in labels[-1]):
            raise SettingError(
                f"train.max_length={max_length}: the prompt of record {record.get('id')} of data={name} is that long or "
                "longer, so nothing of it would be learned; take a larger one"
            )
    return Encoded(ids, labels, cut, longest)


def order(lengths: Sequence[int], *, epochs: int, batch: int, seed: int) -> list[int]:
    """Indices of the examples of all steps, `batch` after `batch`; each epoch is shuffled anew.

    The last batch of an epoch is filled up from the epoch's beginning (as in s1's run on 16 GPUs). Within a batch the longest
    come first: devices that work at the same time then have examples of like length, so that little is padding.
    """
    indices: list[int] = []
    for epoch in range(epochs):
        shuffled = list(range(len(lengths)))
        random.Random(f"{seed}-{epoch}").shuffle(shuffled)
        full = list(islice(cycle(shuffled), -(-len(shuffled) // batch) * batch))
        for start in range(0, len(full), batch):
            indices += sorted(full[start : start + batch], key=lambda i: (-lengths[i], i))
    return indices
