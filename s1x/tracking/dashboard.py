"""Workspace, report and chart of a finished directory, saved to W&B. Made again they are the same ones, brought up to date.

Their addresses stand in the directory's wandb.json (runs.py). What is in them is views.py's affair.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..errors import DashboardFailed, SettingError
from ..files import read_json
from . import runs
from .settings import INSTALL
from .thread import warn

log = logging.getLogger(__name__)

TIMEOUT = 15  # seconds for an answer


def build(cfg: DictConfig, directory: Path) -> str:
    """Make or renew the dashboard of `directory`, which holds a summary.json; returns the report's address.

    The sweep's own run is logged first where it never was (results that were imported, or put together of agents' cells).
    Raises SettingError when that cannot be (nobody is logged in), DashboardFailed when W&B does not do it.
    """
    check()
    summary = read_json(directory / "summary.json")
    try:
        place = _place(cfg, directory, summary)
        return _save(place, directory, summary)
    except SettingError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise DashboardFailed(f"stage=dashboard: W&B did not do it ({type(error).__name__}: {text}); try it again") from error


def check() -> None:
    """Raises SettingError where there is no package for it, or no login."""
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError:
        raise SettingError(f"stage=dashboard: {INSTALL}") from None
    try:
        there = runs.logged_in()
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise SettingError(f"stage=dashboard: W&B cannot log you in ({text}); run `wandb login` again") from error
    if not there:
        raise SettingError("stage=dashboard: you are not logged in to W&B; run `wandb login` first")


def _place(cfg: DictConfig, directory: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """Where the runs of the directory are: `{entity, project, group, run, ...}`."""
    place = runs.recall(directory)
    found = place or next(filter(None, map(runs.recall, sorted(path.parent for path in directory.rglob(runs.PLACE)))), {})
    entity = cfg.tracking.entity or found.get("entity") or runs.wandb().Api(timeout=TIMEOUT).default_entity
    project, group = found.get("project") or cfg.tracking.project, found.get("group")
    own = OmegaConf.merge(cfg, {"name": summary.get("experiment") or cfg.name})
    own.tracking.entity, own.tracking.project, own.tracking.mode = entity, project, "online"
    if waiting := runs.unsent(directory):
        log.warning(f"W&B: runs of this directory are still in files; panels show them after: wandb sync {waiting}")
    if not place.get("run"):
        from .logged import sweep_run

        run = runs.sweep(own, directory, group)
        group = run.group
        sweep_run(run, own, summary, directory)
    return runs.recall(directory) | {"entity": entity, "project": project, "group": group or runs.recall(directory)["group"]}


def _save(place: dict[str, Any], directory: Path, summary: dict[str, Any]) -> str:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    from . import views
    from .chart import NAME, SPEC

    api, where = runs.wandb().Api(timeout=TIMEOUT), {key: place[key] for key in ("entity", "project")}
    api.create_project(place["project"], place["entity"])  # there is none yet before the first run was sent
    chart = f"{place['entity']}/{NAME}"
    if place.get("chart") != chart:
        words = {"display_name": "s1x: accuracy with its interval", "spec_type": "vega2", "access": "private", "spec": SPEC}
        try:
            chart = api.create_custom_chart(entity=place["entity"], name=NAME, **words)
        except Exception as error:  # made from another directory: its name is its content's
            warn(error, f"the chart {chart} is taken to be there already")
    content = summary, views.markdown_of(directory), chart
    trained = any(directory.rglob("training.json"))
    workspace = _renewed(ws.Workspace, place.get("workspace"), where, views.workspace(place, *content, trained=trained))
    report = _renewed(wr.Report, place.get("report"), where, views.report(place, *content, trained=trained))
    runs.remember(directory, **where, group=place["group"], chart=chart, workspace=workspace, report=report)
    log.info(f"W&B workspace: {workspace}")
    log.info(f"W&B report: {report}")
    return report


def _renewed(kind: Callable[..., Any], url: str | None, where: dict[str, str], content: dict[str, Any]) -> str:
    """Save a view with this content: the one at `url`, or a new one where there is none (any more). Returns its address."""
    view = None
    if url:
        try:
            view = kind.from_url(url)  # type: ignore[attr-defined]
        except (LookupError, TypeError, ValueError, AttributeError):
            log.warning(f"W&B: {url} is gone; it is made anew")
    if view is None:
        view = kind(**where, **content)
    else:
        for key, value in content.items():
            setattr(view, key, value)
    view.save()
    return view.url
