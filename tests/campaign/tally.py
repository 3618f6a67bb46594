"""What the campaign counts: how often something was tried, what survived, and everything that went wrong."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FAULTS = {
    "lost": "tokens lost that were flushed",
    "wrong": "wrong results",
    "hang": "hangs",
    "traceback": "tracebacks",
    "other": "other faults",
}


@dataclass
class Tally:
    """One row. `tried` counts trials; a trial with any fault has not survived. `parts` says what the trials were."""

    name: str
    tried: int = 0
    failed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    measured: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    told: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def trial(self, part: str, **faults: str | None) -> None:
        """Count a trial. `faults`: kind -> what went wrong; None where nothing did."""
        self.tried += 1
        self.parts[part] += 1
        found = {kind: text for kind, text in faults.items() if text}
        self.failed += bool(found)
        for kind, text in found.items():
            self.faults[kind] += 1
            self.told.append(f"{self.name}, {part}: {FAULTS[kind]}: {text}")

    def check(self, at_least: int) -> None:
        """To be called last: fails where anything went wrong, or too little was tried."""
        self.seconds = round(time.monotonic() - self._began, 1)
        assert not self.told, "\n\n".join(self.told[:20])
        assert self.tried >= at_least

    def row(self) -> dict[str, Any]:
        counted = {kind: self.faults[kind] for kind in FAULTS}
        survived = self.tried - self.failed
        return {
            "tried": self.tried, "survived": survived, **counted, "seconds": self.seconds, "parts": dict(self.parts),
            **self.measured,
        }  # fmt: skip


def machine() -> dict[str, Any]:
    """Where it ran, without a name."""
    release = platform.freedesktop_os_release() if hasattr(platform, "freedesktop_os_release") else {}
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "os": f"{release.get('PRETTY_NAME', platform.system())}, {platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def commit() -> str:
    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True).stdout.strip()

    return ask("rev-parse", "--short=12", "HEAD") + " with changes" * bool(ask("status", "--porcelain", "-uno"))


Rows = dict[str, dict[str, Any]]  # by name, see Tally.row


def table(rows: Rows) -> list[str]:
    """Lines of Markdown."""
    commits = any("commit" in row for row in rows.values())
    heads = ["", "tried", "survived", *FAULTS.values(), "seconds", *["commit"] * commits]
    lines = [f"|{'|'.join(f' {head} ' if head else ' ' for head in heads)}|", "|---" * len(heads) + "|"]
    for name, row in rows.items():
        cells = [row["tried"], row["survived"], *(row[kind] for kind in FAULTS), round(row["seconds"])]
        said = [name, *(f"{cell:,}" for cell in cells), *[row.get("commit", "")] * commits]
        lines.append(f"| {' | '.join(said)} |")
    return lines


def details(rows: Rows) -> list[str]:
    """Lines of Markdown: the trials of each row by kind, and what was measured beside."""
    lines = []
    for name, row in rows.items():
        parts = ", ".join(f"{part} {n}" for part, n in sorted(row["parts"].items(), key=lambda pair: (-pair[1], pair[0])))
        beside = {
            key: value for key, value in row.items() if key not in ("tried", "survived", "seconds", "parts", "commit", *FAULTS)
        }
        lines.append(f"- **{name}**: {parts}{''.join(f'; {key}: {value}' for key, value in beside.items())}.")
    return lines


def write(new: Rows, command: str, commit: str) -> None:
    """figures.json and, for people, figures.md. Rows that were not run this time stay as they are, with their commit."""
    file = HERE / "figures.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"rows": {}}
    rows = {name: {"commit": before.get("commit", "")} | row for name, row in before["rows"].items()}
    rows |= {name: row | {"commit": commit} for name, row in new.items()}
    about = {"command": command, "commit": commit, "date": time.strftime("%Y-%m-%d"), **machine()}
    seconds = sum(row["seconds"] for row in rows.values())
    figures = about | {"seconds": round(seconds), "rows": rows}
    file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    cpus = f"{about['cpus']} CPU{'s' * (about['cpus'] > 1)}"
    where = f"{about['date']}; {cpus}, {about['os']}, Python {about['python']}"
    lines = ["# The fault campaign", "", "Made by one command, which also wrote figures.json beside this page:", ""]
    again = "One of its files alone makes its own rows again; every row names its commit."
    lines += [f"    {command}", "", f"{where}; {seconds / 60:.0f} minutes. {again}", ""]
    lines += table(rows) + ["", "What was tried, and what was measured beside:", "", *details(rows)]
    (HERE / "figures.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
