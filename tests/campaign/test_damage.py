"""Damaged files of the store, the judge and the results: never a wrong token, and the same command makes them whole."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from ..tasks.judging import JudgeServer
from .commands import Hang, run, stored, untrue
from .study import Place, Study

pytestmark = pytest.mark.campaign
TOGETHER = 20  # files damaged before the command is given again


def flip(data: bytes, rng: random.Random, _: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 3, 30])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(data: bytes, rng: random.Random, _: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def append(data: bytes, rng: random.Random, _: bytes) -> bytes:
    return data + rng.choice([rng.randbytes(rng.randrange(1, 400)), b"\0" * 512, data[: rng.randrange(1, len(data) + 1)]])


def fill(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """Zeros in place of a block, as a file system leaves them after a power cut."""
    at, n = rng.randrange(len(data)), rng.choice([16, 512, 4096])
    return (data[:at] + b"\0" * n + data[at + n :])[: len(data)]


def swap(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """What another file holds."""
    return other


def remove_a_piece(data: bytes, rng: random.Random, _: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randrange(1, 200) :]


DAMAGES = (flip, flip, flip, cut, append, fill, swap, remove_a_piece)
KINDS: dict[str, Callable[[Place], list[Path]]] = {
    "streams": lambda place: sorted(place.store.glob("*/*.streams")),
    "fingerprint.txt": lambda place: sorted(place.store.glob("*/fingerprint.txt")),
    "verdicts": lambda place: sorted(place.store.glob("verdicts/*.jsonl")),
    "cell.json": lambda place: sorted(place.out.glob("*/cell.json")),
    "samples": lambda place: sorted(place.out.glob("*/samples_*.jsonl")),
    "results.json": lambda place: sorted(place.out.glob("*/results.json")),
    "run.json": lambda place: [place.out / "run.json"],
    "summary": lambda place: [place.out / name for name in ("summary.json", "report.json", "summary.md", "cells.csv")],
    "page": lambda place: [place.out / name for name in ("report.html", "scaling.svg", "scaling.png", "scaling.pdf")],
    "hydra": lambda place: sorted(place.out.glob("**/.hydra/*.yaml")) + [place.out / "multirun.yaml"],
}
OFTEN = ("streams", "streams", "streams", "verdicts", "verdicts", *KINDS)


def verdict(key: str, answer: str) -> str:
    return f"Verdict: {'right' if crc32(answer.encode()) % 2 else 'wrong'}"


def test_damaged_files(tmp_path, size, count):
    tally, rng, wanted = count("damaged files"), random.Random(3), size(30, 500)
    with JudgeServer(verdict) as judge:
        study = Study(tmp_path / "study", 40, (f"task.judge={{url:{judge.url},model:judge}}",))
        sound, reports = study.home / "whole", 0
        other = study.place("whole").arguments[:-1] + [f"hydra.sweep.dir={tmp_path / 'other'}", "engine.vocab=300"]
        assert run(other, tmp_path / "other.log").status == 0  # another model's streams in the same store
        study.truth = stored(sound / "store")
        for batch in range(-(-wanted // TOGETHER)):
            place = study.place(f"damaged{batch}")
            shutil.copytree(sound, place.home, dirs_exist_ok=True)
            for path in place.home.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    path.touch()
            wrong: list[tuple[str, str | None]] = []
            for _ in range(min(TOGETHER, wanted - tally.tried - len(wrong))):
                kind = rng.choice(OFTEN)
                there = KINDS[kind](place)
                wrong.append((f"{kind} {_damage(rng.choice(there), there, rng)}", None))
                if kind == "streams":
                    wrong[-1] = (wrong[-1][0], untrue(stored(place.store), study.truth))
            faults: dict[str, str | None] = {}
            try:
                if batch % 3 == 0:  # the report of what is damaged: made, or a sentence
                    reports += 1
                    log = study.home / f"report{batch}.log"
                    faults["traceback"] = run(["stage=report", f"report.of={place.out}"], log, "report").traceback()
                _, found = study.again(place, study.home / f"damaged{batch}.log")
                del found["lost"]  # what is damaged may be decoded again
                faults = found | {key: text for key, text in faults.items() if text}
            except Hang as hang:
                faults["hang"] = str(hang)
            for number, (part, untruth) in enumerate(wrong):
                told = faults if number == 0 else {}
                if told and any(told.values()):
                    told = {key: text and f"{text} (with {', '.join(p for p, _ in wrong)})" for key, text in told.items()}
                tally.trial(part, **{**told, "wrong": told.get("wrong") or untruth})
            shutil.rmtree(place.home)
    tally.measured["commands given again"] = batch + 1
    tally.measured["reports made of damaged directories"] = reports
    tally.check(wanted)


def _damage(path: Path, others: list[Path], rng: random.Random) -> str:
    how = rng.choice(DAMAGES)
    data = path.read_bytes() if path.exists() else b""
    if not data:
        path.write_bytes(rng.randbytes(64))
        return "rubbish"
    path.write_bytes(how(data, rng, rng.choice(others).read_bytes() if rng.random() < 0.5 else rng.randbytes(len(data))))
    return how.__name__.replace("_", " ")
