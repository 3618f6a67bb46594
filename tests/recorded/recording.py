"""What laptop-scale experiments wrote before a change of the code, kept small, and whether they still write the same.

    python tests/recorded/recording.py replay [--only budget_sweep] [--store DIR]    run them all now, and compare
    python tests/recorded/recording.py record DIR -o FILE                            keep a finished sweep directory
    python tests/recorded/recording.py compare DIR FILE                              hold one against what was kept

A recording is one experiment: of every cell (known by its job number, independent of cell_id and overrides) all that cell.json
holds, and of every trace (question/repeat, and /sample in a pool) the token ids and the numbers of its line. Ids are kept as
the shape of the trace ("d2 t64 d7 a4": segments and their lengths) and one hash for each kind of segment. What was recorded
must be there and equal; what has been added since is not looked at.

The recordings beside this file were made at b211357 with the commands of RUNS; `store` holds the streams of `few_questions`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORE = HERE / "store"

RUNS = {
    "few_questions": ["+experiment=budget_sweep", "task.limit=8"],
    "budget_sweep": ["+experiment=budget_sweep"],
    "wait_sweep": ["+experiment=wait_sweep"],
    "early_exit": ["+experiment=early_exit"],
    "majority_voting": ["+experiment=majority_voting"],
    "rejection_sampling": ["+experiment=rejection_sampling"],
    "step_conditional": ["+experiment=step_conditional"],  # trains its model at first use (--set train.dir=DIR: finds it there)
}


class Expected(NamedTuple):
    """A change that is meant: in which recording ("*": all), of what (as a difference names it, "*" allowed), and why."""

    name: str
    what: str
    why: str


_STEPS = "a step of the laptop's models has about 10 tokens, of which the limit of a countdown is made, and not 100"
EXPECTED = [Expected("step_conditional", what, _STEPS) for what in ("budget", "limit_tokens.1")]

# Log-probabilities are a model's arithmetic, which processors do each in their own order: b211357 itself, run on another
# machine, differed by up to 2e-4 of the value in `majority_voting` and `rejection_sampling` with every token equal.
LOGPROBS = 1e-3

NOT_OF_A_CELL = ("cell_id", "overrides")  # they name the configuration, not what came out of it
NOT_OF_A_TRACE = ("doc_id", "repeat", "doc", "target", "arguments", "segments", "samples", "reads")


class Difference(NamedTuple):
    where: str  # "job 3" or "job 3, question 12/0"
    what: str  # "accuracy", "info.tries", "ids of thinking"
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.where}: {self.what} was {self.before}, now {self.after}"


# --- recording ---------------------------------------------------------------------------------------------------------


def record(directory: Path) -> dict[str, Any]:
    """The recording of a finished sweep directory. Raises ValueError when it holds no cell."""
    cells = {}
    for file in sorted(directory.rglob("cell.json"), key=lambda f: (len(f.parent.name), f.parent.name)):
        kept = json.loads(file.read_text())
        lines = (line for samples in file.parent.glob("samples_*.jsonl") for line in samples.read_text().splitlines())
        kept["training"] = trained(file.parent)
        cells[str(kept["job"])] = {
            "cell": dict(flat({k: v for k, v in kept.items() if k not in NOT_OF_A_CELL})),
            "traces": {key: trace for line in lines for key, trace in traces(json.loads(line))},
        }
    if not cells:
        raise ValueError(f"{directory} holds no cell.json; give the directory of a finished sweep")
    run = json.loads((directory / "run.json").read_text())
    return {"commit": run["git"]["commit"], "versions": run["versions"], "cells": cells}


def trained(job: Path) -> dict[str, float]:
    """How the training of a job's model went, where it has one: other weights write other tokens, and the losses tell."""
    file = job / "training.json"
    return {k: v for k, v in json.loads(file.read_text()).items() if k.endswith("_loss")} if file.is_file() else {}


