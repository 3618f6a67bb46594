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


def table(tallies: list[Tally]) -> list[str]:
    """Lines of Markdown."""
    lines = [f"| | tried | survived | {' | '.join(FAULTS.values())} | seconds |", "|---" * (len(FAULTS) + 4) + "|"]
    for tally in tallies:
        cells = [tally.tried, tally.tried - tally.failed, *(tally.faults[kind] for kind in FAULTS), round(tally.seconds)]
        lines.append(f"| {tally.name} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    return lines


def details(tallies: list[Tally]) -> list[str]:
    """Lines of Markdown: the trials of each row by kind, and what was measured beside."""
    lines = []
    for tally in tallies:
        parts = ", ".join(f"{name} {n}" for name, n in sorted(tally.parts.items(), key=lambda pair: (-pair[1], pair[0])))
        found = "".join(f"; {name}: {value}" for name, value in tally.measured.items())
        lines.append(f"- **{tally.name}**: {parts}{found}.")
    return lines


def write(tallies: list[Tally], command: str, commit: str, seconds: float) -> None:
    """figures.json and, for people, figures.md."""
    about = {"command": command, "commit": commit, "date": time.strftime("%Y-%m-%d"), **machine()}
    rows = {tally.name: tally.row() for tally in tallies}
    figures = about | {"seconds": round(seconds), "rows": rows}
    (HERE / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    cpus = f"{about['cpus']} CPU{'s' * (about['cpus'] > 1)}"
    where = f"Commit {about['commit']}, {about['date']}; {cpus}, {about['os']}, Python {about['python']}"
    lines = ["# The fault campaign", "", "Made by one command, which also wrote figures.json beside this page:", ""]
    lines += [f"    {command}", "", f"{where}; {seconds / 60:.0f} minutes.", ""]
    lines += table(tallies) + ["", "What was tried, and what was measured beside:", "", *details(tallies)]
    (HERE / "figures.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
