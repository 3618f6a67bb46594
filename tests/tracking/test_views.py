"""Workspace and report: sound by wandb-workspaces' own models, and what their panels name is what runs log."""

import json
from unittest.mock import patch

import pytest

from s1x.tracking import content, names
from s1x.tracking.chart import FIELDS, STRINGS

from ..report.sweep import write_sweep

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own
PLACE = {"entity": "someone", "project": "s1x", "group": names.clean("it's a 'sweep'") + "-2026"}
LOGGED = {"points", "metrics", "samples", "scaling"}  # by s1x/tracking/logged.py


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    from s1x.report.aggregate import aggregate

    directory = write_sweep(tmp_path_factory.mktemp("views"), questions=30)
    summary = aggregate(directory)
    pool = {"cell_id": summary["cells"][0]["cell_id"], "maj": {"value": 0.5, "ci95": [0.4, 0.6]}, "best": None}
    return directory, summary | {"pools": [pool | {"k": k} for k in (1, 2, 4)]}


@pytest.fixture
def made(sweep):
    """The saved specifications, as JSON of the package's own models, which must take them back."""
    from wandb_workspaces.reports.v2 import Report, interface, internal
    from wandb_workspaces.workspaces import Workspace
    from wandb_workspaces.workspaces.internal import WorkspaceViewspec

    from s1x.tracking import views

    directory, summary = sweep
    where = {key: PLACE[key] for key in ("entity", "project")}
    words = summary, views.markdown_of(directory), "someone/s1x-accuracy"
    ids = {"project": {"id": "x", "internalId": "1"}}
    with patch.object(interface, "_get_api"), patch.object(interface, "execute_graphql", lambda *_: ids):
        report = Report(**where, **views.report(PLACE, *words, trained=True))._to_model()
    workspace = Workspace(**where, **views.workspace(PLACE, *words, trained=True))._to_model()
    found = [view.spec.model_dump_json(by_alias=True, exclude_none=True) for view in (workspace, report)]
    WorkspaceViewspec.model_validate_json(found[0])
    internal.Spec.model_validate_json(found[1])
    return [json.loads(text) for text in found]


def within(node, key):
    """All values of a key, however deep."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from within(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from within(value, key)


@pytest.mark.long
def test_panels_name_what_is_logged_and_fill_the_chart(made, sweep):
    tables = LOGGED | set(content.votes(sweep[1]))
    columns = {"points": content.COLUMNS, "votes_maj": content.VOTES}
    for spec in made:
        charts = [config for config in within(spec, "config") if "panelDefId" in config]
        assert len(charts) == 4  # thinking, two costs, votes
        for chart in charts:
            assert chart["panelDefId"] == "someone/s1x-accuracy"
            (table,) = (arg["value"] for args in within(chart, "args") for arg in args if arg["name"] == "tableKey")
            assert set(chart["fieldSettings"]) == set(FIELDS) and set(chart["stringSettings"]) == set(STRINGS)
            assert set(chart["fieldSettings"].values()) <= set(columns[table])
        text = json.dumps(spec)
        assert all(f'"{key}"' in text or key.startswith("votes") for key in tables)
        assert "train/loss" in text and "Theil-Sen" in text


@pytest.mark.long
def test_they_show_the_runs_of_this_sweep_alone(made):
    for spec in made:
        filters = [json.dumps(found) for found in within(spec, "filters")]
        assert filters and all(names.SWEEP in text and PLACE["group"] in text for text in filters)


@pytest.mark.long
def test_what_a_sweep_has_not_has_no_panel(sweep):
    from s1x.tracking import views

    bare = sweep[1] | {"pools": [], "cells": [cell | {"flops": None} for cell in sweep[1]["cells"]]}
    found = views.sections(bare, "", "someone/chart", trained=False)
    assert "Votes" not in found and "Training" not in found and len(found["Cost"]) == 1