def traces(line: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """("question/repeat" or "question/repeat/sample", what is kept of it) of a line of a samples file."""
    key = f"{line['doc_id']}/{line['repeat']}"
    yield key, trace(line)
    for number, sample in enumerate(line.get("samples", [])):
        yield f"{key}/{number}", trace(sample)


def trace(line: dict[str, Any]) -> dict[str, Any]:
    ids: dict[str, array] = {}
    for segment in line["segments"]:
        ids.setdefault(segment["kind"], array("i")).extend(segment["ids"])
    numbers = flat({k: v for k, v in line.items() if k not in NOT_OF_A_TRACE})
    return {
        "shape": " ".join(f"{s['kind'][0]}{len(s['ids'])}" for s in line["segments"]),
        "ids": {kind: short_hash(some) for kind, some in ids.items()},
        "numbers": {key: value for key, value in numbers if not isinstance(value, str) or key == "end"},
    }


def short_hash(ids: array) -> str:
    return urlsafe_b64encode(blake2b(json.dumps(ids.tolist()).encode(), digest_size=6).digest()).decode()


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """("thinking_tokens.mean", 381.5) and so on: every plain value of a nest of dictionaries and lists."""
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def write(recording: dict[str, Any], file: Path) -> None:
    text = json.dumps(recording, separators=(",", ":"), sort_keys=True)
    file.write_bytes(gzip.compress(text.encode(), mtime=0))  # the same recording is the same file


def read(file: Path) -> dict[str, Any]:
    return json.loads(gzip.decompress(file.read_bytes()))


# --- comparing ---------------------------------------------------------------------------------------------------------


class Comparison:
    """What was compared of one experiment, and what differs: `differences`, and those that `expected` names, with its entry."""

    def __init__(self, name: str, before: dict[str, Any], after: dict[str, Any], expected: Sequence[Expected] = EXPECTED):
        self.name = name
        self.cells = self.traces = self.numbers = 0
        self.expected = {entry: 0 for entry in expected if fnmatchcase(name, entry.name)}
        self.differences = [d for d in self._differences(before, after) if not self._is_expected(d)]

    def _is_expected(self, difference: Difference) -> bool:
        entry = next((e for e in self.expected if fnmatchcase(difference.what, e.what)), None)
        if entry:
            self.expected[entry] += 1
        return entry is not None

    def _differences(self, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Difference]:
        for job in missing(before["cells"], after["cells"]):
            yield Difference("the sweep", f"job {job}", *there(job, before["cells"]))
        for job, old in before["cells"].items():
            if job not in after["cells"]:
                continue
            self.cells += 1
            new = after["cells"][job]
            yield from self._values(f"job {job}", old["cell"], new["cell"])
            for key in missing(old["traces"], new["traces"]):
                yield Difference(f"job {job}", f"question {key}", *there(key, old["traces"]))
            for key, trace in old["traces"].items():
                if key in new["traces"]:
                    self.traces += 1
                    yield from self._trace(f"job {job}, question {key}", trace, new["traces"][key])

    def _trace(self, where: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Difference]:
        if old["shape"] != new["shape"]:
            yield Difference(where, "shape of the segments", old["shape"], new["shape"])
        for kind in {**old["ids"], **new["ids"]}:
            if (hashes := [t["ids"].get(kind, "absent") for t in (old, new)]) and hashes[0] != hashes[1]:
                yield Difference(where, f"ids of {kind}", *hashes)
        yield from self._values(where, old["numbers"], new["numbers"])

    def _values(self, where: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Difference]:
        for key, value in old.items():
            self.numbers += isinstance(value, int | float)
            if key not in new or not equal(value, new[key], LOGPROBS if "logprob" in key else 1e-12):
                yield Difference(where, key, value, new.get(key, "absent"))

    def show(self, most: int = 10) -> None:
        """Print a line, what was expected, and the first differences."""
        print(
            f"{self.name}: {self.cells} cells, {self.traces:,} traces, {self.numbers:,} numbers compared; "
            f"{len(self.differences):,} differences"
        )
        for entry, times in self.expected.items():
            print(f"  expected, {times:,} times: {entry.what} ({entry.why})")
        for difference in self.differences[:most]:
            print(f"  {difference}")
        if len(self.differences) > most:
            print(f"  and {len(self.differences) - most:,} more")


def missing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return sorted(old.keys() ^ new.keys())


def there(key: str, old: dict[str, Any]) -> tuple[str, str]:
    return ("there", "absent") if key in old else ("absent", "there")


def equal(old: Any, new: Any, tolerance: float = 1e-12) -> bool:
    """Whole numbers and words exactly, fractions nearly: another processor may add them up in another order."""
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=tolerance) or (math.isnan(old) and math.isnan(new))
    return old == new


# --- replaying ---------------------------------------------------------------------------------------------------------


def replay(
    name: str,
    place: Path,
    store: Path,
    settings: Sequence[str] = (),
    root: Path = ROOT,
    expected: Sequence[Expected] = EXPECTED,
) -> tuple[Comparison, int]:
    """Run one of RUNS as a user would, into `place`; the comparison, and how many tokens were decoded."""
    command = [sys.executable, "run.py", *RUNS[name], "tracking=none", f"store.dir={store}", f"hydra.sweep.dir={place}"]
    done = subprocess.run([*command, *settings], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{name}: `{' '.join([*command[1:], *settings])}` ended with exit status {done.returncode}")
    decoded = json.loads((place / "run.json").read_text())["decode_tokens"]
    return Comparison(name, read(HERE / f"{name}.json.gz"), record(place), expected), decoded


def replay_all(names: Sequence[str], store: Path | None, keep: Path | None, settings: Sequence[str], root: Path) -> bool:
    """Replay and print; a given store must hold everything, and a copy of it is used. True when all is equal."""
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        place = keep or Path(scratch)
        used = Path(scratch, "store")
        if store:
            shutil.copytree(store, used)
        for name in names:
            began = time.monotonic()
            comparison, decoded = replay(name, (place / name).absolute(), used, settings, root)
            comparison.show()
            print(f"  {decoded:,} tokens decoded, {time.monotonic() - began:,.0f} s", flush=True)
            if store and decoded:
                print(f"  --store {store} does not hold them: it was to decode none")
            good &= not comparison.differences and not (store and decoded)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("record", help="keep a finished sweep directory")
    one.add_argument("directory", type=Path)
    one.add_argument("-o", "--output", type=Path, required=True)
    one = commands.add_parser("compare", help="hold a finished sweep directory against a recording")
    one.add_argument("directory", type=Path)
    one.add_argument("recording", type=Path)
    one = commands.add_parser("replay", help="run the recorded experiments now, and compare")
    one.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), help="these of them")
    one.add_argument("--store", type=Path, help="a store that holds everything: nothing may be decoded")
    one.add_argument("--keep", type=Path, help="where the sweep directories stay; otherwise they are removed")
    one.add_argument("--root", type=Path, default=ROOT, help="the checkout whose code runs")
    one.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="more settings, such as train.dir=DIR")
    given = parser.parse_args()
    if given.command == "record":
        write(record(given.directory), given.output)
        return 0
    if given.command == "compare":
        name = given.recording.name.removesuffix(".json.gz")
        comparison = Comparison(name, read(given.recording), record(given.directory))
        comparison.show()
        return bool(comparison.differences)
    return not replay_all(given.only, given.store, given.keep, given.set, given.root)


if __name__ == "__main__":
    sys.exit(main())
