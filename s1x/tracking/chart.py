"""The chart of s1x as a W&B preset (Vega-Lite 5): accuracy with our own intervals, which W&B's plots cannot draw.

`${field:...}` are columns of the table that a panel shows, `${string:...}` its words; W&B puts them in. One preset draws
accuracy against thinking tokens, operations, or the number of votes.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

FIELDS = ("x", "y", "low", "high", "series")
STRINGS = ("title", "x_title")
PLACED = {"filter": {"field": "${field:x}", "gt": 0}}  # a logarithmic axis has no zero
FLAT = {"filter": {"field": "${field:x}", "lte": 0}}


def _y(field: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": "accuracy", "axis": {"format": ".0%"}, "scale": {"zero": False}}


_LOG = {"type": "log", "base": 2, "padding": 10}
_X = {"field": "${field:x}", "type": "quantitative", "title": "${string:x_title}", "scale": _LOG}
_LEGEND = {"orient": "bottom", "columns": 2, "symbolOpacity": 1, "labelLimit": 300}
_TOOLTIP = [
    {"field": "${field:series}", "type": "nominal", "title": "series"},
    {"field": "${field:x}", "type": "quantitative", "title": "${string:x_title}", "format": ",.4~g"},
    *(
        {"field": f"${{field:{key}}}", "type": "quantitative", "title": title, "format": ".1%"}
        for key, title in (("y", "accuracy"), ("low", "95% from"), ("high", "to"))
    ),
]

SPEC: dict[str, Any] = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "title": "${string:title}",
    "data": {"name": "wandb"},
    "autosize": {"type": "fit", "contains": "padding"},
    "encoding": {
        "color": {"field": "${field:series}", "type": "nominal", "title": None, "legend": _LEGEND},
        "tooltip": _TOOLTIP,
    },
    "layer": [
        {  # intervals
            "transform": [PLACED],
            "mark": {"type": "rule", "opacity": 0.55},
            "encoding": {"x": _X, "y": _y("${field:low}"), "y2": {"field": "${field:high}"}},
        },
        {
            "transform": [PLACED],
            "mark": {"type": "line", "strokeWidth": 1.8},
            "encoding": {"x": _X, "y": _y("${field:y}"), "order": {"field": "${field:x}"}},
        },
        {
            "transform": [PLACED],
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": {"x": _X, "y": _y("${field:y}")},
        },
        {  # cells without thinking, or whose tokens nobody counted
            "transform": [FLAT],
            "mark": {"type": "rule", "strokeDash": [2, 3], "strokeWidth": 1.5},
            "encoding": {"y": _y("${field:y}")},
        },
    ],
}
NAME = f"s1x-accuracy-{blake2b(json.dumps(SPEC).encode(), digest_size=4).hexdigest()}"  # another chart, another name
