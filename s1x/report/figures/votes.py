"""Votes against k: what k samples of a pool are worth, by vote, by reward, or when one of them is enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..labels import pool_names
from .style import GRID, INK, LINES, Margins, Sheet, fitted, look, thin

MEASURES = {  # rows of summary["pools"], and how the legend calls them
    "maj": "maj@k: the most frequent answer is right",
    "pass": "pass@k: one of the answers is right",
    "reward_best": "the answer of highest reward is right",
}
CROWDED = 4  # pools: with more, votes alone are drawn


def votes(rows: Sequence[dict[str, Any]], records: list[dict[str, Any]]) -> Sheet | None:
    """A panel per task; colour and shape tell pools apart, lines what is counted."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if not any(row["k"] > 1 for row in rows):
        return None
    names, tasks = pool_names(records), {r["cell_id"]: r["task"] for r in records}
    pools = list(dict.fromkeys(row["cell_id"] for row in rows))
    called = {name: look(number) for number, name in enumerate(dict.fromkeys(names[pool] for pool in pools))}
    panels = list(dict.fromkeys(tasks[pool] for pool in pools))
    drawn = [name for name in MEASURES if len(pools) <= CROWDED or name == "maj"]
    titles = {task: fitted(task, 5.4, 10, "bold") for task in panels}
    top = 0.12 + 0.17 * max(title.count("\n") + 1 for title in titles.values())
    page = Sheet(len(panels), min(2, len(panels)), (5.4, 3.6), Margins(top=top))
    seen: dict[str, None] = {}
    for axes, task in zip(page.axes, panels, strict=True):
        heights = []
        for pool in (pool for pool in pools if tasks[pool] == task):
            own, style = [row for row in rows if row["cell_id"] == pool], called[names[pool]]
            for measure, line in zip(drawn, LINES if len(drawn) > 1 else [style.line], strict=False):
                known = [(row["k"], row[measure]) for row in own if row.get(measure)]
                if not known:
                    continue
                seen[measure] = None
                ks, values = [k for k, _ in known], [100 * value["value"] for _, value in known]
                axes.plot(
                    ks, values, color=style.colour, ls=line, lw=1.5, marker=style.marker, ms=5 if measure == "maj" else 3.5
                )
                heights += values
                if measure == "maj":
                    for k, value in known:
                        if value["ci95"]:
                            low, high = (100 * v for v in value["ci95"])
                            axes.plot([k, k], [low, high], color=style.colour, lw=1.0, alpha=0.5, zorder=1)
                            heights += [low, high]
        axes.set_xscale("log", base=2)
        axes.set_xlabel("Samples k")
        axes.set_ylabel("Accuracy (%)")
        axes.set_title(titles[task])
        spare = max(0.05 * (max(heights) - min(heights)), 1)
        axes.set_ylim(max(min(heights) - spare, -2), min(max(heights) + spare, 102))
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        axes.margins(x=0.06)
        thin(axes, page.renderer)
        axes.grid(color=GRID, lw=0.6)
        axes.set_axisbelow(True)
    entries = [
        (Line2D([], [], color=style.colour, marker=style.marker, ms=5, lw=1.5, ls="-" if len(seen) > 1 else style.line), name)
        for name, style in called.items()
    ]
    if len(seen) > 1:
        entries += [(Line2D([], [], color=INK, ls=LINES[drawn.index(name)], lw=1.3), MEASURES[name]) for name in seen]
    else:
        entries.append((Line2D([], [], ls=""), MEASURES["maj"]))
    entries.append((Line2D([], [], ls="", color=INK, marker="|", ms=9, alpha=0.6), "95% interval over questions, of maj@k"))
    page.legend(entries)
    return page
